//! `/v1/port-policy` and `/v1/environments/{environment_id}/port-grants`.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::port::{NewPortGrant, NewPortPolicy, PortGrant, PortPolicy},
};
use sextant_model::{
    EnvironmentId, OrgId, aggregate::PortPolicyState, aggregate::port_policy, port,
};
use sextant_store::Loaded;

use super::{environments::known, hostnames::seized, tagged};
use crate::{
    app::App,
    auth::{OrgReader, PlatformAdmin, Scope},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, IfMatch, Json, Path},
};

/// Most ranges of a list.
const MOST_RANGES: usize = 256;
/// Most routes that are named.
const MOST_ROUTES: usize = 1000;

/// Reads the port policy.
#[utoipa::path(get, path = "/v1/port-policy", tag = "ingress",
    responses((status = 200, body = PortPolicy), (status = "4XX", body = Problem)))]
pub async fn read_policy(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
) -> Result<Response, ApiError> {
    let state = app.store.begin().load::<PortPolicyState>(port_policy::ID).await?;
    let resource = policy(&app, &state, scope.limit(None)?).await?;
    Ok(tagged(resource.version, resource))
}

/// Sets the port policy. Routes that are there stay; the answer names those that could not be
/// created now.
#[utoipa::path(put, path = "/v1/port-policy", tag = "ingress", request_body = NewPortPolicy,
    params(("If-Match" = String, Header, description = "the ETag that was read")),
    responses((status = 200, body = PortPolicy), (status = 202, body = PortPolicy),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn set_policy(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    if_match: IfMatch,
    Json(new): Json<NewPortPolicy>,
) -> Result<Response, ApiError> {
    for (field, ranges) in [("allow", &new.allow), ("deny", &new.deny)] {
        if ranges.len() > MOST_RANGES {
            let given = ranges.len();
            return Err(ApiError::Unprocessable(format!(
                "{field} has {given} ranges; give at most {MOST_RANGES}"
            )));
        }
    }
    let mut command = Command::begin_plain(&app, who.actor());
    let mut state = command.unit.load::<PortPolicyState>(port_policy::ID).await?;
    if_match.require(state.version)?;
    let wanted = port::PortPolicy { allow: new.allow, deny: new.deny };
    let events: Vec<_> = state.state.set(wanted).into_iter().collect();
    // Asked before the transaction opens: a request holds one connection at a time.
    let mut after = state.clone();
    after.fold(&events, 0, app.now());
    let resource = policy(&app, &after, None).await?;
    command.unit.append(&mut state, &events, who.actor()).await?;
    let version = state.version;
    command.finish(Answer::ok(&resource)?.version(version)).await
}

async fn policy(
    app: &App,
    state: &Loaded<PortPolicyState>,
    org: Option<OrgId>,
) -> Result<PortPolicy, ApiError> {
    let policy = state.state.policy();
    let mut out_of_policy = app.store.routes_out_of_policy(policy, org, MOST_ROUTES + 1).await?;
    let more_out_of_policy = out_of_policy.len() > MOST_ROUTES;
    out_of_policy.truncate(MOST_ROUTES);
    Ok(PortPolicy {
        allow: policy.allow.clone(),
        deny: policy.deny.clone(),
        out_of_policy,
        more_out_of_policy,
        version: state.version,
    })
}

/// Lets an environment listen on a port that the policy does not open to all. Granting it again
/// changes nothing.
#[utoipa::path(post, path = "/v1/environments/{environment_id}/port-grants", tag = "ingress",
    params(("environment_id" = EnvironmentId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    request_body = NewPortGrant,
    responses((status = 200, body = PortGrant), (status = 201, body = PortGrant),
        (status = 202, body = PortGrant), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn grant(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<EnvironmentId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewPortGrant>,
) -> Result<Response, ApiError> {
    let operation = format!("POST /v1/environments/{id}/port-grants");
    let mut command = match Command::begin(&app, who.actor(), key, &operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    let mut environment = seized(&mut command.unit, Scope::Platform, id).await?;
    let policy = command.unit.load::<PortPolicyState>(port_policy::ID).await?;
    let event = environment.state.grant_port(new.port, &new.reason, policy.state.policy())?;
    let Some(event) = event else {
        let known = command.unit.port_grant(id, new.port).await?;
        let known = known.ok_or(sextant_store::StoreError::VersionConflict)?;
        return command.finish(Answer::ok(&known)?).await;
    };
    command.unit.append(&mut environment, &[event], who.actor()).await?;
    let resource = PortGrant {
        environment_id: id,
        port: new.port,
        reason: new.reason.trim().to_owned(),
        granted_by: who.actor(),
        granted_at: command.unit.last_event_at().unwrap_or_else(|| app.now()),
    };
    command.finish(Answer::created(&resource)?).await
}

/// Lists the ports an environment was granted, all at once.
#[utoipa::path(get, path = "/v1/environments/{environment_id}/port-grants", tag = "ingress",
    params(("environment_id" = EnvironmentId, Path)),
    responses((status = 200, body = Page<PortGrant>), (status = "4XX", body = Problem)))]
pub async fn list_grants(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<EnvironmentId>,
) -> Result<Answered<Page<PortGrant>>, ApiError> {
    known(&app, scope, id).await?;
    Ok(Answered(Page { items: app.store.port_grants(id).await?, next_after: None }))
}

/// Takes a grant back, if no route of the environment listens on the port.
#[utoipa::path(delete, path = "/v1/environments/{environment_id}/port-grants/{port}",
    tag = "ingress",
    params(("environment_id" = EnvironmentId, Path), ("port" = u16, Path)),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn revoke_grant(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path((id, port)): Path<(EnvironmentId, u16)>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut environment = seized(&mut command.unit, Scope::Platform, id).await?;
    let routes = command.unit.routes_on_port(id, port).await?;
    let event = environment.state.revoke_grant(port, routes)?;
    command.unit.append(&mut environment, &[event], who.actor()).await?;
    command.finish(Answer::no_content()).await
}
