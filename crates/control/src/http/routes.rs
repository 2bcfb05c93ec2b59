//! `/v1/routes`.

pub mod explain;

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::route::{NewRoute, Route, RoutePatch, RouteStatus},
};
use sextant_model::{
    AggregateKind, EnvironmentId, HostPattern, OrgId, Refusal, RouteId,
    aggregate::{
        EnvironmentState, RouteState,
        route::{Backend, RouteWish},
    },
    quota::Quota,
};
use sextant_store::{Loaded, Unit, read::RouteFilter};

use super::{
    environments::{check_owner, owned, path},
    hostnames::seized,
    tagged,
};
use crate::{
    app::App,
    auth::{OrgAdmin, OrgReader, Scope},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, IfMatch, Json, ListQuery, Path, Query},
    ingress::{Surroundings, created, settle_hostname, take_listener},
};

/// Which routes, and which part of their list.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RouteQuery {
    /// Those of this org.
    pub org_id: Option<OrgId>,
    /// Those of this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Those with exactly this hostname.
    pub hostname: Option<HostPattern>,
    /// `next_after` of the page before.
    #[param(max_length = 64)]
    pub after: Option<String>,
    /// Most items, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Creates a route. A hostname that needs no proof becomes the environment's own with it.
#[utoipa::path(post, path = "/v1/environments/{environment_id}/routes", tag = "ingress",
    params(("environment_id" = EnvironmentId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    request_body = NewRoute,
    responses((status = 201, body = Route), (status = 202, body = Route),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(id): Path<EnvironmentId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewRoute>,
) -> Result<Response, ApiError> {
    let operation = format!("POST /v1/environments/{id}/routes");
    let mut command = match Command::begin(&app, who.actor(), key, &operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    let unit = &mut command.unit;
    let mut environment = held(unit, scope, id, new.hostname.as_ref()).await?;
    let org_id = environment.state.live()?.org_id;
    unit.within_share(org_id, Quota::Routes, 1).await?;
    let path = path(unit, environment.state.live()?).await?;
    let surroundings = Surroundings::of(unit, &environment, path).await?;
    let event = RouteState::create(wish(new), &surroundings.target(&environment))?;
    let route_id = RouteId(app.id());
    let made = created(&event)?;
    if let Some(hostname) = &made.hostname {
        if !environment.state.hostnames().contains_key(hostname) {
            unit.within_share(org_id, Quota::Hostnames, 1).await?;
        }
        let (rules, asker) = (&app.hostnames, (scope, who.actor()));
        settle_hostname(unit, rules, &mut environment, &surroundings, hostname, asker).await?;
    }
    take_listener(unit, route_id, made, scope).await?;
    let status = unit.route_status(id, &made.backend_process_type, made.backend_port).await?;
    let mut route = Loaded::<RouteState>::fresh(route_id.0);
    unit.append(&mut route, &[event], who.actor()).await?;
    let resource = resource(&route, surroundings.path(), status)?;
    command.finish(Answer::created(&resource)?.version(route.version)).await
}

/// The environment, kept from going away; alone, if the hostname is to become its own too.
async fn held(
    unit: &mut Unit,
    scope: Scope,
    id: EnvironmentId,
    hostname: Option<&HostPattern>,
) -> Result<Loaded<EnvironmentState>, ApiError> {
    check_owner(unit, scope, AggregateKind::Environment, id.0).await?;
    if let Some(hostname) = hostname {
        let holder = unit.hostname_holder(hostname).await?;
        if holder.is_none_or(|holder| holder.environment_id != id) {
            return seized(unit, scope, id).await;
        }
    }
    if !unit.hold(id.0).await? {
        return Err(Refusal::NotFound(AggregateKind::Environment).into());
    }
    owned(unit, scope, id).await
}

fn wish(new: NewRoute) -> RouteWish {
    RouteWish {
        hostname: new.hostname,
        listen_port: new.listen_port,
        protocol_hint: new.protocol_hint,
        match_host: new.match_host,
        endpoint: new.endpoint,
        ipv4_required: new.ipv4_required,
        backend: Backend {
            process_type: new.backend_process_type,
            port: new.backend_port,
            proxy_protocol: new.proxy_protocol,
            health_source: new.health_source,
        },
    }
}

/// Lists routes.
#[utoipa::path(get, path = "/v1/routes", tag = "ingress", params(RouteQuery),
    responses((status = 200, body = Page<Route>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Query(query): Query<RouteQuery>,
) -> Result<Answered<Page<Route>>, ApiError> {
    let org = scope.limit(query.org_id)?;
    let page = ListQuery { after: query.after, limit: query.limit }.page()?;
    let filter = RouteFilter { org, environment: query.environment_id, hostname: query.hostname };
    Ok(Answered(app.store.routes(&filter, page).await?))
}

/// Reads a route, with who answers it now.
#[utoipa::path(get, path = "/v1/routes/{route_id}", tag = "ingress",
    params(("route_id" = RouteId, Path)),
    responses((status = 200, body = Route), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<RouteId>,
) -> Result<Response, ApiError> {
    let route = app.store.route(id).await?.ok_or(Refusal::NotFound(AggregateKind::Route))?;
    scope.check(route.org_id, AggregateKind::Route)?;
    Ok(tagged(route.version, route))
}

/// Changes who answers a route, and how.
#[utoipa::path(patch, path = "/v1/routes/{route_id}", tag = "ingress",
    params(("route_id" = RouteId, Path),
        ("If-Match" = String, Header, description = "the ETag that was read")),
    request_body = RoutePatch,
    responses((status = 200, body = Route), (status = 202, body = Route),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn patch(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(id): Path<RouteId>,
    if_match: IfMatch,
    Json(patch): Json<RoutePatch>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let unit = &mut command.unit;
    let mut route = found(unit, scope, id).await?;
    if_match.require(route.version)?;
    let at = route.state.live()?.environment_id;
    let environment = owned(unit, scope, at).await?;
    let path = path(unit, environment.state.live()?).await?;
    let surroundings = Surroundings::of(unit, &environment, path).await?;
    let now = route.state.backend()?;
    let backend = Backend {
        process_type: patch.backend_process_type.unwrap_or(now.process_type),
        port: patch.backend_port.unwrap_or(now.port),
        proxy_protocol: patch.proxy_protocol.unwrap_or(now.proxy_protocol),
        health_source: patch.health_source.unwrap_or(now.health_source),
    };
    let status = unit.route_status(at, &backend.process_type, backend.port).await?;
    let event = route.state.change(backend, &surroundings.target(&environment))?;
    let events: Vec<_> = event.into_iter().collect();
    unit.append(&mut route, &events, who.actor()).await?;
    let resource = resource(&route, surroundings.path(), status)?;
    command.finish(Answer::ok(&resource)?.version(route.version)).await
}

/// Deletes a route. Its hostname stays the environment's own.
#[utoipa::path(delete, path = "/v1/routes/{route_id}", tag = "ingress",
    params(("route_id" = RouteId, Path),
        ("If-Match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(id): Path<RouteId>,
    if_match: IfMatch,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut route = found(&mut command.unit, scope, id).await?;
    if_match.check(route.version)?;
    let event = route.state.delete()?;
    command.unit.release_listener(id).await?;
    command.unit.append(&mut route, &[event], who.actor()).await?;
    command.finish(Answer::no_content()).await
}

/// The route, if it is there and in scope.
async fn found(unit: &mut Unit, scope: Scope, id: RouteId) -> Result<Loaded<RouteState>, ApiError> {
    let route = unit.load::<RouteState>(id.0).await?;
    scope.check(route.state.live()?.org_id, AggregateKind::Route)?;
    Ok(route)
}

fn resource(
    route: &Loaded<RouteState>,
    path: &str,
    status: RouteStatus,
) -> Result<Route, ApiError> {
    let live = route.state.live()?;
    let missing = Refusal::NotFound(AggregateKind::Route);
    Ok(Route {
        id: RouteId(route.id),
        org_id: live.org_id,
        environment_id: live.environment_id,
        environment: path.to_owned(),
        network_id: live.network_id,
        hostname: live.hostname.clone(),
        listen_port: live.listen_port,
        protocol_hint: live.protocol_hint,
        match_host: live.match_host,
        backend_process_type: live.backend_process_type.clone(),
        backend_port: live.backend_port,
        proxy_protocol: live.proxy_protocol,
        ipv4_required: live.ipv4_required,
        health_source: live.health_source,
        endpoint: live.endpoint,
        status,
        version: route.version,
        created_at: route.created_at.ok_or(missing)?,
    })
}
