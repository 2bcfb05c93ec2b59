//! Tables `routes` and `routing_heads`.

use std::collections::BTreeMap;

use sextant_model::{
    Event, EventBody, NetworkId,
    event::{RouteCreated, RouteMoved},
};

use crate::{error::StoreError, session::PgConnection};

pub(super) async fn apply(
    connection: &mut PgConnection,
    events: &[Event],
) -> Result<(), StoreError> {
    let mut heads = BTreeMap::new();
    for event in events {
        apply_one(connection, event).await?;
        if let Some(network) = served_in(&event.body) {
            heads.insert(network, event.event_id);
        }
    }
    for (network, event_id) in heads {
        sqlx::query!(
            "INSERT INTO routing_heads (network_id, event_id) VALUES ($1, $2)
             ON CONFLICT (network_id) DO UPDATE SET event_id = excluded.event_id",
            network.0,
            event_id
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The network whose edges have to serve what the event says.
fn served_in(body: &EventBody) -> Option<NetworkId> {
    match body {
        EventBody::RouteCreated(body) => Some(body.network_id),
        EventBody::RouteChanged(body) => Some(body.network_id),
        EventBody::RouteMoved(body) => Some(body.network_id),
        EventBody::RouteDeleted(body) => Some(body.network_id),
        EventBody::WorkloadPlaced(body) => Some(body.network_id),
        EventBody::WorkloadHealthChanged(body) => Some(body.network_id),
        EventBody::WorkloadWithdrawn(body) => Some(body.network_id),
        EventBody::WorkloadReleased(body) => Some(body.network_id),
        _ => None,
    }
}

async fn apply_one(connection: &mut PgConnection, event: &Event) -> Result<(), StoreError> {
    let (id, seq) = (event.aggregate_id, event.aggregate_seq);
    match &event.body {
        EventBody::RouteCreated(body) => insert(connection, event, body).await?,
        EventBody::RouteChanged(body) => {
            sqlx::query!(
                "UPDATE routes SET backend_process_type = $2, backend_port = $3,
                                   proxy_protocol = $4, health_source = $5, version = $6
                 WHERE route_id = $1",
                id,
                body.backend_process_type.as_str(),
                i32::from(body.backend_port),
                body.proxy_protocol,
                body.health_source.to_string(),
                seq
            )
            .execute(connection)
            .await?;
        }
        EventBody::RouteMoved(RouteMoved { to: Some(to), .. }) => {
            sqlx::query!(
                "UPDATE routes SET org_id = $2, environment_id = $3, version = $4
                 WHERE route_id = $1",
                id,
                to.org_id.0,
                to.environment_id.0,
                seq
            )
            .execute(connection)
            .await?;
        }
        EventBody::RouteDeleted(_) => {
            sqlx::query!(
                "UPDATE routes SET deleted_event_id = $2, version = $3 WHERE route_id = $1",
                id,
                event.event_id,
                seq
            )
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    event: &Event,
    body: &RouteCreated,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO routes (route_id, org_id, environment_id, network_id, hostname, listen_port,
                             protocol_hint, match_host, backend_process_type, backend_port,
                             proxy_protocol, ipv4_required, health_source, endpoint, version,
                             created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        event.aggregate_id,
        body.org_id.0,
        body.environment_id.0,
        body.network_id.0,
        body.hostname.as_ref().map(ToString::to_string),
        i32::from(body.listen_port),
        body.protocol_hint.as_str(),
        body.match_host,
        body.backend_process_type.as_str(),
        i32::from(body.backend_port),
        body.proxy_protocol,
        body.ipv4_required,
        body.health_source.to_string(),
        body.endpoint.as_str(),
        event.aggregate_seq,
        event.occurred_at.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
