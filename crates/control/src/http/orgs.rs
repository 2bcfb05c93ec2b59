//! `/v1/orgs`.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::org::{NewOrg, NewOrgQuotas, Org, OrgQuota, OrgQuotas},
};
use sextant_model::{
    AggregateKind, ApiTokenId, OrgId, Refusal,
    aggregate::{ApiTokenState, OrgState},
    quota::Quota,
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
    let event = OrgState::create(new.name.clone());
    command.unit.claim_name(NameScope::Orgs, &new.name, id.0).await?;
    command.unit.append(&mut org, &[event], who.actor()).await?;
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

/// Reads what an org may have and what it has.
#[utoipa::path(get, path = "/v1/orgs/{org_id}/quotas", tag = "tenancy",
    params(("org_id" = OrgId, Path)),
    responses((status = 200, body = OrgQuotas), (status = "4XX", body = Problem)))]
pub async fn read_quotas(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<OrgId>,
) -> Result<Answered<OrgQuotas>, ApiError> {
    scope.check(id, AggregateKind::Org)?;
    let org = app.store.begin().load::<OrgState>(id.0).await?;
    org.state.live()?;
    Ok(Answered(quotas(&app, &org).await?))
}

/// Gives an org limits of its own, in place of those it had; the platform's hold for the others.
/// What it has already stays.
#[utoipa::path(put, path = "/v1/orgs/{org_id}/quotas", tag = "tenancy",
    params(("org_id" = OrgId, Path)), request_body = NewOrgQuotas,
    responses((status = 200, body = OrgQuotas), (status = 202, body = OrgQuotas),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn set_quotas(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<OrgId>,
    Json(new): Json<NewOrgQuotas>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut org = command.unit.load::<OrgState>(id.0).await?;
    let events: Vec<_> = org.state.set_limits(&new.limits)?.into_iter().collect();
    // Counted before the transaction opens: a request holds one connection at a time.
    let mut after = org.clone();
    after.fold(&events, 0, app.now());
    let resource = quotas(&app, &after).await?;
    command.unit.append(&mut org, &events, who.actor()).await?;
    command.finish(Answer::ok(&resource)?).await
}

async fn quotas(app: &App, org: &Loaded<OrgState>) -> Result<OrgQuotas, ApiError> {
    let id = OrgId(org.id);
    let usage = app.store.usage(id).await?;
    let quotas = Quota::ALL.iter().map(|quota| OrgQuota {
        quota: *quota,
        limit: org.state.limit(*quota).unwrap_or_else(|| app.store.quotas().limit(*quota)),
        own: org.state.limit(*quota).is_some(),
        used: usage.get(quota).copied(),
    });
    Ok(OrgQuotas { org_id: id, quotas: quotas.collect() })
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
    let tokens: Vec<_> = command.unit.tokens_of(id).await?.iter().map(|token| token.0).collect();
    let mut revoked = vec![];
    for token in command.unit.load_all::<ApiTokenState>(&tokens).await? {
        if let Some(event) = token.state.revoke()? {
            revoked.push((token, event));
        }
    }
    command.unit.forget_tokens_of(id).await?;
    command.unit.append(&mut org, &[event], who.actor()).await?;
    command.unit.append_next(&mut revoked, who.actor()).await?;
    let response = command.finish(Answer::no_content()).await?;
    for token in tokens {
        app.tokens.forget(ApiTokenId(token));
    }
    Ok(response)
}

fn resource(org: &Loaded<OrgState>) -> Result<Org, ApiError> {
    let created_at = org.created_at.ok_or(Refusal::NotFound(AggregateKind::Org))?;
    let name = org.state.live()?.name.clone();
    Ok(Org { id: OrgId(org.id), name, version: org.version, created_at })
}
