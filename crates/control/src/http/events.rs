//! `GET /v1/events` and `GET /v1/snapshot`: the stream for those who poll.

use std::time::Instant;

use axum::{Json as Answered, extract::State};
use sextant_api::{
    Frame, Problem,
    frame::{EventPage, SnapshotState, StreamView},
};
use sextant_model::{
    Cursor,
    visibility::{Hosted, Viewer, visible},
};
use sextant_store::{Store, projection::Projections};

use crate::{
    app::App,
    auth::Principal,
    error::ApiError,
    extract::{Query, checked_limit},
    tail::Stall,
};

/// Where to begin, and how much to return.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// A cursor from a frame or from `next_after`; a bare event id means the present epoch; from
    /// the beginning if absent.
    #[param(max_length = 64)]
    pub after: Option<String>,
    /// Most events to look at, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `routing`: what a node with the role edge has to serve, instead of what every node sees;
    /// `boundary`: what every node sees, and the environments that it runs.
    pub view: Option<StreamView>,
}

/// What to take a snapshot of.
#[derive(Clone, Copy, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotQuery {
    /// `routing`: what a node with the role edge has to serve, instead of what every node sees;
    /// `boundary`: what every node sees, and the environments that it runs.
    pub view: Option<StreamView>,
}

/// At most `limit` events after a cursor, as much of them as the caller may see.
#[utoipa::path(get, path = "/v1/events", tag = "stream", params(EventQuery),
    responses((status = 200, body = EventPage),
        (status = 410, body = Problem, description = "the cursor is of another epoch, or above the head"),
        (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    who: Principal,
    Query(query): Query<EventQuery>,
) -> Result<Answered<EventPage>, ApiError> {
    let (viewer, mut hosted) = sight(&app, who, query.view).await?;
    let limit = i64::from(checked_limit(query.limit)?);
    let store = app.store_for(who);
    let epoch = store.epoch().await?;
    let after = parse_cursor(&store, query.after.as_deref()).await?;
    let after = after.unwrap_or(Cursor { epoch, event_id: 0 });
    if let Err(stall @ Stall::Log(_)) = app.tail.progress().check_log(Instant::now()) {
        return Err(ApiError::NotReady(stall.to_string()));
    }
    let settled = app.tail.settled_at_least(&store, after.event_id).await?;
    after.check(epoch, settled)?;
    let events = store.events(after.event_id, settled, limit).await?;
    // The database may have been replaced by another one meanwhile.
    after.check(store.epoch().await?, settled)?;
    let has_more = i64::try_from(events.len()).unwrap_or(limit) == limit;
    let scanned = events.last().filter(|_| has_more).map_or(settled, |event| event.event_id);
    let at = |event_id| Cursor { epoch, event_id };
    let frames = events
        .iter()
        .filter_map(|event| match &mut hosted {
            Some(hosted) => hosted.see(event),
            None => visible(viewer, event),
        })
        .map(|event| Frame::Event { cursor: at(event.event_id), event })
        .collect();
    Ok(Answered(EventPage { frames, next_after: at(scanned), head: at(settled), has_more }))
}

/// What the caller may see of the platform now, with the cursor to go on from.
#[utoipa::path(get, path = "/v1/snapshot", tag = "stream", params(SnapshotQuery),
    responses((status = 200, body = Frame), (status = "4XX", body = Problem)))]
pub async fn snapshot(
    State(app): State<App>,
    who: Principal,
    Query(query): Query<SnapshotQuery>,
) -> Result<Answered<Frame>, ApiError> {
    take_snapshot(&app, who, query.view).await.map(Answered)
}

/// What `who` may see in a view.
pub(super) fn viewer(who: Principal, view: Option<StreamView>) -> Result<Viewer, ApiError> {
    match (who, view) {
        (_, None) | (Principal::Node { .. }, Some(StreamView::Boundary)) => Ok(who.viewer()),
        (Principal::Node { node_id, network_id, edge: true, .. }, Some(StreamView::Routing)) => {
            Ok(Viewer::Edge { node_id, network_id })
        }
        (Principal::Node { .. }, Some(StreamView::Routing)) => Err(ApiError::Forbidden(
            "view \"routing\" is for nodes with the role edge; enrol the node with a token for that role",
        )),
        (Principal::Operator { .. }, Some(StreamView::Routing)) => Err(ApiError::Forbidden(
            "view \"routing\" is for edge nodes; leave view out to follow what the token may see",
        )),
        (Principal::Operator { .. }, Some(StreamView::Boundary)) => Err(ApiError::Forbidden(
            "view \"boundary\" is for nodes; leave view out to follow what the token may see",
        )),
    }
}

/// What `who` may see in a view, and the environments it runs if the view is about them. Read
/// before the events: what is placed meanwhile comes with its event.
pub(super) async fn sight(
    app: &App,
    who: Principal,
    view: Option<StreamView>,
) -> Result<(Viewer, Option<Hosted>), ApiError> {
    let viewer = viewer(who, view)?;
    let hosted = match (viewer, view) {
        (Viewer::Node { node_id, network_id }, Some(StreamView::Boundary)) => {
            Some(Hosted::new(node_id, network_id, app.store_for(who).hosted(node_id).await?))
        }
        _ => None,
    };
    Ok((viewer, hosted))
}

/// The snapshot frame for `who`.
pub(super) async fn take_snapshot(
    app: &App,
    who: Principal,
    view: Option<StreamView>,
) -> Result<Frame, ApiError> {
    let store = app.store_for(who);
    if let Viewer::Edge { network_id, .. } = viewer(who, view)? {
        let (cursor, routing) = store.routing(network_id).await?;
        return Ok(Frame::Snapshot { cursor, state: SnapshotState::Routing { routing } });
    }
    let bounded = view == Some(StreamView::Boundary);
    if bounded {
        // A node asks again because of an event that it was sent: the snapshot has to know it.
        app.tail.wait_projected(app.tail.position().settled, Projections::ALL).await;
    }
    let (cursor, state) = match who {
        Principal::Operator { org: None, .. } => store.platform().await?,
        Principal::Operator { org: Some(org), .. } => store.org_snapshot(org).await?,
        Principal::Node { node_id, network_id, .. } => {
            let (cursor, membership) = store.membership(network_id, node_id, bounded).await?;
            (cursor, SnapshotState::Membership { membership })
        }
    };
    Ok(Frame::Snapshot { cursor, state })
}

/// A cursor, or an event id of the present epoch.
pub(super) async fn parse_cursor(
    store: &Store,
    text: Option<&str>,
) -> Result<Option<Cursor>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Some(event_id) = text.parse::<i64>().ok().filter(|id| *id >= 0) {
        return Ok(Some(Cursor { epoch: store.epoch().await?, event_id }));
    }
    let cursor = text.parse().map_err(|error: sextant_model::cursor::InvalidCursor| {
        ApiError::BadRequest { code: "cursor-invalid", detail: error.to_string() }
    })?;
    Ok(Some(cursor))
}
