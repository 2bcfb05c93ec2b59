//! Table `port_grants`.

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
    match &event.body {
        EventBody::PortGranted(body) => {
            sqlx::query!(
                "INSERT INTO port_grants (environment_id, port, org_id, reason, granted_by,
                                          granted_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
                event.aggregate_id,
                i32::from(body.port),
                body.org_id.0,
                body.reason,
                event.actor_id.0,
                event.occurred_at.0
            )
            .execute(connection)
            .await?;
        }
        EventBody::PortGrantRevoked(body) => {
            sqlx::query!(
                "DELETE FROM port_grants WHERE environment_id = $1 AND port = $2",
                event.aggregate_id,
                i32::from(body.port)
            )
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}
