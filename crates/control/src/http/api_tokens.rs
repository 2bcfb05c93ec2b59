//! `/v1/api-tokens`.

use std::time::Duration;

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::api_token::{ApiToken, NewApiToken},
};
use sextant_model::{
    AggregateKind, ApiTokenId, OrgId, Refusal,
    aggregate::{ApiTokenState, OrgState, api_token::descendants},
    quota::Quota,
    secret::{self, Secret},
};
use sextant_store::{Loaded, Unit};

use crate::{
    app::App,
    auth::{OrgAdmin, OrgReader, Principal, Scope},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, Json, ListQuery, Path, Query},
};

const NOT_A_TOKEN: ApiError = ApiError::Forbidden("only the holder of an API token makes others");

/// Gives an operator access to the platform, or to one org: the answer holds the token, once.
/// It may not do more than the token that makes it, and ends with that one at the latest.
#[utoipa::path(post, path = "/v1/api-tokens", tag = "api-tokens", request_body = NewApiToken,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless; the repeat does not show the token again")),
    responses((status = 201, body = ApiToken), (status = 202, body = ApiToken),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewApiToken>,
) -> Result<Response, ApiError> {
    let org_id = scope.limit(new.org_id)?;
    let operation = "POST /v1/api-tokens";
    let mut command = match Command::begin(&app, who.actor(), key, operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    if let Some(org) = org_id {
        hold_org(&mut command.unit, org).await?;
    }
    let secret = Secret::new(app.entropy.bytes());
    let lifetime = new.expires_in.map(Duration::from_secs);
    let now = app.now();
    let event = ApiTokenState::create(new.name, new.role, org_id, lifetime, secret.hash(), now)?;
    let Principal::Operator { token_id: parent, .. } = who else { return Err(NOT_A_TOKEN) };
    let maker = command.unit.load::<ApiTokenState>(parent.0).await?;
    let event = maker.state.bound(event)?;
    let id = ApiTokenId(app.id());
    let mut token = Loaded::<ApiTokenState>::fresh(id.0);
    match org_id {
        // With the lock on the org, in one transaction: no second connection is waited for.
        Some(org) => {
            command.unit.within_share(org, Quota::ApiTokens, 1).await?;
            command.unit.count_token(org, id.0).await?;
            command.unit.append(&mut token, &[event], who.actor()).await?;
        }
        None => command.append_first(&mut token, event).await?,
    }
    let created = token.state.created()?;
    let resource = ApiToken {
        id,
        name: created.name.clone(),
        role: created.role,
        org_id: created.org_id,
        parent: Some(parent),
        expires_at: created.expires_at,
        revoked: false,
        created_at: token.created_at.unwrap_or_else(|| app.now()),
        token: None,
    };
    let revealed = secret::ApiToken { id, secret }.reveal();
    command.finish(Answer::created(&resource)?.secret(revealed)).await
}

/// Holds the org, so that it is not deleted, with its tokens, before this one is there.
async fn hold_org(unit: &mut Unit, id: OrgId) -> Result<(), ApiError> {
    if !unit.hold(id.0).await? {
        return Err(Refusal::NotFound(AggregateKind::Org).into());
    }
    unit.load::<OrgState>(id.0).await?.state.live()?;
    Ok(())
}

/// Lists API tokens, without their secrets.
#[utoipa::path(get, path = "/v1/api-tokens", tag = "api-tokens", params(ListQuery),
    responses((status = 200, body = Page<ApiToken>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Query(query): Query<ListQuery>,
) -> Result<Answered<Page<ApiToken>>, ApiError> {
    Ok(Answered(app.store.api_tokens(scope.limit(None)?, query.page()?).await?))
}

/// Reads an API token, without its secret.
#[utoipa::path(get, path = "/v1/api-tokens/{token_id}", tag = "api-tokens",
    params(("token_id" = ApiTokenId, Path)),
    responses((status = 200, body = ApiToken), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<ApiTokenId>,
) -> Result<Answered<ApiToken>, ApiError> {
    let token = app.store.api_token(id, scope.limit(None)?).await?;
    let token = token.ok_or(Refusal::NotFound(AggregateKind::ApiToken))?;
    check_scope(scope, token.org_id)?;
    Ok(Answered(token))
}

/// Takes the access back, and that of every token that was made with it.
#[utoipa::path(delete, path = "/v1/api-tokens/{token_id}", tag = "api-tokens",
    params(("token_id" = ApiTokenId, Path)),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn revoke(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(id): Path<ApiTokenId>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let token = command.unit.load::<ApiTokenState>(id.0).await?;
    check_scope(scope, token.state.created()?.org_id)?;
    // Read before the first event is written: writing holds back everybody who follows the log.
    let mut tokens = vec![token];
    for id in descendants(id, command.unit.made_tokens().await?) {
        tokens.push(command.unit.load::<ApiTokenState>(id.0).await?);
    }
    for token in &tokens {
        command.unit.release_names(token.id).await?;
    }
    for token in &mut tokens {
        let events: Vec<_> = token.state.revoke()?.into_iter().collect();
        command.unit.append(token, &events, who.actor()).await?;
    }
    let response = command.finish(Answer::no_content()).await?;
    for token in tokens {
        app.tokens.forget(ApiTokenId(token.id));
    }
    Ok(response)
}

/// Tokens of the platform and of other orgs look like tokens that do not exist.
fn check_scope(scope: Scope, owner: Option<OrgId>) -> Result<(), Refusal> {
    match scope {
        Scope::Org(org) if owner != Some(org) => Err(Refusal::NotFound(AggregateKind::ApiToken)),
        _ => Ok(()),
    }
}
