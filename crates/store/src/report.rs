//! What nodes last reported.

use sextant_api::resource::report::NodeReport;
use sextant_model::{NodeId, Timestamp};

use crate::{Store, error::StoreError};

impl Store {
    /// Keeps the newest report of a node; one that arrives late does not take a revision back.
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
        let skew = (report.clock.0 - now.0).whole_milliseconds();
        sqlx::query!(
            "INSERT INTO node_reports (node_id, epoch, revision, reported_at, clock_skew_ms, report)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (node_id) DO UPDATE SET
                 epoch = excluded.epoch, revision = excluded.revision,
                 reported_at = excluded.reported_at, clock_skew_ms = excluded.clock_skew_ms,
                 report = excluded.report
             WHERE node_reports.epoch <> excluded.epoch
                OR node_reports.revision <= excluded.revision",
            node.0,
            report.revision.epoch.0,
            report.revision.event_id,
            now.0,
            i64::try_from(skew).unwrap_or(i64::MAX),
            body
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
