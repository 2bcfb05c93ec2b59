//! Routes, with who answers them.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use sextant_api::{
    page::Page,
    resource::route::{Route, RouteBackend, RouteStatus},
};
use sextant_model::{
    DnsLabel, EnvironmentId, HostPattern, NetworkId, OrgId, RouteId, Timestamp, WorkloadId,
};
use uuid::Uuid;

use super::{PageRequest, column};
use crate::{Store, error::StoreError, session::PgConnection, unit::Unit};

/// Most backends that are named one by one.
const MOST_BACKENDS: i64 = 100;

/// Which routes.
#[derive(Clone, Debug, Default)]
pub struct RouteFilter {
    /// Of this org.
    pub org: Option<OrgId>,
    /// Of this environment.
    pub environment: Option<EnvironmentId>,
    /// With exactly this hostname.
    pub hostname: Option<HostPattern>,
}

pub(super) struct Row {
    route_id: Uuid,
    org_id: Uuid,
    environment_id: Uuid,
    network_id: Uuid,
    hostname: Option<String>,
    listen_port: i32,
    protocol_hint: String,
    match_host: bool,
    backend_process_type: String,
    backend_port: i32,
    proxy_protocol: bool,
    ipv4_required: bool,
    health_source: String,
    endpoint: String,
    version: i32,
    created_at: time::OffsetDateTime,
    path: Option<String>,
    backends: i64,
    healthy: i64,
}

fn bad(reason: impl ToString) -> StoreError {
    StoreError::Inconsistent { table: "routes", reason: reason.to_string() }
}

pub(super) fn address(net: IpNet) -> Result<Ipv6Addr, StoreError> {
    match net.addr() {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(address) => Err(StoreError::Inconsistent {
            table: "workloads",
            reason: format!("{address} is not an IPv6 address"),
        }),
    }
}

impl TryFrom<Row> for Route {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let port = |number: i32| u16::try_from(number).map_err(bad);
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Self {
            id: RouteId(row.route_id),
            org_id: OrgId(row.org_id),
            environment_id: EnvironmentId(row.environment_id),
            environment: row.path.unwrap_or_else(|| row.environment_id.to_string()),
            network_id: NetworkId(row.network_id),
            hostname: row.hostname.map(|name| column("routes", name)).transpose()?,
            listen_port: port(row.listen_port)?,
            protocol_hint: column("routes", row.protocol_hint)?,
            match_host: row.match_host,
            backend_process_type: column("routes", row.backend_process_type)?,
            backend_port: port(row.backend_port)?,
            proxy_protocol: row.proxy_protocol,
            ipv4_required: row.ipv4_required,
            health_source: column("routes", row.health_source)?,
            endpoint: column("routes", row.endpoint)?,
            status: RouteStatus {
                backends: count(row.backends),
                healthy: count(row.healthy),
                workloads: vec![],
            },
            version: row.version,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl Store {
    /// A page of routes.
    pub async fn routes(
        &self,
        filter: &RouteFilter,
        page: PageRequest,
    ) -> Result<Page<Route>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let routes = list(&mut connection, filter, page.after(), page.fetch()).await?;
        Ok(page.page(routes, |route| route.id.0))
    }

    /// One route with its backends; `None` if there is none, or no longer.
    pub async fn route(&self, id: RouteId) -> Result<Option<Route>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        one(&mut connection, id).await
    }
}

impl Unit {
    /// Who answers for a process type of an environment on a port.
    pub async fn route_status(
        &mut self,
        environment: EnvironmentId,
        process_type: &DnsLabel,
        port: u16,
    ) -> Result<RouteStatus, StoreError> {
        status(self.open().await?, environment, process_type, port).await
    }
}

/// Routes that were not deleted, with who answers them counted.
pub(super) async fn list(
    connection: &mut PgConnection,
    filter: &RouteFilter,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Route>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT r.route_id, r.org_id, r.environment_id, r.network_id, r.hostname,
                  r.listen_port, r.protocol_hint, r.match_host, r.backend_process_type,
                  r.backend_port, r.proxy_protocol, r.ipv4_required, r.health_source,
                  r.endpoint, r.version, r.created_at, p.path AS "path?",
                  b.backends AS "backends!", b.healthy AS "healthy!"
           FROM routes r LEFT JOIN environment_paths p USING (environment_id),
                LATERAL (SELECT count(*) AS backends,
                                count(*) FILTER (WHERE w.phase = 'healthy') AS healthy
                         FROM workloads w
                         WHERE w.environment_id = r.environment_id
                           AND w.process_type = r.backend_process_type
                           AND w.phase IN ('starting', 'healthy', 'unhealthy')) b
           WHERE r.route_id > $1 AND r.deleted_event_id IS NULL
             AND ($2::uuid IS NULL OR r.org_id = $2)
             AND ($3::uuid IS NULL OR r.environment_id = $3)
             AND ($4::text IS NULL OR r.hostname = $4)
           ORDER BY r.route_id LIMIT $5"#,
        after,
        filter.org.map(|org| org.0),
        filter.environment.map(|environment| environment.0),
        filter.hostname.as_ref().map(ToString::to_string),
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Route::try_from).collect()
}

pub(super) async fn one(
    connection: &mut PgConnection,
    id: RouteId,
) -> Result<Option<Route>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT r.route_id, r.org_id, r.environment_id, r.network_id, r.hostname,
                  r.listen_port, r.protocol_hint, r.match_host, r.backend_process_type,
                  r.backend_port, r.proxy_protocol, r.ipv4_required, r.health_source,
                  r.endpoint, r.version, r.created_at, p.path AS "path?",
                  0::bigint AS "backends!", 0::bigint AS "healthy!"
           FROM routes r LEFT JOIN environment_paths p USING (environment_id)
           WHERE r.route_id = $1 AND r.deleted_event_id IS NULL"#,
        id.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut route = Route::try_from(row)?;
    let (environment, port) = (route.environment_id, route.backend_port);
    route.status = status(connection, environment, &route.backend_process_type, port).await?;
    Ok(Some(route))
}

async fn status(
    connection: &mut PgConnection,
    environment: EnvironmentId,
    process_type: &DnsLabel,
    port: u16,
) -> Result<RouteStatus, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT workload_id, address AS "address: IpNet", phase, count(*) OVER () AS "backends!",
                  count(*) FILTER (WHERE phase = 'healthy') OVER () AS "healthy!"
           FROM workloads
           WHERE environment_id = $1 AND process_type = $2
             AND phase IN ('starting', 'healthy', 'unhealthy')
           ORDER BY workload_id LIMIT $3"#,
        environment.0,
        process_type.as_str(),
        MOST_BACKENDS
    )
    .fetch_all(connection)
    .await?;
    let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let mut status = RouteStatus::default();
    for row in rows {
        (status.backends, status.healthy) = (count(row.backends), count(row.healthy));
        status.workloads.push(RouteBackend {
            workload_id: WorkloadId(row.workload_id),
            address: address(row.address)?,
            port,
            health: column("workloads", row.phase)?,
        });
    }
    Ok(status)
}
