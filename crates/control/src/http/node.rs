//! `/v1/node`: what a node says of itself, over mutual TLS.

use std::time::Duration;

use axum::{Extension, Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    resource::{
        enrolment::{Certificate, CertificateRequest},
        node::{Node, NodePatch, NodePhase},
        report::{NodeReport, ReportTaken},
    },
};
use sextant_model::{
    AggregateKind, NodeId,
    aggregate::{
        NetworkState, NodeState,
        node::{ENDPOINT_CHANGES_PER_HOUR, check_rate},
    },
    health::is_plain,
};
use sextant_store::{StoreError, Unit, projection::Projections};

use super::{
    enrol::certify,
    nodes::{check_free, resource},
};
use crate::{
    app::App,
    auth::{KnownNode, NodePrincipal},
    ca::CheckedRequest,
    command::{Answer, Command},
    door::entrance::Place,
    door::lane::give_up_turn,
    error::ApiError,
    extract::Json,
    workloads::confirm,
};

/// Within so long what a node makes into events is counted.
const HOUR: Duration = Duration::from_hours(1);

/// Tells where peers should reach the node that asks.
#[utoipa::path(patch, path = "/v1/node", tag = "node", request_body = NodePatch,
    responses((status = 200, body = Node), (status = 202, body = Node),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn patch(
    State(app): State<App>,
    node: NodePrincipal,
    Json(patch): Json<NodePatch>,
) -> Result<Response, ApiError> {
    let actor = node.node_id.into();
    let mut command = Command::begin_of_node(&app, node.node_id);
    let mut loaded = command.unit.load::<NodeState>(node.node_id.0).await?;
    let network = command.unit.load::<NetworkState>(node.network_id.0).await?;
    network.state.check_endpoint(patch.endpoint)?;
    check_free(&app, network.id, patch.endpoint, node.node_id).await?;
    let events: Vec<_> = loaded.state.move_to(patch.endpoint)?.into_iter().collect();
    if !events.is_empty() {
        let moves = recently(&command.unit, node.node_id, "node-endpoint-changed").await?;
        check_rate("the endpoint changed", moves, ENDPOINT_CHANGES_PER_HOUR)?;
    }
    command.unit.append(&mut loaded, &events, actor).await?;
    let answer = Answer::ok(&resource(&loaded, None)?)?.version(loaded.version);
    command.finish(answer).await
}

/// How many events of one type the node has within the last hour.
pub(super) async fn recently(
    unit: &Unit,
    node: NodeId,
    event_type: &str,
) -> Result<u64, StoreError> {
    unit.events_within::<NodeState>(node.0, event_type, HOUR).await
}

/// Makes a new client certificate for the node that asks, on the key that it enrolled with. Works with
/// an expired certificate too: the handshake has proved that the node holds its key.
#[utoipa::path(post, path = "/v1/node/certificate", tag = "node", request_body = CertificateRequest,
    responses((status = 200, body = Certificate), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn renew_certificate(
    State(app): State<App>,
    node: KnownNode,
    place: Option<Extension<Place>>,
    Json(request): Json<CertificateRequest>,
) -> Result<Answered<Certificate>, ApiError> {
    if node.access.phase != NodePhase::Active {
        return Err(ApiError::NodeLeft);
    }
    let csr = CheckedRequest::parse(&request.certificate_request)
        .map_err(|error| ApiError::CertificateRequest(error.to_string()))?;
    let mut unit = app.store.of_nodes().begin();
    let mut loaded = unit.load::<NodeState>(node.node_id.0).await?;
    let peer = place.map(|Extension(place)| place.address().to_string()).unwrap_or_default();
    let (node_id, ended) = (node.node_id, node.certificate.not_after);
    if let Err(refusal) = loaded.state.check_client_key(&csr.key_fingerprint()) {
        tracing::warn!(
            %node_id, peer, %refusal,
            "a certificate was asked for on a key that is not the node's: somebody may hold a copy of \
             its identity"
        );
        return Err(refusal.into());
    }
    if ended < app.now() {
        tracing::warn!(%node_id, peer, %ended, "a node renews a certificate that had expired");
    }
    let certificate = certify(&app, &mut unit, &mut loaded, csr).await?;
    unit.commit().await?;
    app.tail.committed();
    Ok(Answered(Certificate {
        certificate: certificate.pem,
        ca: app.ca.certificate_pem().to_owned(),
        not_after: certificate.not_after,
    }))
}

/// Takes the ack of a revision, and measurements.
#[utoipa::path(post, path = "/v1/node/report", tag = "node", request_body = NodeReport,
    responses((status = 200, body = ReportTaken), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn report(
    State(app): State<App>,
    node: NodePrincipal,
    Json(report): Json<NodeReport>,
) -> Result<Answered<ReportTaken>, ApiError> {
    check(&report)?;
    let cursor = report.revision;
    let store = app.store.of_nodes();
    let settled = app.tail.settled_at_least(&store, cursor.event_id).await?;
    cursor.check(store.epoch().await?, settled)?;
    store.keep_report(node.node_id, &report, app.now()).await?;
    match confirm(&app, node.node_id, &report.workloads_live).await {
        // Somebody else has said something of the same workload: the next report finds the rest.
        Ok(0) | Err(StoreError::VersionConflict) => {}
        Ok(event_id) => {
            give_up_turn();
            let workloads = Projections::of(AggregateKind::Workload);
            let _ = app.tail.wait_projected(event_id, workloads).await;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Answered(ReportTaken { now: app.now() }))
}

/// Bounds what a node can make the database keep.
fn check(report: &NodeReport) -> Result<(), ApiError> {
    let clean = |text: &String| text.len() <= 512 && is_plain(text);
    let said = report.agent.iter().flat_map(|agent| &agent.problems);
    let said: Vec<&String> = said.flat_map(|problem| [&problem.kind, &problem.text]).collect();
    let workloads = report.workloads_live.len();
    if report.peers.len() > 4096
        || report.problems.len() > 32
        || said.len() > 64
        || workloads > 4096
    {
        return Err(ApiError::invalid(
            "the report has more than 4096 peers, 4096 workloads or 32 problems",
        ));
    }
    let texts = report.problems.iter().chain(said).chain([&report.agent_version]);
    if !texts.into_iter().all(clean) {
        return Err(ApiError::invalid(
            "a text of the report is longer than 512 bytes, or has control characters or such that \
             turn text around",
        ));
    }
    Ok(())
}
