//! What every request goes through before its handler: who asks, a place for the connection, a
//! turn to work.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::Response,
};
use sextant_model::secret::ApiToken;

use super::{
    Door,
    entrance::Place,
    lane::{Lane, NoTurn, with_turn},
    places::Holder,
    refusals::Subject,
    source::Source,
    turns::Who,
};
use crate::{
    app::App,
    auth::{self, Principal, VerifiedNode},
    error::ApiError,
};

/// Paths that anybody may ask for and that cost nothing.
const FREE: [&str; 2] = ["/v1/health", "/v1/openapi.json"];
/// Paths that anybody may ask for and that cost a look into the database.
const OPEN: [&str; 2] = ["/v1/ready", "/v1/enrol"];
/// Paths for whoever holds a node's key, also when its certificate has ended or the node has left:
/// there a node learns what it is and comes back.
const OF_KNOWN_NODES: [&str; 2] = ["/v1/node/certificate", "/v1/node/standing"];
/// A list of more items than this is work of its own kind.
const LONG_LIST: u32 = 100;

/// Lets the request in, or says why not.
pub async fn admit(app: &App, request: Request, next: Next) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let place = parts.extensions.get::<Place>().cloned();
    let _busy = place.as_ref().map(Place::busy);
    let path = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let patience = app.door.limits.patience;
    let Some(path) = path.filter(|path| !FREE.contains(&path.as_str())) else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    if OPEN.contains(&path.as_str()) {
        if let Some(place) = place.as_ref().filter(|_| path == "/v1/enrol") {
            app.door.check_failures(place.address(), app.now())?;
        }
        let source = place.as_ref().map_or(Source::Loopback, |place| place.address().into());
        let who = Who { group: source.key(), member: source.key() };
        let turn = app.door.strangers.turn(who, patience).await?;
        let request = Request::from_parts(parts, body);
        return Ok(with_turn(turn, patience, next.run(request)).await);
    }
    let known = parts.extensions.get::<VerifiedNode>().map(|verified| verified.node_id);
    if let Some(node) = known.filter(|_| OF_KNOWN_NODES.contains(&path.as_str())) {
        let who = Who { group: node.0.as_u128(), member: node.0.as_u128() };
        let turn = app.door.nodes.turn(who, patience).await?;
        let request = Request::from_parts(parts, body);
        return Ok(with_turn(turn, patience, next.run(request)).await);
    }
    if known.is_none() && !parts.headers.contains_key(header::AUTHORIZATION) {
        // Whoever shows no credentials is refused without a look at anything.
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let principal = authenticate(app, &parts, place.as_ref()).await?;
    if let Some(place) = &place
        && let Err(full) = place.claim(holder(principal))
    {
        app.door.refused(
            place.address(),
            "too-many-connections",
            Some(principal.into()),
            app.now(),
        );
        return Err(ApiError::TooManyConnections(full));
    }
    parts.extensions.insert(principal);
    let turn = lane(&app.door, principal, &parts).turn(who(principal), patience).await;
    if let (Err(NoTurn::GroupFull), Some(place)) = (&turn, &place) {
        let subject = Some(principal.into());
        app.door.refused(place.address(), "too-many-requests", subject, app.now());
    }
    let turn = turn?;
    let request = Request::from_parts(parts, body);
    Ok(with_turn(turn, patience, next.run(request)).await)
}

/// Who asks. Those who have failed too often are not even looked at, unless they hold a token that
/// was good here before.
async fn authenticate(
    app: &App,
    parts: &Parts,
    place: Option<&Place>,
) -> Result<Principal, ApiError> {
    let token = bearer(&parts.headers);
    let authorization = parts.headers.contains_key(header::AUTHORIZATION);
    let proved = token.as_ref().is_some_and(|token| app.tokens.has_proved(token));
    if let Some(place) = place.filter(|_| authorization && !proved) {
        app.door.check_failures(place.address(), app.now())?;
    }
    let error = match auth::principal(app, parts).await {
        Ok(principal) => return Ok(principal),
        Err(error) => error,
    };
    let node =
        parts.extensions.get::<VerifiedNode>().map(|verified| Subject::Node(verified.node_id));
    let credentials = authorization || node.is_some();
    if let Some(place) = place.filter(|_| credentials && error.ends_access()) {
        // Only the id of a token that exists is kept: others are as many as a stranger likes.
        let token = token.filter(|token| app.tokens.knows(token.id)).map(|token| token.id);
        let subject = token.map(Subject::ApiToken).or(node);
        app.door.refused(place.address(), &error.problem().code, subject, app.now());
    }
    Err(error)
}

fn bearer(headers: &HeaderMap) -> Option<ApiToken> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    text.split_once(' ')?.1.parse().ok()
}

fn holder(principal: Principal) -> Holder {
    match principal {
        Principal::Node { node_id, .. } => Holder::Node(node_id),
        Principal::Operator { token_id, org: Some(org), .. } => Holder::Tenant(org, token_id),
        Principal::Operator { token_id, org: None, .. } => Holder::Operator(token_id),
    }
}

/// As turns know it.
pub fn who(principal: Principal) -> Who {
    match principal {
        Principal::Node { node_id, .. } => {
            Who { group: node_id.0.as_u128(), member: node_id.0.as_u128() }
        }
        Principal::Operator { token_id, org, .. } => {
            let member = token_id.0.as_u128();
            Who { group: org.map_or(member, |org| org.0.as_u128()), member }
        }
    }
}

fn lane<'d>(door: &'d Door, principal: Principal, parts: &Parts) -> &'d Lane {
    match principal {
        Principal::Node { .. } => &door.nodes,
        Principal::Operator { org: None, .. } => &door.operators,
        Principal::Operator { org: Some(_), .. } if reads_much(parts) => &door.tenants_reading,
        Principal::Operator { org: Some(_), .. } => &door.tenants,
    }
}

fn reads_much(parts: &Parts) -> bool {
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or_default();
    let limit = url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "limit")
        .and_then(|(_, value)| value.parse::<u32>().ok());
    parts.method == Method::GET
        && (["/v1/snapshot", "/v1/events", "/v1/stream"].contains(&path)
            || limit.is_some_and(|limit| limit > LONG_LIST))
}

/// The lane in which the streams of `principal` catch up.
pub fn catching_up(door: &Door, principal: Principal) -> &Lane {
    match principal {
        Principal::Operator { org: Some(_), .. } => &door.tenants_reading,
        _ => &door.platform_reading,
    }
}
