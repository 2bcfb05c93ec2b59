//! Table `networks`.

use ipnet::IpNet;
use sextant_model::{Event, EventBody, Prefix};

use crate::{error::StoreError, read::word, session::PgConnection};

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
        EventBody::NetworkCreated(body) => {
            sqlx::query!(
                "INSERT INTO networks (network_id, name, ip_stack_mode, topology, ipv6_prefix,
                                       ipv4_prefix, version, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                event.aggregate_id,
                body.name.as_str(),
                word(&body.ip_stack_mode)?,
                word(&body.topology)?,
                body.ipv6_prefix.map(Prefix::net) as Option<IpNet>,
                body.ipv4_prefix.map(Prefix::net) as Option<IpNet>,
                event.aggregate_seq,
                event.occurred_at.0
            )
            .execute(connection)
            .await?;
        }
        EventBody::NetworkRenamed(body) => {
            sqlx::query!(
                "UPDATE networks SET name = $2, version = $3 WHERE network_id = $1",
                event.aggregate_id,
                body.name.as_str(),
                event.aggregate_seq
            )
            .execute(connection)
            .await?;
        }
        EventBody::NetworkDeleted(_) => {
            sqlx::query!("DELETE FROM networks WHERE network_id = $1", event.aggregate_id)
                .execute(connection)
                .await?;
        }
        _ => {}
    }
    Ok(())
}
