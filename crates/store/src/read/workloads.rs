//! Workloads, whatever became of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use sextant_api::{page::Page, resource::workload::Workload};
use sextant_model::{EnvironmentId, NetworkId, NodeId, OrgId, ReleaseId, Timestamp, WorkloadId};
use uuid::Uuid;

use super::{PageRequest, column};
use crate::{Store, error::StoreError, session::PgConnection};

/// Most released workloads a snapshot names.
const MOST_RELEASED: i64 = 10_000;

struct Row {
    workload_id: Uuid,
    org_id: Uuid,
    environment_id: Uuid,
    environment: String,
    release_id: Option<Uuid>,
    process_type: String,
    network_id: Uuid,
    node_id: Uuid,
    node_name: String,
    address: IpNet,
    phase: String,
    version: i32,
    placed_at: time::OffsetDateTime,
    placed_event_id: i64,
}

impl TryFrom<Row> for Workload {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: WorkloadId(row.workload_id),
            org_id: OrgId(row.org_id),
            environment_id: EnvironmentId(row.environment_id),
            environment: row.environment,
            release_id: row.release_id.map(ReleaseId),
            process_type: column("workloads", row.process_type)?,
            network_id: NetworkId(row.network_id),
            node_id: NodeId(row.node_id),
            node_name: column("nodes", row.node_name)?,
            address: v6(row.address)?,
            status: column("workloads", row.phase)?,
            version: row.version,
            placed_at: Timestamp(row.placed_at),
            placed_event_id: row.placed_event_id,
        })
    }
}

fn v6(net: IpNet) -> Result<Ipv6Addr, StoreError> {
    match net.addr() {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(address) => Err(StoreError::Inconsistent {
            table: "workloads",
            reason: format!("\"{address}\" is not IPv6"),
        }),
    }
}

/// Which workloads of a list.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkloadFilter {
    /// Those of this org.
    pub org: Option<OrgId>,
    /// Those in this environment.
    pub environment: Option<EnvironmentId>,
    /// Those on this node.
    pub node: Option<NodeId>,
}

impl Store {
    /// A page of workloads that have not been released.
    pub async fn workloads(
        &self,
        filter: WorkloadFilter,
        page: PageRequest,
    ) -> Result<Page<Workload>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let workloads = list(&mut connection, filter, page.after(), page.fetch()).await?;
        Ok(page.page(workloads, |workload| workload.id.0))
    }

    /// One workload, released or not.
    pub async fn workload(&self, id: WorkloadId) -> Result<Option<Workload>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT w.workload_id, w.org_id, w.environment_id, p.path AS "environment!",
                      w.release_id, w.process_type, w.network_id, w.node_id, n.name AS node_name,
                      w.address AS "address: IpNet", w.phase, w.version, w.placed_at,
                      w.placed_event_id
               FROM workloads w JOIN environment_paths p USING (environment_id)
               JOIN nodes n USING (node_id) WHERE w.workload_id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Workload::try_from).transpose()
    }

    /// The workloads that a release placed, released or not.
    pub async fn workloads_of_release(&self, id: ReleaseId) -> Result<Vec<Workload>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT w.workload_id, w.org_id, w.environment_id, p.path AS "environment!",
                      w.release_id, w.process_type, w.network_id, w.node_id, n.name AS node_name,
                      w.address AS "address: IpNet", w.phase, w.version, w.placed_at,
                      w.placed_event_id
               FROM workloads w JOIN environment_paths p USING (environment_id)
               JOIN nodes n USING (node_id) WHERE w.release_id = $1 ORDER BY w.workload_id"#,
            id.0
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Workload::try_from).collect()
    }
}

pub(super) async fn list(
    connection: &mut PgConnection,
    filter: WorkloadFilter,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Workload>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT w.workload_id, w.org_id, w.environment_id, p.path AS "environment!",
                  w.release_id, w.process_type, w.network_id, w.node_id, n.name AS node_name,
                  w.address AS "address: IpNet", w.phase, w.version, w.placed_at, w.placed_event_id
           FROM workloads w JOIN environment_paths p USING (environment_id)
           JOIN nodes n USING (node_id)
           WHERE w.workload_id > $1 AND w.phase <> 'released'
             AND ($2::uuid IS NULL OR w.org_id = $2)
             AND ($3::uuid IS NULL OR w.environment_id = $3)
             AND ($4::uuid IS NULL OR w.node_id = $4)
           ORDER BY w.workload_id LIMIT $5"#,
        after,
        filter.org.map(|org| org.0),
        filter.environment.map(|environment| environment.0),
        filter.node.map(|node| node.0),
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Workload::try_from).collect()
}

/// The addresses of the workloads on a node. Withdrawn ones have theirs until they are released.
pub(super) async fn addresses_on(
    connection: &mut PgConnection,
    node: NodeId,
) -> Result<BTreeMap<WorkloadId, Ipv6Addr>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT workload_id, address AS "address: IpNet" FROM workloads
           WHERE node_id = $1 AND phase <> 'released'"#,
        node.0
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((WorkloadId(row.workload_id), v6(row.address)?))).collect()
}

/// Workloads on a node that were released, the latest only: none is released before its node has
/// acknowledged the withdrawal, so one that was away has missed few.
pub(super) async fn released_on(
    connection: &mut PgConnection,
    node: NodeId,
) -> Result<BTreeSet<WorkloadId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT workload_id FROM workloads WHERE node_id = $1 AND phase = 'released'
         ORDER BY released_event_id DESC LIMIT $2",
        node.0,
        MOST_RELEASED
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(WorkloadId).collect())
}
