//! `/v1/edges`: whether all serve the same; `PUT /v1/edge/report`: what an edge says of itself.

use axum::{Json as Answered, extract::State, http::StatusCode};
use sextant_api::{
    Problem,
    page::Page,
    resource::edge::{Edge, EdgeReport},
};
use sextant_model::health::is_plain;

use crate::{
    app::App,
    auth::{EdgePrincipal, PlatformReader},
    error::ApiError,
    extract::{Json, ListQuery, Query},
};

/// Lists the edges, with what each of them serves.
#[utoipa::path(get, path = "/v1/edges", tag = "ingress", params(ListQuery),
    responses((status = 200, body = Page<Edge>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    _: PlatformReader,
    Query(query): Query<ListQuery>,
) -> Result<Answered<Page<Edge>>, ApiError> {
    Ok(Answered(app.store.edges(query.page()?, app.now()).await?))
}

/// Takes the ack of a revision, and what could not be made true.
#[utoipa::path(put, path = "/v1/edge/report", tag = "node", request_body = EdgeReport,
    responses((status = 204), (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn report(
    State(app): State<App>,
    edge: EdgePrincipal,
    Json(report): Json<EdgeReport>,
) -> Result<StatusCode, ApiError> {
    check(&report)?;
    let cursor = report.revision;
    let store = app.store.of_nodes();
    let settled = app.tail.settled_at_least(&store, cursor.event_id).await?;
    cursor.check(store.epoch().await?, settled)?;
    store.keep_edge_report(edge.node_id, &report, app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Bounds what an edge can make the database keep.
fn check(report: &EdgeReport) -> Result<(), ApiError> {
    let clean = |text: &str| text.len() <= 512 && is_plain(text);
    if report.refused.len() > 100 || report.listeners.len() > 1024 {
        return Err(ApiError::invalid(
            "the report has more than 100 refused routes or 1024 listeners",
        ));
    }
    let reasons = report.refused.iter().map(|refused| refused.reason.as_str());
    let errors = report.listeners.iter().filter_map(|listener| listener.error.as_deref());
    if !reasons.chain(errors).chain([report.version.as_str()]).all(clean) {
        return Err(ApiError::invalid(
            "a text of the report is longer than 512 bytes, or has control characters or such that \
             turn text around",
        ));
    }
    Ok(())
}
