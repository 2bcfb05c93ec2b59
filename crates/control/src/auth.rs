//! Who is asking: an operator by bearer token, a node by client certificate.

use std::net::SocketAddr;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use sextant_api::{client::INSTANCE, resource::node::NodePhase};
use sextant_model::{
    ActorId, AggregateKind, ApiTokenId, NetworkId, NodeId, OperatorRole, OrgId, Refusal, Timestamp,
    secret::ApiToken, visibility::Viewer,
};
use sextant_store::read::{ApiTokenCredentials, NodeAccess};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::{app::App, error::ApiError};

/// The node whose certificate the TLS layer has verified on this connection, and when the certificate
/// is valid: the TLS layer lets in expired ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedNode {
    /// Which node.
    pub node_id: NodeId,
    /// The certificate is valid from then on.
    pub not_before: Timestamp,
    /// And until then.
    pub not_after: Timestamp,
}

impl VerifiedNode {
    /// Whether the certificate is valid now.
    fn check_time(self, now: Timestamp) -> Result<(), ApiError> {
        if now > self.not_after {
            Err(ApiError::CertificateExpired { ended: self.not_after, now })
        } else if now < self.not_before {
            Err(ApiError::CertificateNotYetValid { begins: self.not_before, now })
        } else {
            Ok(())
        }
    }
}

/// Which process of the node's agent asks; agents of before do not say it.
#[derive(Clone, Copy, Debug)]
pub struct InstanceId(pub Option<Uuid>);

impl<S: Send + Sync> FromRequestParts<S> for InstanceId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(INSTANCE) else { return Ok(Self(None)) };
        let id = value.to_str().ok().and_then(|text| Uuid::try_parse(text).ok());
        let id = id.ok_or_else(|| ApiError::invalid("Sextant-Instance is not a UUID"))?;
        Ok(Self(Some(id)))
    }
}

/// Where the connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Somebody who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The holder of an API token.
    Operator {
        /// Which token.
        token_id: ApiTokenId,
        /// What it may do.
        role: OperatorRole,
        /// The only org it is for, if it is not for the platform.
        org: Option<OrgId>,
    },
    /// An active node.
    Node {
        /// Which node.
        node_id: NodeId,
        /// Its network.
        network_id: NetworkId,
        /// Whether it has the role edge.
        edge: bool,
        /// By which certificate it was recognised.
        certificate: VerifiedNode,
    },
}

/// Whose things an operator sees and changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's, and the platform itself.
    Platform,
    /// Those of one org.
    Org(OrgId),
}

impl Scope {
    /// Refuses what belongs to another org. It looks like something that does not exist, so that
    /// nobody learns what others have.
    pub fn check(self, owner: OrgId, kind: AggregateKind) -> Result<(), Refusal> {
        match self {
            Self::Org(org) if org != owner => Err(Refusal::NotFound(kind)),
            _ => Ok(()),
        }
    }

    /// The org that a list is limited to, if any: the one that was asked for, as far as it may be
    /// seen.
    pub fn limit(self, asked: Option<OrgId>) -> Result<Option<OrgId>, Refusal> {
        match self {
            Self::Platform => Ok(asked),
            Self::Org(org) => {
                asked.map_or(Ok(()), |asked| self.check(asked, AggregateKind::Org))?;
                Ok(Some(org))
            }
        }
    }
}

impl Principal {
    /// As the log names it.
    pub fn actor(&self) -> ActorId {
        match *self {
            Self::Operator { token_id, .. } => token_id.into(),
            Self::Node { node_id, .. } => node_id.into(),
        }
    }

    /// What it may see of the stream.
    pub fn viewer(&self) -> Viewer {
        match *self {
            Self::Operator { org: None, .. } => Viewer::Operator,
            Self::Operator { org: Some(org), .. } => Viewer::Org(org),
            Self::Node { node_id, network_id, .. } => Viewer::Node { node_id, network_id },
        }
    }
}

/// An operator of the platform who may read.
#[derive(Clone, Copy, Debug)]
pub struct PlatformReader(pub Principal);

/// An operator of the platform who may change things.
#[derive(Clone, Copy, Debug)]
pub struct PlatformAdmin(pub Principal);

/// An operator who may read what is in their scope: of the platform, or of one org.
#[derive(Clone, Copy, Debug)]
pub struct OrgReader(pub Principal, pub Scope);

/// An operator who may change what is in their scope: of the platform, or of one org.
#[derive(Clone, Copy, Debug)]
pub struct OrgAdmin(pub Principal, pub Scope);

/// An operator who may change what is in their scope, or a node, which may change what it runs.
#[derive(Clone, Copy, Debug)]
pub struct OrgAdminOrNode(pub Principal);

/// An active node.
#[derive(Clone, Copy, Debug)]
pub struct NodePrincipal {
    /// Which node.
    pub node_id: NodeId,
    /// Its network.
    pub network_id: NetworkId,
}

/// A machine that proved the key of a certificate made for this node, whatever the time and whatever
/// became of the node. Good for nothing but learning what it is and, where that is allowed, renewing.
#[derive(Clone, Copy, Debug)]
pub struct KnownNode {
    /// Which node.
    pub node_id: NodeId,
    /// What it may still do.
    pub access: NodeAccess,
    /// By which certificate it was recognised.
    pub certificate: VerifiedNode,
}

impl FromRequestParts<App> for KnownNode {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(header) = parts.headers.get(header::AUTHORIZATION) {
            operator(app, header.to_str().unwrap_or_default()).await?;
            return Err(NOT_FOR_OPERATORS);
        }
        let certificate = parts.extensions.get::<VerifiedNode>().copied();
        let certificate = certificate
            .ok_or(ApiError::Unauthenticated("connect with a node's client certificate"))?;
        let node_id = certificate.node_id;
        let access = app.store.node_access(node_id).await?.ok_or(ApiError::NodeUnknown)?;
        Ok(Self { node_id, access, certificate })
    }
}

/// An active node with the role edge.
#[derive(Clone, Copy, Debug)]
pub struct EdgePrincipal {
    /// Which node.
    pub node_id: NodeId,
    /// Its network.
    pub network_id: NetworkId,
}

impl FromRequestParts<App> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(header) = parts.headers.get(header::AUTHORIZATION) {
            return operator(app, header.to_str().unwrap_or_default()).await;
        }
        match parts.extensions.get::<VerifiedNode>() {
            Some(verified) => node(app, *verified).await,
            None => Err(ApiError::Unauthenticated(
                "send an API token as a bearer token, or connect with a node's client certificate",
            )),
        }
    }
}

/// Whether the caller's access still stands; streams ask this as they go on.
pub async fn still_allowed(app: &App, principal: Principal) -> Result<(), ApiError> {
    match principal {
        Principal::Node { certificate, .. } => node(app, certificate).await.map(drop),
        Principal::Operator { token_id, .. } => {
            let credentials = app.store.api_token_credentials(token_id).await?;
            let credentials = credentials.ok_or(INVALID)?;
            check_life(&credentials, app.now())
        }
    }
}

const INVALID: ApiError = ApiError::Unauthenticated("the API token is not valid here");

async fn operator(app: &App, header: &str) -> Result<Principal, ApiError> {
    let text = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token: ApiToken = text
        .and_then(|(_, token)| token.parse().ok())
        .ok_or(ApiError::Unauthenticated("the Authorization header is not \"Bearer sxa_…\""))?;
    let now = app.now();
    let credentials = if let Some(credentials) = app.tokens.get(token.id, now) {
        credentials
    } else {
        let found = app.store.api_token_credentials(token.id).await?.ok_or(INVALID)?;
        app.tokens.keep(token.id, found, now)
    };
    let given = token.secret.hash();
    if !bool::from(given.as_str().as_bytes().ct_eq(credentials.secret_hash.as_str().as_bytes())) {
        return Err(INVALID);
    }
    check_life(&credentials, now)?;
    let (role, org) = (credentials.role, credentials.org_id);
    Ok(Principal::Operator { token_id: token.id, role, org })
}

fn check_life(credentials: &ApiTokenCredentials, now: Timestamp) -> Result<(), ApiError> {
    if credentials.revoked {
        return Err(ApiError::Unauthenticated("the API token was revoked; ask for a new one"));
    }
    if credentials.expires_at.is_some_and(|at| now >= at) {
        return Err(ApiError::Unauthenticated("the API token has expired; ask for a new one"));
    }
    Ok(())
}

async fn node(app: &App, certificate: VerifiedNode) -> Result<Principal, ApiError> {
    let node_id = certificate.node_id;
    match app.store.node_access(node_id).await? {
        Some(access) if access.phase == NodePhase::Active => {
            if access.certificates_revoked {
                return Err(Refusal::CertificatesRevoked.into());
            }
            certificate.check_time(app.now())?;
            let (network_id, edge) = (access.network_id, access.edge);
            Ok(Principal::Node { node_id, network_id, edge, certificate })
        }
        // Told apart, because a node that has left takes its interface down, and one that is only
        // unknown here (a stale standby, a wrong URL) must not.
        Some(_) => Err(ApiError::NodeLeft),
        None => Err(ApiError::NodeUnknown),
    }
}

const NOT_FOR_OPERATORS: ApiError = ApiError::Forbidden("this is for nodes, not for operators");
const NOT_FOR_NODES: ApiError = ApiError::Forbidden("this is for operators, not for nodes");
const NOT_FOR_ORGS: ApiError = ApiError::Forbidden(
    "this is for operators of the platform; an API token of an org sees and changes its org only",
);
const NOT_FOR_VIEWERS: ApiError =
    ApiError::Forbidden("this needs an API token with the role admin");

impl FromRequestParts<App> for OrgReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match Principal::from_request_parts(parts, app).await? {
            principal @ Principal::Operator { org, .. } => {
                Ok(Self(principal, org.map_or(Scope::Platform, Scope::Org)))
            }
            Principal::Node { .. } => Err(NOT_FOR_NODES),
        }
    }
}

impl FromRequestParts<App> for OrgAdmin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let OrgReader(principal, scope) = OrgReader::from_request_parts(parts, app).await?;
        match principal {
            Principal::Operator { role: OperatorRole::Admin, .. } => Ok(Self(principal, scope)),
            _ => Err(NOT_FOR_VIEWERS),
        }
    }
}

impl FromRequestParts<App> for PlatformReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match OrgReader::from_request_parts(parts, app).await? {
            OrgReader(principal, Scope::Platform) => Ok(Self(principal)),
            OrgReader(_, Scope::Org(_)) => Err(NOT_FOR_ORGS),
        }
    }
}

impl FromRequestParts<App> for PlatformAdmin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match OrgAdmin::from_request_parts(parts, app).await? {
            OrgAdmin(principal, Scope::Platform) => Ok(Self(principal)),
            OrgAdmin(_, Scope::Org(_)) => Err(NOT_FOR_ORGS),
        }
    }
}

impl FromRequestParts<App> for OrgAdminOrNode {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match Principal::from_request_parts(parts, app).await? {
            Principal::Operator { role: OperatorRole::Viewer, .. } => Err(NOT_FOR_VIEWERS),
            principal => Ok(Self(principal)),
        }
    }
}

impl FromRequestParts<App> for NodePrincipal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match Principal::from_request_parts(parts, app).await? {
            Principal::Node { node_id, network_id, .. } => {
                if let InstanceId(Some(instance)) =
                    InstanceId::from_request_parts(parts, app).await?
                    && app.store.is_refused(node_id, instance).await?
                {
                    let (holder, own) = ("elsewhere".into(), "here".into());
                    return Err(ApiError::NodeDuplicate { holder, own });
                }
                Ok(Self { node_id, network_id })
            }
            Principal::Operator { .. } => Err(NOT_FOR_OPERATORS),
        }
    }
}

impl FromRequestParts<App> for EdgePrincipal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match Principal::from_request_parts(parts, app).await? {
            Principal::Node { node_id, network_id, edge: true, .. } => {
                Ok(Self { node_id, network_id })
            }
            Principal::Node { .. } => Err(ApiError::Forbidden(
                "this is for nodes with the role edge; enrol the node with a token for that role",
            )),
            Principal::Operator { .. } => {
                Err(ApiError::Forbidden("this is for edge nodes, not for operators"))
            }
        }
    }
}
