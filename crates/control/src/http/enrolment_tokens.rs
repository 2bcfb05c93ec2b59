//! `/v1/enrolment-tokens`.

use std::time::Duration;

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::enrolment::{EnrolmentToken, EnrolmentTokenPhase, NewEnrolmentToken},
};
use sextant_model::{
    AggregateKind, EnrolmentTokenId, Refusal,
    aggregate::{EnrolmentTokenState, NetworkState, enrolment_token::EnrolmentTokenWish},
    secret::{self, Secret},
};
use sextant_store::Loaded;

use crate::{
    app::App,
    auth::{PlatformAdmin, PlatformReader},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, Json, ListQuery, Path, Query},
};

/// Invites a machine: the answer holds the token, once.
#[utoipa::path(post, path = "/v1/enrolment-tokens", tag = "enrolment", request_body = NewEnrolmentToken,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless; the repeat does not show the token again")),
    responses((status = 201, body = EnrolmentToken), (status = 202, body = EnrolmentToken),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewEnrolmentToken>,
) -> Result<Response, ApiError> {
    let operation = "POST /v1/enrolment-tokens";
    let mut command = match Command::begin(&app, who.actor(), key, operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    let network = command.unit.load::<NetworkState>(new.network_id.0).await?;
    network.state.live()?;
    let secret = Secret::new(app.entropy.bytes());
    let wish = EnrolmentTokenWish {
        network_id: new.network_id,
        node_name: new.node_name,
        roles: new.roles,
        lifetime: Duration::from_secs(new.expires_in),
    };
    let event = EnrolmentTokenState::create(wish, secret.hash(), app.now())?;
    let id = EnrolmentTokenId(app.id());
    let mut token = Loaded::<EnrolmentTokenState>::fresh(id.0);
    command.append_first(&mut token, event).await?;
    let created = token.state.created()?;
    let resource = EnrolmentToken {
        id,
        network_id: created.network_id,
        node_name: created.node_name.clone(),
        roles: created.roles.clone(),
        phase: EnrolmentTokenPhase::Open,
        node_id: None,
        expires_at: created.expires_at,
        created_at: token.created_at.unwrap_or_else(|| app.now()),
        refused: None,
        token: None,
    };
    let revealed = secret::EnrolmentToken { id, secret, ca: app.ca.fingerprint() }.reveal();
    command.finish(Answer::created(&resource)?.secret(revealed)).await
}

/// Lists enrolment tokens, without their secrets.
#[utoipa::path(get, path = "/v1/enrolment-tokens", tag = "enrolment", params(ListQuery),
    responses((status = 200, body = Page<EnrolmentToken>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    _: PlatformReader,
    Query(query): Query<ListQuery>,
) -> Result<Answered<Page<EnrolmentToken>>, ApiError> {
    let mut page = app.store.enrolment_tokens(query.page()?).await?;
    with_refusals(&app, &mut page.items).await?;
    Ok(Answered(page))
}

/// Reads an enrolment token, without its secret.
#[utoipa::path(get, path = "/v1/enrolment-tokens/{token_id}", tag = "enrolment",
    params(("token_id" = EnrolmentTokenId, Path)),
    responses((status = 200, body = EnrolmentToken), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    _: PlatformReader,
    Path(id): Path<EnrolmentTokenId>,
) -> Result<Answered<EnrolmentToken>, ApiError> {
    let token = app.store.enrolment_token(id).await?;
    let mut token = token.ok_or(Refusal::NotFound(AggregateKind::EnrolmentToken))?;
    with_refusals(&app, std::slice::from_mut(&mut token)).await?;
    Ok(Answered(token))
}

async fn with_refusals(app: &App, tokens: &mut [EnrolmentToken]) -> Result<(), ApiError> {
    let ids: Vec<_> = tokens.iter().map(|token| token.id.0).collect();
    let mut refused = app.store.refusals_of(&ids).await?;
    for token in tokens {
        token.refused = refused.remove(&token.id.0);
    }
    Ok(())
}

/// Withdraws an invitation that was not taken; nothing happens if it was.
#[utoipa::path(delete, path = "/v1/enrolment-tokens/{token_id}", tag = "enrolment",
    params(("token_id" = EnrolmentTokenId, Path)),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn revoke(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<EnrolmentTokenId>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut token = command.unit.load::<EnrolmentTokenState>(id.0).await?;
    let events: Vec<_> = token.state.revoke()?.into_iter().collect();
    command.unit.append(&mut token, &events, who.actor()).await?;
    command.finish(Answer::no_content()).await
}
