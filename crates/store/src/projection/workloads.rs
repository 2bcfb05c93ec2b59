//! Table `workloads`.

use std::net::IpAddr;

use ipnet::IpNet;
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
        EventBody::WorkloadPlaced(body) => {
            sqlx::query!(
                "INSERT INTO workloads (workload_id, org_id, environment_id, release_id,
                                        process_type, network_id, node_id, address, phase, version,
                                        placed_at, placed_event_id)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'starting', $9, $10, $11)",
                id,
                body.org_id.0,
                body.environment_id.0,
                body.release_id.map(|release| release.0),
                body.process_type.as_str(),
                body.network_id.0,
                body.node_id.0,
                IpNet::from(IpAddr::V6(body.address)),
                seq,
                event.occurred_at.0,
                event.event_id
            )
            .execute(connection)
            .await?;
        }
        EventBody::WorkloadHealthChanged(body) => {
            sqlx::query!(
                "UPDATE workloads SET phase = $2, version = $3 WHERE workload_id = $1",
                id,
                body.health.as_str(),
                seq
            )
            .execute(connection)
            .await?;
        }
        EventBody::WorkloadWithdrawn(_) => {
            sqlx::query!(
                "UPDATE workloads SET phase = 'withdrawn', version = $2, withdrawn_event_id = $3
                 WHERE workload_id = $1",
                id,
                seq,
                event.event_id
            )
            .execute(connection)
            .await?;
        }
        EventBody::WorkloadReleased(_) => {
            sqlx::query!(
                "UPDATE workloads SET phase = 'released', version = $2, released_event_id = $3
                 WHERE workload_id = $1",
                id,
                seq,
                event.event_id
            )
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}
