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
        status::{NodeStatus, ProjectionStatus, Status},
    },
};
use sextant_model::{
    Event, NodeId, Timestamp,
    visibility::{Viewer, visible},
};
use sextant_store::read::{PageRequest, ReportRow};

use crate::{app::App, auth::PlatformReader, error::ApiError};

/// Edges are few.
const ALL_EDGES: PageRequest = PageRequest { after: None, limit: 10_000 };

/// Lag is counted up to so many events; more is simply "far behind".
const LAG_LIMIT: i64 = 10_000;
/// Refusals of so long are told of.
const REFUSALS_OF: Duration = Duration::from_secs(3600);

/// How the platform is doing, and what is wrong with it.
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
    let (networks, nodes) = match state {
        SnapshotState::Platform { networks, nodes } => (networks, nodes),
        _ => (vec![], vec![]),
    };
    let mut reports = app.store.reports().await?;
    let listed: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
    reports.retain(|node, report| report.epoch == epoch.0 && listed.contains(node));
    let projections = app.store.projections().await?;
    let acknowledged = reports.values().map(|report| report.revision);
    let projected = projections.iter().map(|projection| projection.checkpoint);
    let behind = acknowledged.chain(projected).min().unwrap_or(settled);
    let limit = LAG_LIMIT.min(settled.saturating_sub(behind));
    let recent = app.store.newest_events(settled, limit).await?;
    let now = app.now();
    let age_s = |event: &Event| now.since(event.occurred_at).as_secs();
    let projections = projections
        .into_iter()
        .map(|projection| ProjectionStatus {
            behind_s: recent.iter().find(|event| event.event_id > projection.checkpoint).map(age_s),
            ..projection
        })
        .collect();
    let mut duplicates = app.store.duplicates().await?;
    let mut leaving = app.store.leaving_nodes(app.silent).await?;
    let node = |node: Node| {
        let duplicates = duplicates.remove(&node.id).unwrap_or_default();
        let waits_for = leaving.remove(&node.id).unwrap_or_default();
        NodeStatus { duplicates, waits_for, ..node_status(node, &reports, &recent, now) }
    };
    let refusals = app.store.refusals_since(Timestamp(now.0 - REFUSALS_OF)).await?;
    let mut status = Status {
        epoch,
        refusals,
        settled,
        projections,
        nodes: nodes.into_iter().map(node).collect(),
        now,
        version: sextant_daemon::VERSION.into(),
        replicas: app.store.replicas().await?,
        findings: None,
    };
    let networks = networks.into_iter().map(|network| (network.id, network.name)).collect();
    let edges = app.store.edges(ALL_EDGES, now).await?.items;
    status.findings = Some(status.judge(&edges, &networks));
    Ok(Answered(status))
}

fn node_status(
    node: Node,
    reports: &BTreeMap<NodeId, ReportRow>,
    recent: &[Event],
    now: Timestamp,
) -> NodeStatus {
    let row = reports.get(&node.id);
    let lag = row.map(|row| lag(&node, row, recent));
    NodeStatus {
        node,
        revision: row.map(|row| row.revision),
        lag: lag.map(|(lag, _)| lag),
        lag_age_s: lag.and_then(|(_, since)| Some(now.since(since?).as_secs())),
        last_contact_at: row.map(|row| row.reported_at),
        contact_age_s: row.map(|row| now.since(row.reported_at).as_secs()),
        clock_skew_ms: row.map(|row| row.clock_skew_ms),
        report: row.and_then(|row| row.report.clone()),
        duplicates: Vec::new(),
        waits_for: Vec::new(),
    }
}

/// Events that the node should see and has not applied, and when the first of them happened.
fn lag(node: &Node, row: &ReportRow, recent: &[Event]) -> (i64, Option<Timestamp>) {
    let viewer = Viewer::Node { node_id: node.id, network_id: node.network_id };
    // Older than all that was looked at, where that was not everything.
    let all = i64::try_from(recent.len()).unwrap_or(LAG_LIMIT) < LAG_LIMIT;
    let oldest = recent.first().filter(|oldest| !all && row.revision < oldest.event_id - 1);
    if let Some(oldest) = oldest {
        return (LAG_LIMIT, Some(oldest.occurred_at));
    }
    let unseen = recent.iter().filter(|event| event.event_id > row.revision);
    let mut unseen = unseen.filter(|event| visible(viewer, event).is_some()).peekable();
    let since = unseen.peek().map(|event| event.occurred_at);
    (i64::try_from(unseen.count()).unwrap_or(LAG_LIMIT), since)
}
