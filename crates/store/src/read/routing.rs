//! What edges serve: the snapshot they begin with, and the part of it that one connection asks for.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use sextant_api::resource::route::Route;
use sextant_model::{
    Cursor, DnsLabel, EnvironmentId, Hostname, NetworkId, OrgId, RouteId, WorkloadId,
    hostname::parent_of,
    routing::{
        RouteKey, Table,
        desired::{DesiredRoute, DesiredWorkload, RoutingSnapshot},
    },
};
use uuid::Uuid;

use super::{column, networks, routes};
use crate::{Store, error::StoreError, session::PgConnection};

/// What is read for edges.
const ROUTING: &[&str] = &["environments", "networks", "routes", "workloads"];
/// Most deleted routes a snapshot names. An edge that has slept through more of them than it
/// serves takes the snapshot for a suspicious one, and says so.
const MOST_DELETED: i64 = 100_000;
/// Most withdrawn workloads a snapshot names. More is no harm where others are in their place.
const MOST_WITHDRAWN: i64 = 10_000;

struct Row {
    route_id: Uuid,
    environment_id: Uuid,
    hostname: Option<String>,
    listen_port: i32,
    protocol_hint: String,
    match_host: bool,
    backend_process_type: String,
    backend_port: i32,
    proxy_protocol: bool,
    health_source: String,
}

impl TryFrom<Row> for DesiredRoute {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let port = |number: i32| {
            u16::try_from(number).map_err(|error| StoreError::Inconsistent {
                table: "routes",
                reason: error.to_string(),
            })
        };
        Ok(Self {
            route_id: RouteId(row.route_id),
            environment_id: EnvironmentId(row.environment_id),
            hostname: row.hostname.map(|name| column("routes", name)).transpose()?,
            listen_port: port(row.listen_port)?,
            protocol_hint: column("routes", row.protocol_hint)?,
            match_host: row.match_host,
            backend_process_type: column("routes", row.backend_process_type)?,
            backend_port: port(row.backend_port)?,
            proxy_protocol: row.proxy_protocol,
            health_source: column("routes", row.health_source)?,
        })
    }
}

/// The routes of one network that a connection may be meant for, as its edges' table of them.
#[derive(Debug)]
pub struct Candidates {
    /// The network.
    pub network_id: NetworkId,
    /// Its name.
    pub network: DnsLabel,
    /// The table, of these routes only, listening on every address.
    pub table: Table<RouteId>,
    /// The routes themselves, whosever they are.
    pub routes: Vec<Route>,
}

impl Store {
    /// Every route of a network, its workloads, and which of them have gone.
    pub async fn routing(
        &self,
        network: NetworkId,
    ) -> Result<(Cursor, RoutingSnapshot), StoreError> {
        let (mut transaction, cursor) = self.frozen_at(ROUTING).await?;
        let snapshot = RoutingSnapshot {
            network_id: network,
            routes: all_routes(&mut transaction, network).await?,
            workloads: all_workloads(&mut transaction, network).await?,
            deleted: deleted_routes(&mut transaction, network).await?,
            withdrawn: withdrawn_workloads(&mut transaction, network).await?,
            skipped: None,
            mesh: networks::ipv6_prefix(&mut transaction, network).await?,
        };
        Ok((cursor, snapshot))
    }

    /// The routes that a connection to `port` may be meant for, by name if it gives one, in each
    /// network that has any: of all orgs, because edges serve all. Only networks that one org lives
    /// in, if asked so.
    pub async fn route_candidates(
        &self,
        port: u16,
        host: Option<&Hostname>,
        org: Option<OrgId>,
    ) -> Result<(Cursor, Vec<Candidates>), StoreError> {
        let (mut transaction, cursor) = self.frozen_at(ROUTING).await?;
        let name = host.map(Hostname::as_str);
        let wildcard = name.and_then(parent_of).map(|parent| format!("*.{parent}"));
        // Two of the port are enough to know that there is not only one.
        let rows = sqlx::query!(
            r#"SELECT n.network_id, n.name, found.route_id AS "route_id!"
               FROM networks n, LATERAL (
                   (SELECT route_id FROM routes r
                    WHERE r.network_id = n.network_id AND r.listen_port = $1
                      AND r.deleted_event_id IS NULL AND r.hostname IN ($2, $3))
                   UNION
                   (SELECT route_id FROM routes r
                    WHERE r.network_id = n.network_id AND r.listen_port = $1
                      AND r.deleted_event_id IS NULL LIMIT 2)) found
               WHERE $4::uuid IS NULL OR EXISTS (
                   SELECT FROM environments e
                   WHERE e.network_id = n.network_id AND e.org_id = $4 AND NOT e.deleted)
               ORDER BY n.network_id, found.route_id"#,
            i32::from(port),
            name,
            wildcard,
            org.map(|org| org.0)
        )
        .fetch_all(&mut *transaction)
        .await?;
        let mut found: Vec<Candidates> = vec![];
        for row in rows {
            let network_id = NetworkId(row.network_id);
            if found.last().is_none_or(|last| last.network_id != network_id) {
                let (network, table) = (column("networks", row.name)?, Table::default());
                found.push(Candidates { network_id, network, table, routes: vec![] });
            }
            let route = routes::one(&mut transaction, RouteId(row.route_id)).await?;
            if let Some((last, route)) = found.last_mut().zip(route) {
                insert(&mut last.table, &route);
                last.routes.push(route);
            }
        }
        Ok((cursor, found))
    }
}

/// A route that conflicts with another one is served by no edge either.
fn insert(table: &mut Table<RouteId>, route: &Route) {
    let desired = DesiredRoute {
        route_id: route.id,
        environment_id: route.environment_id,
        hostname: route.hostname.clone(),
        listen_port: route.listen_port,
        protocol_hint: route.protocol_hint,
        match_host: route.match_host,
        backend_process_type: route.backend_process_type.clone(),
        backend_port: route.backend_port,
        proxy_protocol: route.proxy_protocol,
        health_source: route.health_source,
    };
    if let Some(matching) = desired.matching() {
        let listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), route.listen_port);
        let _ = table.insert(&RouteKey(route.id.to_string().into()), listen, &matching, route.id);
    }
}

async fn all_routes(
    connection: &mut PgConnection,
    network: NetworkId,
) -> Result<Vec<DesiredRoute>, StoreError> {
    // Row by row: a hundred thousand of them need not be held twice.
    let mut rows = sqlx::query_as!(
        Row,
        "SELECT route_id, environment_id, hostname, listen_port, protocol_hint, match_host,
                backend_process_type, backend_port, proxy_protocol, health_source
         FROM routes WHERE network_id = $1 AND deleted_event_id IS NULL ORDER BY route_id",
        network.0
    )
    .fetch(connection);
    let mut routes = Vec::new();
    while let Some(row) = rows.try_next().await? {
        routes.push(row.try_into()?);
    }
    Ok(routes)
}

async fn all_workloads(
    connection: &mut PgConnection,
    network: NetworkId,
) -> Result<Vec<DesiredWorkload>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT workload_id, environment_id, process_type, address AS "address: IpNet", phase
           FROM workloads WHERE network_id = $1 AND phase IN ('starting', 'healthy', 'unhealthy')
           ORDER BY workload_id"#,
        network.0
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(DesiredWorkload {
                workload_id: WorkloadId(row.workload_id),
                environment_id: EnvironmentId(row.environment_id),
                process_type: column("workloads", row.process_type)?,
                address: routes::address(row.address)?,
                health: column("workloads", row.phase)?,
            })
        })
        .collect()
}

async fn deleted_routes(
    connection: &mut PgConnection,
    network: NetworkId,
) -> Result<BTreeSet<RouteId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT route_id FROM routes WHERE network_id = $1 AND deleted_event_id IS NOT NULL
         ORDER BY deleted_event_id DESC LIMIT $2",
        network.0,
        MOST_DELETED
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(RouteId).collect())
}

async fn withdrawn_workloads(
    connection: &mut PgConnection,
    network: NetworkId,
) -> Result<BTreeSet<WorkloadId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT workload_id FROM workloads
         WHERE network_id = $1 AND withdrawn_event_id IS NOT NULL
         ORDER BY withdrawn_event_id DESC LIMIT $2",
        network.0,
        MOST_WITHDRAWN
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(WorkloadId).collect())
}
