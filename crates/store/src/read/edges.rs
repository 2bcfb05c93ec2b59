//! Edges: what they last reported, against what they have to serve.

use sextant_api::{
    page::Page,
    resource::edge::{Edge, EdgeReport},
};
use sextant_model::{NetworkId, NodeId, Timestamp};

use super::{PageRequest, column};
use crate::{Store, error::StoreError};

impl Store {
    /// Keeps the newest report of an edge. The acknowledgement in it never takes an earlier one of the
    /// same epoch back; everything else is taken from the newest report, whatever it acknowledges.
    pub async fn keep_edge_report(
        &self,
        node: NodeId,
        report: &EdgeReport,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let body = serde_json::to_value(report).map_err(|error| StoreError::Inconsistent {
            table: "edge_reports",
            reason: error.to_string(),
        })?;
        sqlx::query!(
            "INSERT INTO edge_reports (node_id, epoch, revision, reported_at, report)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (node_id) DO UPDATE SET
                 revision = CASE WHEN edge_reports.epoch = excluded.epoch
                                 THEN greatest(edge_reports.revision, excluded.revision)
                                 ELSE excluded.revision END,
                 epoch = excluded.epoch, reported_at = excluded.reported_at,
                 report = excluded.report",
            node.0,
            report.revision.epoch.0,
            report.revision.event_id,
            now.0,
            body
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A page of the active nodes with the role edge.
    pub async fn edges(&self, page: PageRequest, now: Timestamp) -> Result<Page<Edge>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT n.node_id, n.name, n.network_id, coalesce(h.event_id, 0) AS "newest!",
                      (SELECT occurred_at FROM events e WHERE e.event_id = h.event_id)
                          AS "newest_at?",
                      r.revision AS "revision?", r.reported_at AS "reported_at?",
                      r.report AS "report?"
               FROM nodes n
               LEFT JOIN routing_heads h USING (network_id)
               LEFT JOIN edge_reports r
                      ON r.node_id = n.node_id AND r.epoch = (SELECT epoch FROM stream_epoch)
               WHERE n.node_id > $1 AND n.phase = 'active' AND 'edge' = ANY(n.roles)
               ORDER BY n.node_id LIMIT $2"#,
            page.after(),
            page.fetch()
        )
        .fetch_all(&self.pool)
        .await?;
        let edges: Result<Vec<_>, StoreError> = rows
            .into_iter()
            .map(|row| {
                let seen = row.reported_at.map(Timestamp);
                let report =
                    row.report.and_then(|report| serde_json::from_value::<EdgeReport>(report).ok());
                // What it serves now, not the most it has ever served.
                let served = report.as_ref().map(|report| report.revision.event_id);
                let revision = served.or(row.revision);
                Ok(Edge {
                    node_id: NodeId(row.node_id),
                    name: column("nodes", row.name)?,
                    network_id: NetworkId(row.network_id),
                    newest: row.newest,
                    newest_age_s: row.newest_at.map(|at| now.since(Timestamp(at)).as_secs()),
                    revision,
                    in_sync: revision.is_some_and(|revision| revision >= row.newest),
                    last_seen_at: seen,
                    last_seen_age_s: seen.map(|seen| now.since(seen).as_secs()),
                    report,
                })
            })
            .collect();
        Ok(page.page(edges?, |edge| edge.node_id.0))
    }

    /// Whether every live edge of a network serves what the event says, or has joined after it.
    /// One that has never reported counts as one that may still send connections anywhere.
    pub async fn edges_acknowledged(
        &self,
        network: NetworkId,
        event_id: i64,
    ) -> Result<bool, StoreError> {
        let waiting = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                   SELECT FROM nodes n
                   LEFT JOIN edge_reports r
                          ON r.node_id = n.node_id AND r.epoch = (SELECT epoch FROM stream_epoch)
                   WHERE n.network_id = $1 AND n.phase = 'active' AND 'edge' = ANY(n.roles)
                     AND n.enrolled_event_id < $2 AND coalesce(r.revision, 0) < $2) AS "is!""#,
            network.0,
            event_id
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(!waiting)
    }
}
