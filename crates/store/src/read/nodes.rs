//! Nodes, and what they last reported.

use ipnet::IpNet;
use sextant_api::{
    page::Page,
    resource::{
        node::{Node, NodePhase},
        report::NodeReport,
    },
};
use sextant_model::{NetworkId, NodeId, PeerAddresses, Prefix, Timestamp};
use uuid::Uuid;

use super::{PageRequest, column, columns};
use crate::{Store, error::StoreError, session::PgConnection};

pub(super) struct Row {
    node_id: Uuid,
    network_id: Uuid,
    name: String,
    roles: Vec<String>,
    phase: String,
    public_key: String,
    endpoint: String,
    ipv6_address: Option<IpNet>,
    ipv4_address: Option<IpNet>,
    prefix: IpNet,
    certificate_not_after: Option<time::OffsetDateTime>,
    version: i32,
    enrolled_at: time::OffsetDateTime,
    enrolled_event_id: i64,
    #[expect(dead_code, reason = "read by queries, not by clients")]
    withdrawn_event_id: Option<i64>,
}

/// What a client certificate's node may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAccess {
    /// Its network.
    pub network_id: NetworkId,
    /// How far it has come; only an active node may ask for anything.
    pub phase: NodePhase,
    /// Whether it has the role edge.
    pub edge: bool,
}

/// What a node last reported.
#[derive(Clone, Debug)]
pub struct ReportRow {
    /// Life of the log the revision belongs to.
    pub epoch: Uuid,
    /// Up to here it has applied.
    pub revision: i64,
    /// When it reported.
    pub reported_at: Timestamp,
    /// Its clock minus the server's, in milliseconds.
    pub clock_skew_ms: i64,
    /// The report; `None` if this version cannot read it.
    pub report: Option<NodeReport>,
}

fn bad(reason: impl ToString) -> StoreError {
    StoreError::Inconsistent { table: "nodes", reason: reason.to_string() }
}

impl TryFrom<Row> for Node {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let ipv6 = row.ipv6_address.and_then(|net| match net {
            IpNet::V6(net) => Some(net.addr()),
            IpNet::V4(_) => None,
        });
        let ipv4 = row.ipv4_address.and_then(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        });
        Ok(Self {
            id: NodeId(row.node_id),
            network_id: NetworkId(row.network_id),
            name: column("nodes", row.name)?,
            roles: columns("nodes", row.roles)?,
            phase: column("nodes", row.phase)?,
            public_key: column("nodes", row.public_key)?,
            endpoint: row.endpoint.parse().map_err(bad)?,
            addresses: PeerAddresses::new(ipv6, ipv4).map_err(bad)?,
            prefix: Prefix::new(row.prefix).map_err(bad)?,
            certificate_not_after: row.certificate_not_after.map(Timestamp),
            version: row.version,
            enrolled_at: Timestamp(row.enrolled_at),
            enrolled_event_id: row.enrolled_event_id,
        })
    }
}

impl Store {
    /// A page of nodes that have not been released.
    pub async fn nodes(&self, page: PageRequest) -> Result<Page<Node>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let nodes = list(&mut connection, page.after(), page.fetch()).await?;
        Ok(page.page(nodes, |node| node.id.0))
    }

    /// One node, released or not.
    pub async fn node(&self, id: NodeId) -> Result<Option<Node>, StoreError> {
        let row = sqlx::query_as!(Row, "SELECT * FROM nodes WHERE node_id = $1", id.0)
            .fetch_optional(&self.pool)
            .await?;
        row.map(Node::try_from).transpose()
    }

    /// What the node may still do; `None` if it never enrolled.
    pub async fn node_access(&self, id: NodeId) -> Result<Option<NodeAccess>, StoreError> {
        // The log itself says whether it has left: a projection may be behind.
        let row = sqlx::query!(
            r#"SELECT network_id, 'edge' = ANY(roles) AS "edge!", CASE WHEN phase = 'active' AND EXISTS (
                   SELECT FROM events WHERE aggregate_type = 'node' AND aggregate_id = $1
                                        AND event_type = 'node-withdrawn')
               THEN 'withdrawn' ELSE phase END AS "phase!"
               FROM nodes WHERE node_id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let phase = column("nodes", row.phase)?;
            Ok(NodeAccess { network_id: NetworkId(row.network_id), phase, edge: row.edge })
        })
        .transpose()
    }

    /// What every node last reported, by node.
    pub async fn reports(
        &self,
    ) -> Result<std::collections::BTreeMap<NodeId, ReportRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT node_id, epoch, revision, reported_at, clock_skew_ms, report FROM node_reports"
        )
        .fetch_all(&self.pool)
        .await?;
        let report = |row: serde_json::Value| serde_json::from_value(row).ok();
        Ok(rows
            .into_iter()
            .map(|row| {
                let reported = ReportRow {
                    epoch: row.epoch,
                    revision: row.revision,
                    reported_at: Timestamp(row.reported_at),
                    clock_skew_ms: row.clock_skew_ms,
                    report: report(row.report),
                };
                (NodeId(row.node_id), reported)
            })
            .collect())
    }

    /// Withdrawn nodes whose withdrawal every active node of their network has acknowledged in
    /// this epoch: their addresses may be released.
    pub async fn releasable_nodes(&self) -> Result<Vec<NodeId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "SELECT gone.node_id FROM nodes gone
             WHERE gone.phase = 'withdrawn' AND NOT EXISTS (
                 SELECT FROM nodes live
                 LEFT JOIN node_reports r
                        ON r.node_id = live.node_id AND r.epoch = (SELECT epoch FROM stream_epoch)
                 WHERE live.phase = 'active' AND live.network_id = gone.network_id
                   AND coalesce(r.revision, 0) < gone.withdrawn_event_id)"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(NodeId).collect())
    }
}

pub(super) async fn list(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Node>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM nodes WHERE node_id > $1 AND phase <> 'released' ORDER BY node_id LIMIT $2",
        after,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Node::try_from).collect()
}

/// Every node of a network, whatever became of it.
pub(super) async fn of_network(
    connection: &mut PgConnection,
    network: NetworkId,
) -> Result<Vec<Node>, StoreError> {
    let rows = sqlx::query_as!(Row, "SELECT * FROM nodes WHERE network_id = $1", network.0)
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(Node::try_from).collect()
}
