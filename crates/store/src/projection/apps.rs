//! Table `apps`.

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
        EventBody::AppCreated(body) => {
            sqlx::query!(
                "INSERT INTO apps (app_id, org_id, name, version, created_at)
                 VALUES ($1, $2, $3, $4, $5)",
                id,
                body.org_id.0,
                body.name.as_str(),
                seq,
                event.occurred_at.0
            )
            .execute(connection)
            .await?;
        }
        EventBody::AppDeleted(_) => {
            sqlx::query!("UPDATE apps SET deleted = true, version = $2 WHERE app_id = $1", id, seq)
                .execute(connection)
                .await?;
        }
        _ => {}
    }
    Ok(())
}
