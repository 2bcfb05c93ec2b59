//! What a node needs to know of the environments it runs.

use std::collections::BTreeMap;

use ipnet::IpNet;
use sextant_model::{
    EnvironmentId, NetworkId, NodeId, RouteId, WorkloadId,
    boundary::{Boundary, BoundaryRoute, BoundaryWorkload, EnvironmentBoundary},
};
use uuid::Uuid;

use super::{column, routes};
use crate::{Store, error::StoreError, session::PgConnection};

impl Store {
    /// The workloads on a node, with the environment of each: as the claims say, which are never
    /// behind the log, and for withdrawn ones as the projection says.
    pub async fn hosted(
        &self,
        node: NodeId,
    ) -> Result<Vec<(EnvironmentId, WorkloadId)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT environment_id AS "environment_id!", workload_id AS "workload_id!"
               FROM placements WHERE node_id = $1
               UNION
               SELECT environment_id, workload_id FROM workloads
               WHERE node_id = $1 AND phase <> 'released'"#,
            node.0
        )
        .fetch_all(&self.pool)
        .await?;
        let pair = |row: (Uuid, Uuid)| (EnvironmentId(row.0), WorkloadId(row.1));
        Ok(rows.into_iter().map(|row| pair((row.environment_id, row.workload_id))).collect())
    }
}

/// The environments that a node runs.
pub(super) async fn of_node(
    connection: &mut PgConnection,
    network: NetworkId,
    node: NodeId,
) -> Result<Boundary, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT p.environment_id AS "environment_id!", p.path AS "path!"
           FROM environment_paths p WHERE p.environment_id IN (
               SELECT environment_id FROM workloads WHERE node_id = $1 AND phase <> 'released')"#,
        node.0
    )
    .fetch_all(&mut *connection)
    .await?;
    let named = |path| EnvironmentBoundary { path, ..EnvironmentBoundary::default() };
    let mut environments: BTreeMap<EnvironmentId, EnvironmentBoundary> =
        rows.into_iter().map(|row| (EnvironmentId(row.environment_id), named(row.path))).collect();
    let ids: Vec<Uuid> = environments.keys().map(|id| id.0).collect();
    add_workloads(connection, network, &ids, &mut environments).await?;
    add_routes(connection, &ids, &mut environments).await?;
    let missing = std::collections::BTreeSet::new();
    Ok(Boundary { node_id: node, network_id: network, environments, missing })
}

async fn add_workloads(
    connection: &mut PgConnection,
    network: NetworkId,
    ids: &[Uuid],
    environments: &mut BTreeMap<EnvironmentId, EnvironmentBoundary>,
) -> Result<(), StoreError> {
    let rows = sqlx::query!(
        r#"SELECT workload_id, environment_id, node_id, process_type, address AS "address: IpNet",
                  phase
           FROM workloads
           WHERE environment_id = ANY($1) AND network_id = $2 AND phase <> 'released'"#,
        ids,
        network.0
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let workload = BoundaryWorkload {
            node_id: NodeId(row.node_id),
            process_type: column("workloads", row.process_type)?,
            address: routes::address(row.address)?,
            withdrawn: row.phase == "withdrawn",
        };
        if let Some(environment) = environments.get_mut(&EnvironmentId(row.environment_id)) {
            environment.workloads.insert(WorkloadId(row.workload_id), workload);
        }
    }
    Ok(())
}

async fn add_routes(
    connection: &mut PgConnection,
    ids: &[Uuid],
    environments: &mut BTreeMap<EnvironmentId, EnvironmentBoundary>,
) -> Result<(), StoreError> {
    let rows = sqlx::query!(
        "SELECT route_id, environment_id, backend_process_type, backend_port, health_source
         FROM routes WHERE environment_id = ANY($1) AND deleted_event_id IS NULL",
        ids
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let port = u16::try_from(row.backend_port).map_err(|error| StoreError::Inconsistent {
            table: "routes",
            reason: error.to_string(),
        })?;
        let process_type = column("routes", row.backend_process_type)?;
        let health = column("routes", row.health_source)?;
        if let Some(environment) = environments.get_mut(&EnvironmentId(row.environment_id)) {
            let route = BoundaryRoute::new(process_type, port, health);
            environment.routes.insert(RouteId(row.route_id), route);
        }
    }
    Ok(())
}
