//! `/v1/nodes`: nodes as operators see them.

use std::net::SocketAddr;

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::node::{Node, NodePatch, NodePhase},
};
use sextant_model::{
    AggregateKind, EventBody, NetworkId, NodeId, Refusal, Timestamp,
    aggregate::{NetworkState, NodeState, node::Phase},
};
use sextant_store::Loaded;
use uuid::Uuid;

use super::tagged;
use crate::{
    app::App,
    auth::{PlatformAdmin, PlatformReader, Principal},
    command::{Answer, Command},
    error::ApiError,
    extract::{IfMatch, Json, ListQuery, Path, Query},
    workloads::withdraw_from,
};

/// Lists nodes that have not been released.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", params(ListQuery),
    responses((status = 200, body = Page<Node>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    _: PlatformReader,
    Query(query): Query<ListQuery>,
) -> Result<Answered<Page<Node>>, ApiError> {
    Ok(Answered(app.store.nodes(query.page()?).await?))
}

/// Reads a node, released or not.
#[utoipa::path(get, path = "/v1/nodes/{node_id}", tag = "nodes", params(("node_id" = NodeId, Path)),
    responses((status = 200, body = Node), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    _: PlatformReader,
    Path(id): Path<NodeId>,
) -> Result<Response, ApiError> {
    let node = app.store.node(id).await?.ok_or(Refusal::NotFound(AggregateKind::Node))?;
    Ok(tagged(node.version, node))
}

/// Tells peers another underlay address for the node.
#[utoipa::path(patch, path = "/v1/nodes/{node_id}", tag = "nodes",
    params(("node_id" = NodeId, Path),
        ("If-Match" = String, Header, description = "the ETag that was read")),
    request_body = NodePatch,
    responses((status = 200, body = Node), (status = 202, body = Node),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn patch(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<NodeId>,
    if_match: IfMatch,
    Json(patch): Json<NodePatch>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let mut node = command.unit.load::<NodeState>(id.0).await?;
    node.state.enrolled()?;
    if_match.require(node.version)?;
    let network = command.unit.load::<NetworkState>(node.state.enrolled()?.network_id.0).await?;
    network.state.check_endpoint(patch.endpoint)?;
    check_free(&app, network.id, patch.endpoint, id).await?;
    let events: Vec<_> = node.state.move_to(patch.endpoint)?.into_iter().collect();
    command.unit.append(&mut node, &events, who.actor()).await?;
    let answer = Answer::ok(&resource(&node, None)?)?.version(node.version);
    command.finish(answer).await
}

/// Starts the node's leave: its peers drop it, its access ends, its addresses are released when
/// every other node has acknowledged. Its workloads are withdrawn with it.
#[utoipa::path(delete, path = "/v1/nodes/{node_id}", tag = "nodes",
    params(("node_id" = NodeId, Path),
        ("If-Match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 200, body = Node), (status = 202, body = Node),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn remove(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<NodeId>,
    if_match: IfMatch,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    // Waits for workloads that are being placed on it.
    command.unit.seize(id.0).await?;
    let mut node = command.unit.load::<NodeState>(id.0).await?;
    node.state.enrolled()?;
    if_match.check(node.version)?;
    withdraw_from(&mut command.unit, id, who.actor()).await?;
    let events: Vec<_> = node.state.withdraw()?.into_iter().collect();
    command.unit.append(&mut node, &events, who.actor()).await?;
    // Its addresses and its key wait for the others; its name means nothing to them.
    command.unit.release_names(id.0).await?;
    let answer = Answer::ok(&resource(&node, None)?)?.version(node.version);
    command.finish(answer).await
}

/// Makes the node's client certificates good for nothing, on every replica at once, and lets its key
/// renew none. It stays a member: its peers keep it until it is removed.
#[utoipa::path(post, path = "/v1/nodes/{node_id}/revoke-certificates", tag = "nodes",
    params(("node_id" = NodeId, Path)),
    responses((status = 200, body = Node), (status = 202, body = Node),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn revoke_certificates(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<NodeId>,
) -> Result<Response, ApiError> {
    change(&app, who, id, NodeState::revoke_certificates).await
}

/// Takes that back: the node's key and its certificates are good again.
#[utoipa::path(post, path = "/v1/nodes/{node_id}/readmit", tag = "nodes",
    params(("node_id" = NodeId, Path)),
    responses((status = 200, body = Node), (status = 202, body = Node),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn readmit(
    State(app): State<App>,
    PlatformAdmin(who): PlatformAdmin,
    Path(id): Path<NodeId>,
) -> Result<Response, ApiError> {
    change(&app, who, id, NodeState::readmit).await
}

async fn change(
    app: &App,
    who: Principal,
    id: NodeId,
    decide: impl Fn(&NodeState) -> Result<Option<EventBody>, Refusal>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(app, who.actor());
    let mut node = command.unit.load::<NodeState>(id.0).await?;
    let events: Vec<_> = decide(&node.state)?.into_iter().collect();
    command.unit.append(&mut node, &events, who.actor()).await?;
    let answer = Answer::ok(&resource(&node, None)?)?.version(node.version);
    command.finish(answer).await
}

/// Refuses an endpoint that peers are told of another node: both would answer there, and neither peer
/// would know which one it reaches.
pub(super) async fn check_free(
    app: &App,
    network: Uuid,
    endpoint: SocketAddr,
    node: NodeId,
) -> Result<(), ApiError> {
    match app.store.node_at(NetworkId(network), endpoint, node).await? {
        Some(name) => Err(Refusal::EndpointTaken(endpoint.to_string(), name).into()),
        None => Ok(()),
    }
}

/// The node as the API shows it.
pub(super) fn resource(
    node: &Loaded<NodeState>,
    certificate_not_after: Option<Timestamp>,
) -> Result<Node, ApiError> {
    let enrolled = node.state.enrolled()?;
    let missing = || Refusal::NotFound(AggregateKind::Node);
    Ok(Node {
        id: NodeId(node.id),
        network_id: enrolled.network_id,
        name: enrolled.name.clone(),
        roles: enrolled.roles.clone(),
        phase: match node.state.phase() {
            Phase::Active => NodePhase::Active,
            Phase::Withdrawn => NodePhase::Withdrawn,
            Phase::Released | Phase::Unknown => NodePhase::Released,
        },
        public_key: enrolled.public_key,
        endpoint: enrolled.endpoint,
        addresses: enrolled.addresses,
        prefix: enrolled.prefix,
        certificate_not_after: certificate_not_after.or(node.state.certificate_not_after()),
        certificates_revoked: node.state.certificates_revoked(),
        version: node.version,
        enrolled_at: node.created_at.ok_or_else(missing)?,
        enrolled_event_id: node.first_event_id.ok_or_else(missing)?,
    })
}
