//! `/v1/networks`.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::network::{Network, NetworkPatch, NewNetwork},
};
use sextant_model::{
    AggregateKind, EventBody, NetworkId, Refusal,
    address::ula_prefix,
    aggregate::{NetworkState, network::NetworkWish},
    ipam::Ipam,
};
use sextant_store::{Loaded, claims::NameScope};

use super::tagged;
use crate::{
    app::App,
    auth::{PlatformAdmin, PlatformReader},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, IfMatch, Json, ListQuery, Path, Query},
};

/// Creates a network.
#[utoipa::path(post, path = "/v1/networks", tag = "networks", request_body = NewNetwork,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    responses((status = 201, body = Network), (status = 202, body = Network),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewNetwork>,
) -> Result<Response, ApiError> {
    let mut command =
        match Command::begin(&app, who.actor(), key, "POST /v1/networks", &new).await? {
            Begun::Fresh(command) => command,
            Begun::Replayed(response) => return Ok(response),
        };
    let mut global_id = [0; 5];
    global_id.copy_from_slice(&app.entropy.bytes()[..5]);
    let wish = NetworkWish {
        name: new.name,
        ip_stack_mode: new.ip_stack_mode,
        topology: new.topology,
        ipv6_prefix: new.ipv6_prefix,
        ipv4_prefix: new.ipv4_prefix,
    };
    let event = NetworkState::create(wish, ula_prefix(global_id))?;
    let id = NetworkId(app.id());
    // The event last: from it on everybody who follows the log waits for this transaction.
    let EventBody::NetworkCreated(created) = &event else {
        return Err(ApiError::Internal("a network was to be created".into()));
    };
    command.unit.claim_name(NameScope::Networks, &created.name, id.0).await?;
    if let Some(prefix) = created.ipv6_prefix.and_then(sextant_model::Prefix::v6) {
        command.unit.ipam().await?.create_pool(id.0, prefix).await?;
    }
    let mut network = Loaded::<NetworkState>::fresh(id.0);
    command.unit.append(&mut network, &[event], who.actor()).await?;
    let answer = Answer::created(&resource(&network)?)?.version(network.version);
    command.finish(answer).await
}

/// Lists networks.
#[utoipa::path(get, path = "/v1/networks", tag = "networks", params(ListQuery),
    responses((status = 200, body = Page<Network>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    _: PlatformReader,
    Query(query): Query<ListQuery>,
) -> Result<Answered<Page<Network>>, ApiError> {
    Ok(Answered(app.store.networks(query.page()?).await?))
}

/// Reads a network.
#[utoipa::path(get, path = "/v1/networks/{network_id}", tag = "networks",
    params(("network_id" = NetworkId, Path)),
    responses((status = 200, body = Network), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    _: PlatformReader,
    Path(id): Path<NetworkId>,
) -> Result<Response, ApiError> {
    let network = app.store.network(id).await?;
    let network = network.ok_or(Refusal::NotFound(AggregateKind::Network))?;
    Ok(tagged(network.version, network))
}

/// Renames a network.
#[utoipa::path(patch, path = "/v1/networks/{network_id}", tag = "networks",
    params(("network_id" = NetworkId, Path),
        ("If-Match" = String, Header, description = "the ETag that was read")),
    request_body = NetworkPatch,
    responses((status = 200, body = Network), (status = 202, body = Network),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn rename(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<NetworkId>,
    if_match: IfMatch,
    Json(patch): Json<NetworkPatch>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut network = command.unit.load::<NetworkState>(id.0).await?;
    network.state.live()?;
    if_match.require(network.version)?;
    let events: Vec<_> = network.state.rename(patch.name.clone())?.into_iter().collect();
    if !events.is_empty() {
        command.unit.release_names(id.0).await?;
        command.unit.claim_name(NameScope::Networks, &patch.name, id.0).await?;
        command.unit.append(&mut network, &events, who.actor()).await?;
    }
    let answer = Answer::ok(&resource(&network)?)?.version(network.version);
    command.finish(answer).await
}

/// Deletes a network without nodes and environments.
#[utoipa::path(delete, path = "/v1/networks/{network_id}", tag = "networks",
    params(("network_id" = NetworkId, Path),
        ("If-Match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 204), (status = 202), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<NetworkId>,
    if_match: IfMatch,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut network = command.unit.load::<NetworkState>(id.0).await?;
    network.state.live()?;
    if_match.check(network.version)?;
    // The name goes first: that waits for environments that are being created.
    command.unit.release_names(id.0).await?;
    let nodes = command.unit.ipam().await?.blocks_in_use(id.0).await?;
    let environments = command.unit.environments_in(id).await?;
    let event = network.state.delete(nodes, environments)?;
    command.unit.ipam().await?.delete_pool(id.0).await?;
    command.unit.append(&mut network, &[event], who.actor()).await?;
    command.finish(Answer::no_content()).await
}

fn resource(network: &Loaded<NetworkState>) -> Result<Network, ApiError> {
    let live = network.state.live()?;
    let created_at = network.created_at.ok_or(Refusal::NotFound(AggregateKind::Network))?;
    Ok(Network {
        id: NetworkId(network.id),
        name: live.name.clone(),
        ip_stack_mode: live.ip_stack_mode,
        topology: live.topology,
        ipv6_prefix: live.ipv6_prefix,
        ipv4_prefix: live.ipv4_prefix,
        version: network.version,
        created_at,
    })
}
