//! `/v1/apps`.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::app::{App as AppResource, NewApp},
};
use sextant_model::{
    AggregateKind, AppId, OrgId, Refusal,
    aggregate::{AppState, OrgState},
    event::AppCreated,
    quota::Quota,
};
use sextant_store::{Loaded, claims::NameScope};

use super::tagged;
use crate::{
    app::App,
    auth::{OrgAdmin, OrgReader},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, IfMatch, Json, ListQuery, Path, Query},
};

/// Which apps, and which part of their list.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AppQuery {
    /// Those of this org.
    pub org_id: Option<OrgId>,
    /// `next_after` of the page before.
    #[param(max_length = 64)]
    pub after: Option<String>,
    /// Most items, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Creates an app.
#[utoipa::path(post, path = "/v1/apps", tag = "tenancy", request_body = NewApp,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    responses((status = 201, body = AppResource), (status = 202, body = AppResource),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewApp>,
) -> Result<Response, ApiError> {
    let org_id = scope.limit(new.org_id)?.ok_or_else(|| {
        ApiError::Unprocessable("org_id is missing; give the id of the org whose app it is".into())
    })?;
    let mut command = match Command::begin(&app, who.actor(), key, "POST /v1/apps", &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    if !command.unit.hold(org_id.0).await? {
        return Err(Refusal::NotFound(AggregateKind::Org).into());
    }
    let org = command.unit.load::<OrgState>(org_id.0).await?;
    org.state.live()?;
    command.unit.within_share(org_id, Quota::Apps, 1).await?;
    let id = AppId(app.id());
    let mut created = Loaded::<AppState>::fresh(id.0);
    command.unit.claim_name(NameScope::AppsOf(org_id), &new.name, id.0).await?;
    let event = AppState::create(AppCreated { org_id, name: new.name });
    command.unit.append(&mut created, &[event], who.actor()).await?;
    let answer = Answer::created(&resource(&created, &org)?)?.version(created.version);
    command.finish(answer).await
}

/// Lists apps.
#[utoipa::path(get, path = "/v1/apps", tag = "tenancy", params(AppQuery),
    responses((status = 200, body = Page<AppResource>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Query(query): Query<AppQuery>,
) -> Result<Answered<Page<AppResource>>, ApiError> {
    let org = scope.limit(query.org_id)?;
    let page = ListQuery { after: query.after, limit: query.limit }.page()?;
    Ok(Answered(app.store.apps(org, page).await?))
}

/// Reads an app.
#[utoipa::path(get, path = "/v1/apps/{app_id}", tag = "tenancy", params(("app_id" = AppId, Path)),
    responses((status = 200, body = AppResource), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<AppId>,
) -> Result<Response, ApiError> {
    let found = app.store.app(id).await?.ok_or(Refusal::NotFound(AggregateKind::App))?;
    scope.check(found.org_id, AggregateKind::App)?;
    Ok(tagged(found.version, found))
}

/// Deletes an app without environments.
#[utoipa::path(delete, path = "/v1/apps/{app_id}", tag = "tenancy",
    params(("app_id" = AppId, Path),
        ("If-Match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(id): Path<AppId>,
    if_match: IfMatch,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut found = command.unit.load::<AppState>(id.0).await?;
    scope.check(found.state.live()?.org_id, AggregateKind::App)?;
    if_match.check(found.version)?;
    // The name goes first: that waits for environments that are being created.
    command.unit.release_names(id.0).await?;
    let environments = command.unit.names_in(NameScope::EnvironmentsOf(id)).await?;
    let event = found.state.delete(environments)?;
    command.unit.append(&mut found, &[event], who.actor()).await?;
    command.finish(Answer::no_content()).await
}

fn resource(app: &Loaded<AppState>, org: &Loaded<OrgState>) -> Result<AppResource, ApiError> {
    let live = app.state.live()?;
    Ok(AppResource {
        id: AppId(app.id),
        org_id: live.org_id,
        org_name: org.state.live()?.name.clone(),
        name: live.name.clone(),
        version: app.version,
        created_at: app.created_at.ok_or(Refusal::NotFound(AggregateKind::App))?,
    })
}
