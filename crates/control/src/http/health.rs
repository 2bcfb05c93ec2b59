//! Whether the replica lives, and whether it serves.

use std::time::Instant;

use axum::{Json, extract::State};
use sextant_api::resource::status::Health;

use sextant_store::projection::Projections;

use crate::{app::App, error::ApiError, tail::Stall};

/// The process lives.
#[utoipa::path(get, path = "/v1/health", tag = "health", security(()), responses((status = 200, body = Health)))]
pub async fn health() -> Json<Health> {
    Json(Health { status: "ok".into() })
}

/// The replica can serve: it has read the log lately, its projections go on and are filled, and it
/// has the platform's CA.
#[utoipa::path(get, path = "/v1/ready", tag = "health", security(()),
    responses((status = 200, body = Health), (status = 503, body = sextant_api::Problem)))]
pub async fn ready(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    let stalled = |stall: Stall| ApiError::NotReady(stall.to_string());
    app.tail.progress().check(Instant::now()).map_err(stalled)?;
    if !app.tail.position().is_filled(Projections::ALL) {
        return Err(ApiError::NotReady("some projections are still being filled".into()));
    }
    app.ca_check.ready().map_err(ApiError::NotReady)?;
    // Requests have other connections than the log.
    app.store.ping().await?;
    Ok(Json(Health { status: "ok".into() }))
}
