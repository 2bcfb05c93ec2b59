//! Table `nodes`.

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
        EventBody::NodeEnrolled(body) => {
            let roles: Vec<String> =
                body.roles.iter().map(|role| role.as_str().to_owned()).collect();
            sqlx::query!(
                "INSERT INTO nodes (node_id, network_id, name, roles, phase, public_key, endpoint,
                                    ipv6_address, ipv4_address, prefix, version, enrolled_at,
                                    enrolled_event_id)
                 VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8, $9, $10, $11, $12)",
                id,
                body.network_id.0,
                body.name.as_str(),
                &roles,
                body.public_key.to_string(),
                body.endpoint.to_string(),
                body.addresses.ipv6().map(|address| IpNet::from(std::net::IpAddr::V6(address))),
                body.addresses.ipv4().map(|address| IpNet::from(std::net::IpAddr::V4(address))),
                body.prefix.net(),
                seq,
                event.occurred_at.0,
                event.event_id
            )
            .execute(connection)
            .await?;
        }
        EventBody::NodeEndpointChanged(body) => {
            sqlx::query!(
                "UPDATE nodes SET endpoint = $2, version = $3 WHERE node_id = $1",
                id,
                body.endpoint.to_string(),
                seq
            )
            .execute(connection)
            .await?;
        }
        EventBody::NodeCertificateIssued(body) => {
            sqlx::query!(
                "UPDATE nodes SET certificate_not_after = $2, version = $3 WHERE node_id = $1",
                id,
                body.not_after.0,
                seq
            )
            .execute(connection)
            .await?;
        }
        EventBody::NodeCertificatesRevoked(_) | EventBody::NodeReadmitted(_) => {
            sqlx::query!(
                "UPDATE nodes SET certificates_revoked = $2, version = $3 WHERE node_id = $1",
                id,
                matches!(event.body, EventBody::NodeCertificatesRevoked(_)),
                seq
            )
            .execute(connection)
            .await?;
        }
        EventBody::NodeWithdrawn(_) => {
            sqlx::query!(
                "UPDATE nodes SET phase = 'withdrawn', version = $2, withdrawn_event_id = $3
                 WHERE node_id = $1",
                id,
                seq,
                event.event_id
            )
            .execute(connection)
            .await?;
        }
        EventBody::NodeReleased(_) => {
            sqlx::query!(
                "UPDATE nodes SET phase = 'released', version = $2 WHERE node_id = $1",
                id,
                seq
            )
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}
