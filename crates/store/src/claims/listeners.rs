//! Where routes listen: a raw TCP route has its address and port for itself, a name has one route
//! on each, and an address and port is told apart in one way.

use std::collections::BTreeSet;

use sextant_model::{
    DnsLabel, EnvironmentId, HostPattern, NetworkId, OrgId, RouteId, routing::table::ListenerKind,
};

use crate::{error::StoreError, read::column, unit::Unit};

/// Where a route listens.
#[derive(Clone, Copy, Debug)]
pub struct ListenerWish<'a> {
    /// The network whose edges serve it.
    pub network: NetworkId,
    /// The port, on the addresses that all these edges share.
    pub port: u16,
    /// What has to be read of its connections.
    pub kind: ListenerKind,
    /// The route's name, which its environment must own.
    pub hostname: Option<&'a HostPattern>,
}

/// The route that has what another one wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerHolder {
    /// Which route.
    pub route_id: RouteId,
    /// Which environment answers.
    pub environment_id: EnvironmentId,
    /// Whose environment it is; unknown for a moment after it was made.
    pub org_id: Option<OrgId>,
    /// Whether it has the very name, not the port.
    pub same_name: bool,
}

fn kind_number(kind: ListenerKind) -> i32 {
    match kind {
        ListenerKind::Raw => 0,
        ListenerKind::Tls => 1,
        ListenerKind::Http => 2,
    }
}

impl Unit {
    /// Takes an address and port, or a name on it, for a route; the holder if that is taken.
    pub async fn take_listener(
        &mut self,
        route: RouteId,
        environment: EnvironmentId,
        wish: ListenerWish<'_>,
    ) -> Result<Option<ListenerHolder>, StoreError> {
        let hostname = wish.hostname.map(HostPattern::to_string);
        let taken = sqlx::query!(
            "INSERT INTO listener_claims (route_id, environment_id, address, port, kind, hostname)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            route.0,
            environment.0,
            wish.network.to_string(),
            i32::from(wish.port),
            kind_number(wish.kind),
            hostname
        )
        .execute(self.open().await?)
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(None);
        }
        self.listener_holder(wish).await?.ok_or(StoreError::VersionConflict).map(Some)
    }

    async fn listener_holder(
        &mut self,
        wish: ListenerWish<'_>,
    ) -> Result<Option<ListenerHolder>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT l.route_id, l.environment_id, e.org_id AS "org_id?", l.kind
               FROM listener_claims l LEFT JOIN environments e USING (environment_id)
               WHERE l.address = $1 AND l.port = $2
                 AND (l.kind <> $3 OR l.kind = 0 OR l.hostname = $4)
               LIMIT 1"#,
            wish.network.to_string(),
            i32::from(wish.port),
            kind_number(wish.kind),
            wish.hostname.map(HostPattern::to_string)
        )
        .fetch_optional(self.open().await?)
        .await?;
        Ok(row.map(|row| ListenerHolder {
            route_id: RouteId(row.route_id),
            environment_id: EnvironmentId(row.environment_id),
            org_id: row.org_id.map(OrgId),
            same_name: row.kind != 0 && row.kind == kind_number(wish.kind),
        }))
    }

    /// Gives back what a deleted route had.
    pub async fn release_listener(&mut self, route: RouteId) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM listener_claims WHERE route_id = $1", route.0)
            .execute(self.open().await?)
            .await?;
        Ok(())
    }

    /// How many routes lead to an environment.
    pub async fn routes_in(&mut self, environment: EnvironmentId) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM listener_claims WHERE environment_id = $1"#,
            environment.0
        )
        .fetch_one(self.open().await?)
        .await?;
        Ok(count.unsigned_abs())
    }

    /// How many routes of an environment listen on a port.
    pub async fn routes_on_port(
        &mut self,
        environment: EnvironmentId,
        port: u16,
    ) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM listener_claims
               WHERE environment_id = $1 AND port = $2"#,
            environment.0,
            i32::from(port)
        )
        .fetch_one(self.open().await?)
        .await?;
        Ok(count.unsigned_abs())
    }

    /// What an environment runs: the process types of its workloads, and of its newest release.
    pub async fn process_types(
        &mut self,
        environment: EnvironmentId,
    ) -> Result<BTreeSet<DnsLabel>, StoreError> {
        let names = sqlx::query_scalar!(
            r#"SELECT process_type AS "name!" FROM placements WHERE environment_id = $1
               UNION
               SELECT spec ->> 'process_type' FROM (
                   SELECT processes FROM releases WHERE environment_id = $1
                   ORDER BY number DESC LIMIT 1) newest, jsonb_array_elements(processes) spec"#,
            environment.0
        )
        .fetch_all(self.open().await?)
        .await?;
        names.into_iter().map(|name| column("placements", name)).collect()
    }

    /// How people name an environment: ORG/APP/ENVIRONMENT. Its id for a moment after it was made.
    pub async fn environment_path(
        &mut self,
        environment: EnvironmentId,
    ) -> Result<String, StoreError> {
        let path = sqlx::query_scalar!(
            r#"SELECT path AS "path!" FROM environment_paths WHERE environment_id = $1"#,
            environment.0
        )
        .fetch_optional(self.open().await?)
        .await?;
        Ok(path.unwrap_or_else(|| environment.to_string()))
    }
}
