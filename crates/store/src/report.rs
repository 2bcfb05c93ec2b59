//! What nodes last reported.

use sextant_api::resource::report::NodeReport;
use sextant_model::{NodeId, Timestamp, health::clock_ahead_ms};

use crate::{Store, error::StoreError};

impl Store {
    /// Keeps the newest report of a node. The acknowledgement in it never takes an earlier one of
    /// the same epoch back: what was saved by the node stays saved. Everything else is taken from
    /// the newest report, whatever it acknowledges. A report that another one of the same process
    /// has overtaken is not kept.
    pub async fn keep_report(
        &self,
        node: NodeId,
        report: &NodeReport,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let body = serde_json::to_value(report).map_err(|error| StoreError::Inconsistent {
            table: "node_reports",
            reason: error.to_string(),
        })?;
        let agent = report.agent.as_ref();
        let at_least = (report.clock.0 - now.0).whole_milliseconds();
        let at_least = i64::try_from(at_least).unwrap_or(i64::MAX);
        let skew = clock_ahead_ms(at_least, agent.and_then(|agent| agent.clock_ahead_at_most_ms));
        sqlx::query!(
            "INSERT INTO node_reports (node_id, epoch, revision, reported_at, clock_skew_ms, report,
                                       process, number)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (node_id) DO UPDATE SET
                 revision = CASE WHEN node_reports.epoch = excluded.epoch
                                 THEN greatest(node_reports.revision, excluded.revision)
                                 ELSE excluded.revision END,
                 epoch = excluded.epoch, reported_at = excluded.reported_at,
                 clock_skew_ms = excluded.clock_skew_ms, report = excluded.report,
                 process = excluded.process, number = excluded.number
             WHERE node_reports.process IS DISTINCT FROM excluded.process
                OR node_reports.number IS NULL OR excluded.number IS NULL
                OR node_reports.number < excluded.number",
            node.0,
            report.revision.epoch.0,
            report.revision.event_id,
            now.0,
            skew,
            body,
            agent.map(|agent| agent.process),
            agent.map(|agent| agent.number),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
