//! `/v1/node`: what a node says of itself, over mutual TLS.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    resource::{
        enrolment::{Certificate, CertificateRequest},
        node::{Node, NodePatch},
        report::{NodeReport, ReportTaken},
    },
};
use sextant_model::{
    AggregateKind,
    aggregate::{NetworkState, NodeState},
    health::is_plain,
};
use sextant_store::{StoreError, projection::Projections};

use super::{enrol::certify, nodes::resource};
use crate::{
    app::App,
    auth::NodePrincipal,
    ca::CheckedRequest,
    command::{Answer, Command},
    error::ApiError,
    extract::Json,
    workloads::confirm,
};

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
    let mut command = Command::begin_plain(&app, actor);
    let mut loaded = command.unit.load::<NodeState>(node.node_id.0).await?;
    let network = command.unit.load::<NetworkState>(node.network_id.0).await?;
    network.state.check_endpoint(patch.endpoint)?;
    let events: Vec<_> = loaded.state.move_to(patch.endpoint)?.into_iter().collect();
    command.unit.append(&mut loaded, &events, actor).await?;
    let answer = Answer::ok(&resource(&loaded, None)?)?.version(loaded.version);
    command.finish(answer).await
}

/// Makes a new client certificate for the node that asks.
#[utoipa::path(post, path = "/v1/node/certificate", tag = "node", request_body = CertificateRequest,
    responses((status = 200, body = Certificate), (status = "4XX", body = Problem),
        (status = 503, body = Problem)))]
pub async fn renew_certificate(
    State(app): State<App>,
    node: NodePrincipal,
    Json(request): Json<CertificateRequest>,
) -> Result<Answered<Certificate>, ApiError> {
    let csr = CheckedRequest::parse(&request.certificate_request)
        .map_err(|error| ApiError::CertificateRequest(error.to_string()))?;
    let mut unit = app.store.begin();
    let mut loaded = unit.load::<NodeState>(node.node_id.0).await?;
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
    let settled = app.tail.settled_at_least(&app.store, cursor.event_id).await?;
    cursor.check(app.store.epoch().await?, settled)?;
    app.store.keep_report(node.node_id, &report, app.now()).await?;
    match confirm(&app, node.node_id, &report.workloads_live).await {
        // Somebody else has said something of the same workload: the next report finds the rest.
        Ok(0) | Err(StoreError::VersionConflict) => {}
        Ok(event_id) => {
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
