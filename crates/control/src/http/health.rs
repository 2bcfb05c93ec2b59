//! Whether the replica lives, and whether it serves.

use axum::{Json, extract::State};
use sextant_api::resource::status::Health;

use crate::{app::App, error::ApiError};

/// The process lives.
#[utoipa::path(get, path = "/v1/health", tag = "health", security(()), responses((status = 200, body = Health)))]
pub async fn health() -> Json<Health> {
    Json(Health { status: "ok".into() })
}

/// The replica can serve: its database answers and its projections are known.
#[utoipa::path(get, path = "/v1/ready", tag = "health", security(()),
    responses((status = 200, body = Health), (status = 503, body = sextant_api::Problem)))]
pub async fn ready(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    app.store.ping().await?;
    if app.tail.position().epoch.is_none() {
        return Err(ApiError::Busy);
    }
    Ok(Json(Health { status: "ok".into() }))
}
