//! `/v1/environments/{environment_id}/hostnames`.

use std::collections::BTreeSet;

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::hostname::{
        EnvironmentHostname, HostnameChallenge, HostnameMove, HostnameMoved, HostnameState,
        NewHostname,
    },
};
use sextant_model::{
    AggregateKind, EnvironmentId, EventBody, HostPattern, Refusal, RouteId, Timestamp,
    aggregate::{Aggregate, EnvironmentState, RouteState, environment::Claim},
    event::Holder,
    hostname::{challenge_name, challenge_value},
    neighbours::that_go_along,
    quota::Quota,
};
use sextant_store::{Loaded, Unit, read::HostnamePage};

use super::environments::{check_owner, known, owned, path};
use crate::{
    app::App,
    auth::{OrgAdmin, OrgReader, Scope},
    ca::hex,
    command::{Answer, Begun, Command},
    door::lane::{give_up_turn, take_turn_again},
    error::ApiError,
    extract::{IdempotencyKey, Json, Path, Query, checked_limit},
    ingress::{Surroundings, check_free, own_hostname, take_hostname},
};

/// Random bytes of a challenge.
const CHALLENGE: usize = 20;

/// Claims a hostname: the environment's own at once where no proof is needed, else with what DNS
/// must say first. Claiming it again changes nothing.
#[utoipa::path(post, path = "/v1/environments/{environment_id}/hostnames", tag = "ingress",
    params(("environment_id" = EnvironmentId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    request_body = NewHostname,
    responses((status = 200, body = EnvironmentHostname), (status = 201, body = EnvironmentHostname),
        (status = 202, body = EnvironmentHostname), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn claim(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(id): Path<EnvironmentId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewHostname>,
) -> Result<Response, ApiError> {
    let operation = format!("POST /v1/environments/{id}/hostnames");
    let mut command = match Command::begin(&app, who.actor(), key, &operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    let hostname = new.hostname;
    let mut environment = seized(&mut command.unit, scope, id).await?;
    if !environment.state.hostnames().contains_key(&hostname) {
        let org_id = environment.state.live()?.org_id;
        command.unit.within_share(org_id, Quota::Hostnames, 1).await?;
    }
    let known = environment.state.hostnames().get(&hostname) == Some(&Claim::Owned);
    if !known {
        app.hostnames.check_reserved(&hostname, scope)?;
    }
    if app.hostnames.trusts(&hostname) {
        let unit = &mut command.unit;
        let asker = (scope, who.actor());
        own_hostname(unit, &app.hostnames, &mut environment, &hostname, asker).await?;
    } else {
        let challenge = challenge_value(&hex(&app.entropy.bytes()[..CHALLENGE]));
        let event = environment.state.claim_hostname(&hostname, Some(challenge))?;
        check_free(&mut command.unit, &app.hostnames, &environment, &hostname, scope).await?;
        let events: Vec<_> = event.into_iter().collect();
        command.unit.append(&mut environment, &events, who.actor()).await?;
    }
    let changed = command.unit.last_event_id() > 0;
    let since = since(&app, &mut command.unit, &hostname, id).await?;
    let resource = resource(&environment, &hostname, since)?;
    let answer = if changed { Answer::created(&resource)? } else { Answer::ok(&resource)? };
    command.finish(answer).await
}

/// Lists the hostnames of an environment, in the order of the names.
#[utoipa::path(get, path = "/v1/environments/{environment_id}/hostnames", tag = "ingress",
    params(("environment_id" = EnvironmentId, Path), HostnameQuery),
    responses((status = 200, body = Page<EnvironmentHostname>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<EnvironmentId>,
    Query(query): Query<HostnameQuery>,
) -> Result<Answered<Page<EnvironmentHostname>>, ApiError> {
    known(&app, scope, id).await?;
    let after = query.after.as_deref().filter(|after| !after.is_empty());
    let after = after.map(HostPattern::new).transpose().map_err(|_| ApiError::BadRequest {
        code: "cursor-invalid",
        detail: "after is not a value of next_after; start the list again without it".into(),
    })?;
    let page = HostnamePage { after, limit: checked_limit(query.limit)? };
    Ok(Answered(app.store.hostnames(id, &page).await?))
}

/// Parameters of the list.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HostnameQuery {
    /// `next_after` of the page before.
    #[param(max_length = 256)]
    pub after: Option<String>,
    /// Most items, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Asks DNS now whether the claim is proved.
#[utoipa::path(post, path = "/v1/environments/{environment_id}/hostnames/{hostname}/verify",
    tag = "ingress",
    params(("environment_id" = EnvironmentId, Path), ("hostname" = HostPattern, Path)),
    responses((status = 200, body = EnvironmentHostname), (status = 202, body = EnvironmentHostname),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn verify(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path((id, hostname)): Path<(EnvironmentId, HostPattern)>,
) -> Result<Response, ApiError> {
    // No transaction stays open while strangers' name servers are asked.
    let mut unit = app.store.begin();
    let before = owned(&mut unit, scope, id).await?;
    if let Claim::Pending { challenge } = before.state.claim(&hostname)? {
        check_free(&mut unit, &app.hostnames, &before, &hostname, scope).await?;
        drop(unit);
        if !app.hostnames.trusts(&hostname) {
            let org = before.state.live()?.org_id;
            give_up_turn();
            let proved = app.hostnames.prover.prove(org, &hostname, challenge).await;
            take_turn_again().await?;
            proved?;
        }
    }
    let mut command = Command::begin_plain(&app, who.actor());
    let mut environment = seized(&mut command.unit, scope, id).await?;
    // What was proved must still be what is claimed.
    if environment.state.claim(&hostname)? != before.state.claim(&hostname)? {
        return Err(sextant_store::StoreError::VersionConflict.into());
    }
    let events: Vec<_> = environment.state.verify(&hostname)?.into_iter().collect();
    take_hostname(&mut command.unit, &app.hostnames, &environment, &hostname, scope).await?;
    command.unit.append(&mut environment, &events, who.actor()).await?;
    let since = command.unit.hostname_since(id, &hostname).await?.unwrap_or_else(|| app.now());
    command.finish(Answer::ok(&resource(&environment, &hostname, since)?)?).await
}

/// Moves an owned hostname to another environment, with every route that uses it. To another org
/// the names of the environment that overlap it go along.
#[utoipa::path(post, path = "/v1/environments/{environment_id}/hostnames/{hostname}/move",
    tag = "ingress",
    params(("environment_id" = EnvironmentId, Path), ("hostname" = HostPattern, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    request_body = HostnameMove,
    responses((status = 200, body = HostnameMoved), (status = 202, body = HostnameMoved),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn transfer(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path((id, hostname)): Path<(EnvironmentId, HostPattern)>,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<HostnameMove>,
) -> Result<Response, ApiError> {
    let operation = format!("POST /v1/environments/{id}/hostnames/{hostname}/move");
    let mut command = match Command::begin(&app, who.actor(), key, &operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    let to_id = new.to_environment_id;
    let unit = &mut command.unit;
    for environment in [id, to_id] {
        check_owner(unit, scope, AggregateKind::Environment, environment.0).await?;
    }
    // In one order, whichever way names move, so that two moves do not wait for each other.
    unit.seize(id.min(to_id).0).await?;
    unit.seize(id.max(to_id).0).await?;
    let mut from = owned(unit, scope, id).await?;
    let mut to = owned(unit, scope, to_id).await?;
    let mut names = BTreeSet::from([hostname.clone()]);
    let mut routes = vec![];
    if id != to_id {
        let (had, has) = (holder(&from)?, holder(&to)?);
        if had.org_id != has.org_id {
            let domain = app.hostnames.platform_domain();
            names = that_go_along(&hostname, from.state.owned_hostnames().cloned(), domain);
        }
        let mut moves = moved_routes(unit, &names, id, &to).await?;
        let (mut surrendered, mut acquired, mut after) = (vec![], vec![], to.state.clone());
        for name in &names {
            surrendered.push(from.state.surrender(name, has)?);
            let event = after.acquire(name, had)?;
            after.apply(&event);
            acquired.push(event);
        }
        if had.org_id != has.org_id {
            let more = names.len() as u64;
            unit.within_share(has.org_id, Quota::Hostnames, more).await?;
        }
        // The events last: from the first one on everybody who follows the log waits.
        unit.hand_over_hostnames(&names, id, to_id, has.org_id).await?;
        unit.append_next(&mut moves, who.actor()).await?;
        unit.append(&mut from, &surrendered, who.actor()).await?;
        unit.append(&mut to, &acquired, who.actor()).await?;
        routes = moves.iter().map(|(route, _)| RouteId(route.id)).collect();
    }
    names.remove(&hostname);
    let since = since(&app, &mut command.unit, &hostname, to_id).await?;
    let hostname = resource(&to, &hostname, since)?;
    let moved = HostnameMoved { hostname, along: names.into_iter().collect(), routes };
    command.finish(Answer::ok(&moved)?).await
}

fn holder(environment: &Loaded<EnvironmentState>) -> Result<Holder, Refusal> {
    let org_id = environment.state.live()?.org_id;
    Ok(Holder { org_id, environment_id: EnvironmentId(environment.id) })
}

/// The routes of these names, and what moves each of them.
async fn moved_routes(
    unit: &mut Unit,
    names: &BTreeSet<HostPattern>,
    from: EnvironmentId,
    to: &Loaded<EnvironmentState>,
) -> Result<Vec<(Loaded<RouteState>, EventBody)>, ApiError> {
    let path = path(unit, to.state.live()?).await?;
    let surroundings = Surroundings::of(unit, to, path).await?;
    let mut ids = vec![];
    for name in names {
        ids.extend(unit.routes_of_hostname(name, from).await?.into_iter().map(|id| id.0));
    }
    let routes = unit.load_all::<RouteState>(&ids).await?.into_iter();
    let moves = routes.map(|route| {
        let moved = route.state.move_to(&surroundings.target(to))?;
        Ok::<_, ApiError>((route, moved))
    });
    moves.collect()
}

/// Gives a hostname back, owned or pending, if no route uses it.
#[utoipa::path(delete, path = "/v1/environments/{environment_id}/hostnames/{hostname}",
    tag = "ingress",
    params(("environment_id" = EnvironmentId, Path), ("hostname" = HostPattern, Path)),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn release(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path((id, hostname)): Path<(EnvironmentId, HostPattern)>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut environment = seized(&mut command.unit, scope, id).await?;
    let routes = command.unit.routes_of_hostname(&hostname, id).await?.len() as u64;
    let event = environment.state.release_hostname(&hostname, routes)?;
    command.unit.release_hostname(&hostname, id).await?;
    command.unit.append(&mut environment, &[event], who.actor()).await?;
    command.finish(Answer::no_content()).await
}

/// The environment, if it is there and in scope, kept from changing until the command ends.
pub(super) async fn seized(
    unit: &mut Unit,
    scope: Scope,
    id: EnvironmentId,
) -> Result<Loaded<EnvironmentState>, ApiError> {
    check_owner(unit, scope, AggregateKind::Environment, id.0).await?;
    if !unit.seize(id.0).await? {
        return Err(Refusal::NotFound(AggregateKind::Environment).into());
    }
    owned(unit, scope, id).await
}

/// When the claim began: with this command, or before it.
async fn since(
    app: &App,
    unit: &mut Unit,
    hostname: &HostPattern,
    id: EnvironmentId,
) -> Result<Timestamp, ApiError> {
    if let Some(now) = unit.last_event_at() {
        return Ok(now);
    }
    Ok(unit.hostname_since(id, hostname).await?.unwrap_or_else(|| app.now()))
}

fn resource(
    environment: &Loaded<EnvironmentState>,
    hostname: &HostPattern,
    since: Timestamp,
) -> Result<EnvironmentHostname, ApiError> {
    let (state, challenge) = match environment.state.claim(hostname)? {
        Claim::Owned => (HostnameState::Owned, None),
        Claim::Pending { challenge } => {
            let (name, value) = (challenge_name(hostname), challenge.clone());
            (HostnameState::Pending, Some(HostnameChallenge { name, value }))
        }
    };
    Ok(EnvironmentHostname {
        environment_id: EnvironmentId(environment.id),
        org_id: environment.state.live()?.org_id,
        hostname: hostname.clone(),
        state,
        challenge,
        since,
    })
}
