//! `GET /v1/status`: how the platform is doing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{Json as Answered, extract::State};
use sextant_api::{
    Problem,
    frame::SnapshotState,
    resource::{
        node::Node,
        status::{NodeStatus, Status},
    },
};
use sextant_model::{
    Event, NodeId, Timestamp,
    visibility::{Viewer, visible},
};
use sextant_store::read::ReportRow;

use crate::{app::App, auth::PlatformReader, error::ApiError};

/// Lag is counted up to so many events; more is simply "far behind".
const LAG_LIMIT: i64 = 10_000;
/// Refusals of so long are told of.
const REFUSALS_OF: Duration = Duration::from_secs(3600);

/// How the platform is doing.
#[utoipa::path(get, path = "/v1/status", tag = "status",
    responses((status = 200, body = Status), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn status(
    State(app): State<App>,
    _: PlatformReader,
) -> Result<Answered<Status>, ApiError> {
    let epoch = app.store.epoch().await?;
    let settled = app.tail.position().settled;
    let (_, state) = app.store.platform().await?;
    let nodes = match state {
        SnapshotState::Platform { nodes, .. } => nodes,
        _ => vec![],
    };
    let mut reports = app.store.reports().await?;
    let listed: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
    reports.retain(|node, report| report.epoch == epoch.0 && listed.contains(node));
    let behind = reports.values().map(|report| report.revision).min().unwrap_or(settled);
    let limit = LAG_LIMIT.min(settled.saturating_sub(behind));
    let recent = app.store.newest_events(settled, limit).await?;
    let now = app.now();
    let mut duplicates = app.store.duplicates().await?;
    let mut leaving = app.store.leaving_nodes(app.silent).await?;
    let nodes = nodes.into_iter().map(|node| {
        let duplicates = duplicates.remove(&node.id).unwrap_or_default();
        let waits_for = leaving.remove(&node.id).unwrap_or_default();
        NodeStatus { duplicates, waits_for, ..node_status(node, &reports, &recent, now) }
    });
    let nodes = nodes.collect();
    let refusals = app.store.refusals_since(Timestamp(now.0 - REFUSALS_OF)).await?;
    Ok(Answered(Status {
        epoch,
        refusals,
        settled,
        projections: app.store.projections().await?,
        nodes,
        now,
        version: sextant_daemon::VERSION.into(),
    }))
}

fn node_status(
    node: Node,
    reports: &BTreeMap<NodeId, ReportRow>,
    recent: &[Event],
    now: Timestamp,
) -> NodeStatus {
    let viewer = Viewer::Node { node_id: node.id, network_id: node.network_id };
    let row = reports.get(&node.id);
    let lag = row.map(|row| {
        // Older than all that was looked at, where that was not everything.
        let all = i64::try_from(recent.len()).unwrap_or(LAG_LIMIT) < LAG_LIMIT;
        if !all && recent.first().is_some_and(|oldest| row.revision < oldest.event_id - 1) {
            return LAG_LIMIT;
        }
        let unseen = recent.iter().filter(|event| event.event_id > row.revision);
        i64::try_from(unseen.filter(|event| visible(viewer, event).is_some()).count())
            .unwrap_or(LAG_LIMIT)
    });
    NodeStatus {
        node,
        revision: row.map(|row| row.revision),
        lag,
        last_contact_at: row.map(|row| row.reported_at),
        contact_age_s: row.map(|row| now.since(row.reported_at).as_secs()),
        clock_skew_ms: row.map(|row| row.clock_skew_ms),
        report: row.and_then(|row| row.report.clone()),
        duplicates: Vec::new(),
        waits_for: Vec::new(),
    }
}
