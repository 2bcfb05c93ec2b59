//! Table `environments`.

use sextant_model::{AggregateKind, Event, EventBody};

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
        EventBody::EnvironmentCreated(body) => {
            sqlx::query!(
                "INSERT INTO environments (environment_id, org_id, app_id, network_id, name,
                                           version, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                id,
                body.org_id.0,
                body.app_id.0,
                body.network_id.0,
                body.name.as_str(),
                seq,
                event.occurred_at.0
            )
            .execute(connection)
            .await?;
        }
        // Hostnames and grants have tables of their own; the version counts them too.
        body if event.aggregate_type == AggregateKind::Environment => {
            let deleted = matches!(body, EventBody::EnvironmentDeleted(_));
            sqlx::query!(
                "UPDATE environments SET deleted = $2, version = $3 WHERE environment_id = $1",
                id,
                deleted,
                seq
            )
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}
