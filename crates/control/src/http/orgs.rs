//! `/v1/orgs`.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::org::{NewOrg, Org},
};
use sextant_model::{
    AggregateKind, ApiTokenId, OrgId, Refusal,
    aggregate::{ApiTokenState, OrgState},
};
use sextant_store::{Loaded, claims::NameScope};

use super::tagged;
use crate::{
    app::App,
    auth::{OrgReader, PlatformAdmin},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, IfMatch, Json, ListQuery, Path, Query},
};

/// Creates an org.
#[utoipa::path(post, path = "/v1/orgs", tag = "tenancy", request_body = NewOrg,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    responses((status = 201, body = Org), (status = 202, body = Org),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewOrg>,
) -> Result<Response, ApiError> {
    let mut command = match Command::begin(&app, who.actor(), key, "POST /v1/orgs", &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    let id = OrgId(app.id());
    let mut org = Loaded::<OrgState>::fresh(id.0);
    let event = OrgState::create(new.name);
    command.unit.append(&mut org, &[event], who.actor()).await?;
    command.unit.claim_name(NameScope::Orgs, &org.state.live()?.name, id.0).await?;
    let answer = Answer::created(&resource(&org)?)?.version(org.version);
    command.finish(answer).await
}

/// Lists orgs; the holder of an org's token sees that one.
#[utoipa::path(get, path = "/v1/orgs", tag = "tenancy", params(ListQuery),
    responses((status = 200, body = Page<Org>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Query(query): Query<ListQuery>,
) -> Result<Answered<Page<Org>>, ApiError> {
    Ok(Answered(app.store.orgs(scope.limit(None)?, query.page()?).await?))
}

/// Reads an org.
#[utoipa::path(get, path = "/v1/orgs/{org_id}", tag = "tenancy", params(("org_id" = OrgId, Path)),
    responses((status = 200, body = Org), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<OrgId>,
) -> Result<Response, ApiError> {
    scope.check(id, AggregateKind::Org)?;
    let org = app.store.org(id).await?.ok_or(Refusal::NotFound(AggregateKind::Org))?;
    Ok(tagged(org.version, org))
}

/// Deletes an org without apps, and revokes its API tokens.
#[utoipa::path(delete, path = "/v1/orgs/{org_id}", tag = "tenancy",
    params(("org_id" = OrgId, Path),
        ("If-Match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<OrgId>,
    if_match: IfMatch,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut org = command.unit.load::<OrgState>(id.0).await?;
    org.state.live()?;
    if_match.check(org.version)?;
    // The name goes first: that waits for apps and tokens that are being created.
    command.unit.release_names(id.0).await?;
    let apps = command.unit.names_in(NameScope::AppsOf(id)).await?;
    let event = org.state.delete(apps)?;
    // Read before the first event is written: writing holds back everybody who follows the log.
    let mut tokens = vec![];
    for token in command.unit.tokens_of(id).await? {
        tokens.push(command.unit.load::<ApiTokenState>(token.0).await?);
    }
    command.unit.append(&mut org, &[event], who.actor()).await?;
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

fn resource(org: &Loaded<OrgState>) -> Result<Org, ApiError> {
    let created_at = org.created_at.ok_or(Refusal::NotFound(AggregateKind::Org))?;
    let name = org.state.live()?.name.clone();
    Ok(Org { id: OrgId(org.id), name, version: org.version, created_at })
}
