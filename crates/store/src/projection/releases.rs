//! Table `releases`.

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
        EventBody::ReleaseCreated(body) => {
            let processes = serde_json::to_value(&body.processes).map_err(|error| {
                StoreError::Inconsistent { table: "releases", reason: error.to_string() }
            })?;
            sqlx::query!(
                "INSERT INTO releases (release_id, org_id, environment_id, number, processes,
                                       phase, version, created_at)
                 VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7)",
                id,
                body.org_id.0,
                body.environment_id.0,
                body.number,
                processes,
                seq,
                event.occurred_at.0
            )
            .execute(connection)
            .await?;
        }
        EventBody::ReleaseActivated(_) => {
            sqlx::query!(
                "UPDATE releases SET phase = 'live', version = $2 WHERE release_id = $1",
                id,
                seq
            )
            .execute(connection)
            .await?;
        }
        EventBody::ReleaseSuperseded(body) => {
            sqlx::query!(
                "UPDATE releases SET phase = 'superseded', superseded_by = $2, version = $3
                 WHERE release_id = $1",
                id,
                body.by.0,
                seq
            )
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}
