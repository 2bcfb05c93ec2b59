//! `POST /v1/node/standing`: what the node that asks is, signed by the CA itself. Asked with any
//! certificate that the CA ever made for the node, expired ones too.

use axum::{Json as Answered, extract::State};
use base64::{Engine, prelude::BASE64_STANDARD};
use sextant_api::{
    Problem,
    resource::{
        node::NodePhase,
        standing::{SignedStanding, StandingRequest},
    },
};
use sextant_model::standing::{Standing, is_nonce, signed_text};

use crate::{app::App, auth::KnownNode, error::ApiError, extract::Json};

/// Says what the node that asks is, and what time it is here.
#[utoipa::path(post, path = "/v1/node/standing", tag = "node", request_body = StandingRequest,
    responses((status = 200, body = SignedStanding), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn standing(
    State(app): State<App>,
    KnownNode { node_id, access, .. }: KnownNode,
    Json(request): Json<StandingRequest>,
) -> Result<Answered<SignedStanding>, ApiError> {
    if !is_nonce(&request.nonce) {
        return Err(ApiError::invalid("nonce is not 64 lowercase hex digits"));
    }
    let standing = match access.phase {
        NodePhase::Active if access.certificates_revoked => Standing::Revoked,
        NodePhase::Active => Standing::Active,
        NodePhase::Withdrawn | NodePhase::Released => Standing::Left,
    };
    let at = app.now();
    let text = signed_text(&request.nonce, node_id, standing, at);
    let signature =
        app.ca.sign(text.as_bytes()).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Answered(SignedStanding { standing, at, signature: BASE64_STANDARD.encode(signature) }))
}
