//! Table `orgs`.

use sextant_model::{Event, EventBody};

use crate::{error::StoreError, session::PgConnection};

pub(super) async fn apply(
    connection: &mut PgConnection,
    events: &[Event],
) -> Result<(), StoreError> {
    for event in events {
        apply_one(connection, event).await?;
    }
    Ok(())
}

async fn apply_one(connection: &mut PgConnection, event: &Event) -> Result<(), StoreError> {
    let (id, seq) = (event.aggregate_id, event.aggregate_seq);
    match &event.body {
        EventBody::OrgCreated(body) => {
            sqlx::query!(
                "INSERT INTO orgs (org_id, name, version, created_at) VALUES ($1, $2, $3, $4)",
                id,
                body.name.as_str(),
                seq,
                event.occurred_at.0
            )
            .execute(connection)
            .await?;
        }
        EventBody::OrgDeleted(_) => {
            sqlx::query!("UPDATE orgs SET deleted = true, version = $2 WHERE org_id = $1", id, seq)
                .execute(connection)
                .await?;
        }
        _ => {}
    }
    Ok(())
}
