//! `/v1/environments`.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::environment::{Environment, NewEnvironment},
};
use sextant_model::{
    AggregateKind, AppId, DnsLabel, EnvironmentId, NetworkId, OrgId, Refusal,
    aggregate::{AppState, EnvironmentState, NetworkState, TenancyRefusal},
    event::EnvironmentCreated,
    quota::Quota,
};
use sextant_store::{Loaded, Unit, claims::NameScope, read::PageRequest};

use super::tagged;
use crate::{
    app::App,
    auth::{OrgAdmin, OrgReader, Scope},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, IfMatch, Json, ListQuery, Path, Query},
};

/// Which environments, and which part of their list.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EnvironmentQuery {
    /// Those of this org.
    pub org_id: Option<OrgId>,
    /// Those of this app.
    pub app_id: Option<AppId>,
    /// `next_after` of the page before.
    #[param(max_length = 64)]
    pub after: Option<String>,
    /// Most items, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Creates an environment.
#[utoipa::path(post, path = "/v1/environments", tag = "tenancy", request_body = NewEnvironment,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    responses((status = 201, body = Environment), (status = 202, body = Environment),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewEnvironment>,
) -> Result<Response, ApiError> {
    let operation = "POST /v1/environments";
    // Asked before the transaction opens: a request holds one connection at a time.
    let network = asked_network(&app, new.network_id).await;
    let mut command = match Command::begin(&app, who.actor(), key, operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    check_owner(&mut command.unit, scope, AggregateKind::App, new.app_id.0).await?;
    if !command.unit.hold(new.app_id.0).await? {
        return Err(Refusal::NotFound(AggregateKind::App).into());
    }
    let parent = command.unit.load::<AppState>(new.app_id.0).await?;
    let org_id = parent.state.live()?.org_id;
    scope.check(org_id, AggregateKind::App)?;
    let network_id = network?;
    hold_network(&mut command.unit, network_id).await?;
    command.unit.within_share(org_id, Quota::Environments, 1).await?;
    let id = EnvironmentId(app.id());
    command.unit.claim_name(NameScope::EnvironmentsOf(new.app_id), &new.name, id.0).await?;
    command.unit.enter_network(id, network_id).await?;
    let created = EnvironmentCreated { org_id, app_id: new.app_id, network_id, name: new.name };
    let mut environment = Loaded::<EnvironmentState>::fresh(id.0);
    let event = EnvironmentState::create(created);
    command.unit.append(&mut environment, &[event], who.actor()).await?;
    let resource = resource(&mut command.unit, &environment).await?;
    let answer = Answer::created(&resource)?.version(environment.version);
    command.finish(answer).await
}

/// The network that was asked for, or the only one.
async fn asked_network(app: &App, asked: Option<NetworkId>) -> Result<NetworkId, ApiError> {
    if let Some(id) = asked {
        return Ok(id);
    }
    let networks = app.store.networks(PageRequest { after: None, limit: 1000 }).await?.items;
    match networks.as_slice() {
        [only] => Ok(only.id),
        several => Err(refused(TenancyRefusal::NetworkUnclear(several.len()))),
    }
}

/// Holds the network, so that it is not deleted before the environment is there.
async fn hold_network(unit: &mut Unit, id: NetworkId) -> Result<(), ApiError> {
    if !unit.hold(id.0).await? {
        return Err(Refusal::NotFound(AggregateKind::Network).into());
    }
    unit.load::<NetworkState>(id.0).await?.state.live()?;
    Ok(())
}

fn refused(refusal: TenancyRefusal) -> ApiError {
    Refusal::from(refusal).into()
}

/// Lists environments.
#[utoipa::path(get, path = "/v1/environments", tag = "tenancy", params(EnvironmentQuery),
    responses((status = 200, body = Page<Environment>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Query(query): Query<EnvironmentQuery>,
) -> Result<Answered<Page<Environment>>, ApiError> {
    let org = scope.limit(query.org_id)?;
    let page = ListQuery { after: query.after, limit: query.limit }.page()?;
    Ok(Answered(app.store.environments(org, query.app_id, page).await?))
}

/// Reads an environment.
#[utoipa::path(get, path = "/v1/environments/{environment_id}", tag = "tenancy",
    params(("environment_id" = EnvironmentId, Path)),
    responses((status = 200, body = Environment), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<EnvironmentId>,
) -> Result<Response, ApiError> {
    let found = known(&app, scope, id).await?;
    Ok(tagged(found.version, found))
}

/// The environment as lists show it, if it is there and in `scope`: no aggregate is folded for it.
pub(super) async fn known(
    app: &App,
    scope: Scope,
    id: EnvironmentId,
) -> Result<Environment, ApiError> {
    let found = app.store.environment(id).await?;
    let found = found.ok_or(Refusal::NotFound(AggregateKind::Environment))?;
    scope.check(found.org_id, AggregateKind::Environment)?;
    Ok(found)
}

/// Deletes an environment without routes and workloads; it gives up its hostnames and port grants.
#[utoipa::path(delete, path = "/v1/environments/{environment_id}", tag = "tenancy",
    params(("environment_id" = EnvironmentId, Path),
        ("If-Match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(id): Path<EnvironmentId>,
    if_match: IfMatch,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut environment = owned(&mut command.unit, scope, id).await?;
    if_match.check(environment.version)?;
    // The name goes first: that waits for routes and workloads that are being made.
    command.unit.release_names(id.0).await?;
    let workloads = command.unit.placements_in(id).await?.len() as u64;
    let routes = command.unit.routes_in(id).await?;
    let events = environment.state.delete(routes, workloads)?;
    command.unit.release_hostnames(id).await?;
    command.unit.leave_network(id).await?;
    command.unit.append(&mut environment, &events, who.actor()).await?;
    command.finish(Answer::no_content()).await
}

/// The environment, if it is there and in `scope`. To an org, another's environment costs as little
/// as one that does not exist: whose it is is asked before anything else.
pub(super) async fn owned(
    unit: &mut Unit,
    scope: Scope,
    id: EnvironmentId,
) -> Result<Loaded<EnvironmentState>, ApiError> {
    check_owner(unit, scope, AggregateKind::Environment, id.0).await?;
    let environment = unit.load::<EnvironmentState>(id.0).await?;
    scope.check(environment.state.live()?.org_id, AggregateKind::Environment)?;
    Ok(environment)
}

/// Refuses what belongs to another org before it is locked or read: whoever may not change it does
/// not hold up whoever may.
pub(super) async fn check_owner(
    unit: &mut Unit,
    scope: Scope,
    kind: AggregateKind,
    id: uuid::Uuid,
) -> Result<(), ApiError> {
    if let Scope::Org(_) = scope {
        let owner = unit.org_of(kind, id).await?.ok_or(Refusal::NotFound(kind))?;
        scope.check(owner, kind)?;
    }
    Ok(())
}

/// How people name an environment, deleted or not: `ORG/APP/ENVIRONMENT`.
pub(super) async fn path(
    unit: &mut Unit,
    environment: &EnvironmentCreated,
) -> Result<String, ApiError> {
    let (org, app) = names(unit, environment).await?;
    Ok(format!("{org}/{app}/{}", environment.name))
}

async fn names(
    unit: &mut Unit,
    environment: &EnvironmentCreated,
) -> Result<(DnsLabel, DnsLabel), ApiError> {
    let names = unit.names_of(environment.org_id, environment.app_id).await?;
    Ok(names.ok_or(Refusal::NotFound(AggregateKind::App))?)
}

async fn resource(
    unit: &mut Unit,
    environment: &Loaded<EnvironmentState>,
) -> Result<Environment, ApiError> {
    let created = environment.state.created()?;
    let (org_name, app_name) = names(unit, created).await?;
    let missing = Refusal::NotFound(AggregateKind::Environment);
    Ok(Environment {
        id: EnvironmentId(environment.id),
        org_id: created.org_id,
        org_name,
        app_id: created.app_id,
        app_name,
        network_id: created.network_id,
        name: created.name.clone(),
        version: environment.version,
        created_at: environment.created_at.ok_or(missing)?,
    })
}
