//! Port grants, and routes that hold the policy's line no longer.

use sextant_api::resource::port::{PortGrant, RouteOutOfPolicy};
use sextant_model::{
    ActorId, EnvironmentId, OrgId, RouteId, Timestamp,
    port::{PortPolicy, PortRefused},
};

use crate::{Store, error::StoreError, unit::Unit};

fn port(number: i32) -> Result<u16, StoreError> {
    u16::try_from(number)
        .map_err(|error| StoreError::Inconsistent { table: "routes", reason: error.to_string() })
}

impl Store {
    /// The ports an environment was granted.
    pub async fn port_grants(
        &self,
        environment: EnvironmentId,
    ) -> Result<Vec<PortGrant>, StoreError> {
        let rows = sqlx::query!(
            "SELECT port, reason, granted_by, granted_at FROM port_grants
             WHERE environment_id = $1 ORDER BY port",
            environment.0
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(PortGrant {
                    environment_id: environment,
                    port: port(row.port)?,
                    reason: row.reason,
                    granted_by: ActorId(row.granted_by),
                    granted_at: Timestamp(row.granted_at),
                })
            })
            .collect()
    }

    /// Routes, of one org if asked so, whose port `policy` would not open to them now: `limit` at
    /// most.
    pub async fn routes_out_of_policy(
        &self,
        policy: &PortPolicy,
        org: Option<OrgId>,
        limit: usize,
    ) -> Result<Vec<RouteOutOfPolicy>, StoreError> {
        let used = sqlx::query_scalar!(
            "SELECT DISTINCT listen_port FROM routes WHERE deleted_event_id IS NULL"
        )
        .fetch_all(&self.pool)
        .await?;
        let (mut denied, mut granted_only) = (vec![], vec![]);
        for number in used {
            match policy.check(port(number)?, &std::collections::BTreeSet::new()) {
                Ok(()) => {}
                Err(PortRefused::NotGranted(_)) => granted_only.push(number),
                Err(PortRefused::Denied(_) | PortRefused::Zero) => denied.push(number),
            }
        }
        let rows = sqlx::query!(
            "SELECT r.route_id, r.environment_id, r.listen_port FROM routes r
             WHERE r.deleted_event_id IS NULL AND ($3::uuid IS NULL OR r.org_id = $3)
               AND (r.listen_port = ANY($1) OR r.listen_port = ANY($2) AND NOT EXISTS (
                    SELECT FROM port_grants g
                    WHERE g.environment_id = r.environment_id AND g.port = r.listen_port))
             ORDER BY r.route_id LIMIT $4",
            &denied,
            &granted_only,
            org.map(|org| org.0),
            i64::try_from(limit).unwrap_or(i64::MAX)
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(RouteOutOfPolicy {
                    route_id: RouteId(row.route_id),
                    environment_id: EnvironmentId(row.environment_id),
                    listen_port: port(row.listen_port)?,
                })
            })
            .collect()
    }
}

impl Unit {
    /// The grant of a port to an environment, as lists show it.
    pub async fn port_grant(
        &mut self,
        environment: EnvironmentId,
        granted: u16,
    ) -> Result<Option<PortGrant>, StoreError> {
        let row = sqlx::query!(
            "SELECT port, reason, granted_by, granted_at FROM port_grants
             WHERE environment_id = $1 AND port = $2",
            environment.0,
            i32::from(granted)
        )
        .fetch_optional(self.open().await?)
        .await?;
        Ok(row.map(|row| PortGrant {
            environment_id: environment,
            port: granted,
            reason: row.reason,
            granted_by: ActorId(row.granted_by),
            granted_at: Timestamp(row.granted_at),
        }))
    }
}
