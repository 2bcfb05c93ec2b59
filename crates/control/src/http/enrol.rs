//! `POST /v1/enrol`: a machine with a token becomes a node. Using the token and creating the node
//! are one transaction.

use axum::{Json as Answered, extract::State, http::StatusCode, response::IntoResponse};
use sextant_api::{
    Problem,
    resource::{
        enrolment::{EnrolRequest, Enrolment},
        node::Node,
    },
};
use sextant_model::{
    ActorId, EnrolmentTokenId, NodeId, PeerAddresses, Prefix, Refusal,
    address::NODE_PREFIX_LENGTH,
    aggregate::{
        EnrolmentTokenState, NetworkState, NodeState,
        node::{CERTIFICATES_PER_HOUR, check_rate},
    },
    event::NodeEnrolled,
    ipam::Ipam,
    secret::EnrolmentToken,
};
use sextant_store::{Loaded, StoreError, Unit, claims::NameScope, projection::Projections};
use subtle::ConstantTimeEq;

use super::{
    node::recently,
    nodes::{check_free, resource},
};
use crate::{
    app::App,
    ca::{CheckedRequest, NodeCertificate},
    error::ApiError,
    extract::Json,
};

/// Makes the machine a node. Repeating the request with the same token and the same keys gives the
/// same node and a fresh certificate.
#[utoipa::path(post, path = "/v1/enrol", tag = "enrolment", request_body = EnrolRequest, security(()),
    responses((status = 201, body = Enrolment), (status = 200, body = Enrolment),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn enrol(
    State(app): State<App>,
    Json(request): Json<EnrolRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let token: EnrolmentToken =
        request.token.parse().map_err(|error: sextant_model::secret::MalformedToken| {
            ApiError::BadRequest { code: "token-malformed", detail: error.to_string() }
        })?;
    let csr = CheckedRequest::parse(&request.certificate_request)
        .map_err(|error| ApiError::CertificateRequest(error.to_string()))?;
    let mut unit = app.store.begin();
    let invitation = unit.load::<EnrolmentTokenState>(token.id.0).await?;
    check_secret(&invitation, &token)?;
    let (mut node, status) = if let Some(id) = invitation.state.used_by() {
        (repeated(&mut unit, id, &request, &csr).await?, StatusCode::OK)
    } else {
        let node = create(&app, &mut unit, invitation, token.id, &request, &csr).await?;
        (node, StatusCode::CREATED)
    };
    let certificate = certify(&app, &mut unit, &mut node, csr).await?;
    let resource = resource(&node, Some(certificate.not_after))?;
    let event_id = unit.commit().await?;
    app.tail.committed();
    let enrolment = answer(&app, resource, certificate, event_id).await?;
    Ok((status, Answered(enrolment)))
}

/// A token that does not exist and one with another secret look alike.
fn check_secret(
    invitation: &Loaded<EnrolmentTokenState>,
    token: &EnrolmentToken,
) -> Result<(), ApiError> {
    let created = invitation.state.created().map_err(|_| Refusal::TokenForeign)?;
    let expected = created.secret_hash.as_ref().map_or("", |hash| hash.as_str());
    let given = token.secret.hash();
    if bool::from(given.as_str().as_bytes().ct_eq(expected.as_bytes())) {
        Ok(())
    } else {
        Err(Refusal::TokenForeign.into())
    }
}

/// The node that enrolled with this token before, if it is the same machine asking again.
async fn repeated(
    unit: &mut Unit,
    id: NodeId,
    request: &EnrolRequest,
    csr: &CheckedRequest,
) -> Result<Loaded<NodeState>, ApiError> {
    let node = unit.load::<NodeState>(id.0).await?;
    let enrolled = node.state.active()?;
    let same = enrolled.public_key == request.public_key
        && enrolled.name == request.node_name
        && enrolled.client_key_fingerprint == csr.key_fingerprint();
    if same { Ok(node) } else { Err(Refusal::TokenUsed.into()) }
}

async fn create(
    app: &App,
    unit: &mut Unit,
    mut invitation: Loaded<EnrolmentTokenState>,
    token_id: EnrolmentTokenId,
    request: &EnrolRequest,
    csr: &CheckedRequest,
) -> Result<Loaded<NodeState>, ApiError> {
    let id = NodeId(app.id());
    let actor = ActorId(token_id.0);
    let used = invitation.state.redeem(&request.node_name, id, app.now())?;
    let created = invitation.state.created()?.clone();
    let network = unit.load::<NetworkState>(created.network_id.0).await?;
    network.state.check_endpoint(request.endpoint)?;
    check_free(app, network.id, request.endpoint, id).await?;
    unit.append(&mut invitation, &[used], actor).await?;
    unit.claim_name(NameScope::NodesOf(created.network_id), &created.node_name, id.0).await?;
    unit.claim_key(&request.public_key, id.0).await?;
    let block = unit.ipam().await?.allocate_block(network.id, NODE_PREFIX_LENGTH, id.0).await?;
    let address = unit.ipam().await?.allocate_address(block, id.0).await?;
    let prefix = Prefix::new(block).map_err(|error| ApiError::Internal(error.to_string()))?;
    let enrolled = NodeState::enrol(NodeEnrolled {
        network_id: created.network_id,
        name: created.node_name,
        roles: created.roles,
        public_key: request.public_key,
        endpoint: request.endpoint,
        addresses: PeerAddresses::v6(address),
        prefix,
        token_id,
        client_key_fingerprint: csr.key_fingerprint(),
    })?;
    let mut node = Loaded::<NodeState>::fresh(id.0);
    unit.append(&mut node, &[enrolled], actor).await?;
    Ok(node)
}

/// Makes a certificate for the node and records it.
pub(super) async fn certify(
    app: &App,
    unit: &mut Unit,
    node: &mut Loaded<NodeState>,
    csr: CheckedRequest,
) -> Result<NodeCertificate, ApiError> {
    let id = NodeId(node.id);
    let issued = recently(unit, id, "node-certificate-issued").await?;
    check_rate("the node was given a certificate", issued, CERTIFICATES_PER_HOUR)?;
    let certificate = app
        .ca
        .issue_node(csr, id, app.serial(), app.now())
        .map_err(|error| ApiError::CertificateRequest(error.to_string()))?;
    let issued = node.state.issue_certificate(certificate.serial.clone(), certificate.not_after)?;
    unit.append(node, &[issued], id.into()).await?;
    Ok(certificate)
}

async fn answer(
    app: &App,
    node: Node,
    certificate: NodeCertificate,
    event_id: i64,
) -> Result<Enrolment, ApiError> {
    let touched = Projections::named(&["nodes", "enrolment-tokens"]);
    if !app.tail.wait_projected(event_id, touched).await {
        // The node exists; the agent asks again with the same keys and gets this same answer.
        return Err(ApiError::Busy);
    }
    // After the commit nothing may claim that nothing was changed.
    let membership = app.store.membership(node.network_id, node.id).await;
    let (cursor, membership) = membership.map_err(|error| match ApiError::from(error) {
        ApiError::Store(error) if error.is_transient() => ApiError::Busy,
        other => other,
    })?;
    if !membership.members.contains_key(&node.id) {
        let reason = format!("node {} is missing after its projection", node.id);
        return Err(StoreError::Inconsistent { table: "nodes", reason }.into());
    }
    Ok(Enrolment {
        node,
        certificate: certificate.pem,
        ca: app.ca.certificate_pem().to_owned(),
        cursor,
        membership,
    })
}
