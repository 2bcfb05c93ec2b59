//! Nodes, and what they last reported.

use std::net::SocketAddr;

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
    certificates_revoked: bool,
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
    /// Whether an operator withdrew its certificates.
    pub certificates_revoked: bool,
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
            certificates_revoked: row.certificates_revoked,
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
               THEN 'withdrawn' ELSE phase END AS "phase!",
               coalesce((SELECT event_type = 'node-certificates-revoked' FROM events
                   WHERE aggregate_type = 'node' AND aggregate_id = $1
                     AND event_type IN ('node-certificates-revoked', 'node-readmitted')
                   ORDER BY aggregate_seq DESC LIMIT 1), false) AS "revoked!"
               FROM nodes WHERE node_id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let phase = column("nodes", row.phase)?;
            let (network_id, edge) = (NetworkId(row.network_id), row.edge);
            Ok(NodeAccess { network_id, phase, edge, certificates_revoked: row.revoked })
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

    /// Withdrawn nodes, each with the nodes that it waits for: active ones of its network that knew it
    /// and have not acknowledged its withdrawal in this epoch.
    ///
    /// A node that has not reported for `silent`, and one whose certificates are revoked, is not waited
    /// for. Its kernel may still have the withdrawn peer, so until it hears of the change it reaches
    /// whoever has that peer's old key under these addresses, and never a node that is given them: that
    /// one's key it does not know. Nobody else sends it anything for them (docs/invariants.md).
    pub async fn leaving_nodes(
        &self,
        silent: std::time::Duration,
    ) -> Result<std::collections::BTreeMap<NodeId, Vec<NodeId>>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT gone.node_id, waited.node_id AS "waited?" FROM nodes gone
             LEFT JOIN LATERAL (
                 SELECT live.node_id FROM nodes live
                 LEFT JOIN node_reports r ON r.node_id = live.node_id
                 WHERE live.phase = 'active' AND live.network_id = gone.network_id
                   AND live.enrolled_event_id < gone.withdrawn_event_id
                   AND NOT live.certificates_revoked
                   AND (r.epoch IS DISTINCT FROM (SELECT epoch FROM stream_epoch)
                        OR r.revision < gone.withdrawn_event_id)
                   AND coalesce(r.reported_at, live.enrolled_at) > now() - make_interval(secs => $1)
             ) waited ON true
             WHERE gone.phase = 'withdrawn' ORDER BY gone.node_id, waited.node_id"#,
            silent.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        let mut leaving = std::collections::BTreeMap::<NodeId, Vec<NodeId>>::new();
        for row in rows {
            leaving.entry(NodeId(row.node_id)).or_default().extend(row.waited.map(NodeId));
        }
        Ok(leaving)
    }

    /// The active node of a network that peers are told `endpoint` of, if there is one besides `but`.
    pub async fn node_at(
        &self,
        network: NetworkId,
        endpoint: SocketAddr,
        but: NodeId,
    ) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar!(
            "SELECT name FROM nodes WHERE network_id = $1 AND phase = 'active' AND endpoint = $2
                AND node_id <> $3 LIMIT 1",
            network.0,
            endpoint.to_string(),
            but.0
        )
        .fetch_optional(&self.pool)
        .await?)
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
