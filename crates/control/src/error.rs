//! Errors as problems. What clients may read and what only the log may say are kept apart.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sextant_api::{Problem, problem::MEDIA_TYPE};
use sextant_model::{
    Refusal, Timestamp, aggregate::IngressRefusal, cursor::CursorGone, ipam::IpamRefusal,
    quota::Quota,
};
use sextant_store::StoreError;

use crate::{
    dns::Unproved,
    door::{lane::NoTurn, places::Full, streams::TooManyStreams},
};

/// The value of `Connection` that ends it after this answer (RFC 9112 section 9.6).
const CLOSE: &str = "close";

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No good credentials.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Good credentials, but not for this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The node of this certificate has left.
    #[error("this node has left its network; enrol it with a new token")]
    NodeLeft,
    /// The client certificate has ended. It still renews itself.
    #[error(
        "the client certificate expired at {ended}, and it is {now} here; the agent renews it by itself"
    )]
    CertificateExpired {
        /// When.
        ended: Timestamp,
        /// The replica's clock.
        now: Timestamp,
    },
    /// The client certificate has not begun by the replica's clock.
    #[error(
        "the client certificate begins at {begins}, and it is {now} here: one of the clocks is wrong"
    )]
    CertificateNotYetValid {
        /// When.
        begins: Timestamp,
        /// The replica's clock.
        now: Timestamp,
    },
    /// Another machine speaks as the same node, and came first.
    #[error(
        "another machine runs as this node: it came first and connects from {holder}, this one from {own}; if this one is the copy, stop it, empty its state folder and enrol it under a name of its own; if the other is, stop it there, and this one goes on by itself"
    )]
    NodeDuplicate {
        /// Where the other one connects from.
        holder: String,
        /// Where this one does.
        own: String,
    },
    /// The node of this certificate never enrolled here.
    #[error("this node is not known here; check the URL, or enrol it with a new token")]
    NodeUnknown,
    /// The request itself is wrong.
    #[error("{detail}")]
    BadRequest {
        /// Stable word.
        code: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The request is well-formed, its content is not.
    #[error("{0}")]
    Unprocessable(String),
    /// The body is too large.
    #[error("the body is larger than {} bytes", sextant_api::BODY_LIMIT)]
    TooLarge,
    /// The body is not JSON.
    #[error("send the body as application/json")]
    MediaType,
    /// There is no such path.
    #[error("there is nothing at this path; the API is described at /v1/openapi.json")]
    NoSuchPath,
    /// There is no such method on this path.
    #[error("this path does not have this method; the API is described at /v1/openapi.json")]
    NoSuchMethod,
    /// An unsafe request must say which version it changes.
    #[error("send If-Match with the ETag of the version you have read")]
    PreconditionRequired,
    /// Somebody else changed it first.
    #[error("the version has changed since you read it; read it again and repeat")]
    PreconditionFailed,
    /// The stream cannot go on from there.
    #[error(transparent)]
    CursorGone(#[from] CursorGone),
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store did not do it.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The replica cannot serve this now, and knows why.
    #[error("{0}; try another replica, or again in a moment")]
    NotReady(String),
    /// Too much at once.
    #[error("the control plane is busy; try again in a moment")]
    Busy,
    /// The caller has as many connections as it may have.
    #[error(transparent)]
    TooManyConnections(Full),
    /// The caller has as many streams as it may have.
    #[error(transparent)]
    TooManyStreams(#[from] TooManyStreams),
    /// The caller has as many requests waiting as it may have.
    #[error("too many requests of the same org, token or node are waiting; send fewer at a time")]
    TooManyRequests,
    /// Too many credentials from the caller's address were refused.
    #[error(
        "too many logins or enrolments from this address were refused in the last minute; wait a \
         minute and check the token"
    )]
    TooManyFailures,
    /// The body does not come.
    #[error("the body did not arrive in time; send it without pauses")]
    BodyTooSlow,
    /// The time for the request was up while it was changing something.
    #[error(
        "the request took too long; what it changes may have happened: read it again, or repeat \
         with the same Idempotency-Key"
    )]
    TimeUp,
    /// A certificate could not be made.
    #[error("the certificate request cannot be used: {0}")]
    CertificateRequest(String),
    /// DNS does not prove a hostname.
    #[error(transparent)]
    Unproved(#[from] Unproved),
    /// Something that must not happen.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Store(Arc::new(other)),
        }
    }
}

impl From<NoTurn> for ApiError {
    fn from(error: NoTurn) -> Self {
        match error {
            NoTurn::GroupFull => Self::TooManyRequests,
            NoTurn::Full => Self::Busy,
        }
    }
}

impl From<Arc<StoreError>> for ApiError {
    fn from(error: Arc<StoreError>) -> Self {
        Self::Store(error)
    }
}

impl ApiError {
    /// A field that is wrong in itself.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::BadRequest { code: "request-invalid", detail: detail.into() }
    }

    /// Whether a stream whose follower would get this answer now has to end.
    pub fn ends_access(&self) -> bool {
        matches!(
            self,
            Self::Unauthenticated(_)
                | Self::Forbidden(_)
                | Self::NodeLeft
                | Self::NodeUnknown
                | Self::NodeDuplicate { .. }
                | Self::CertificateExpired { .. }
                | Self::CertificateNotYetValid { .. }
                | Self::Refused(Refusal::CertificatesRevoked)
        )
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NodeLeft => (StatusCode::FORBIDDEN, "node-left"),
            Self::NodeDuplicate { .. } => (StatusCode::FORBIDDEN, "node-duplicate"),
            Self::CertificateExpired { .. } => (StatusCode::UNAUTHORIZED, "certificate-expired"),
            Self::CertificateNotYetValid { .. } => {
                (StatusCode::UNAUTHORIZED, "certificate-not-yet-valid")
            }
            Self::NodeUnknown => (StatusCode::FORBIDDEN, "node-unknown"),
            Self::BadRequest { code, .. } => (StatusCode::BAD_REQUEST, code),
            Self::Unprocessable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "body-invalid"),
            Self::CertificateRequest(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "certificate-request-invalid")
            }
            Self::Unproved(unproved @ Unproved::Busy) => {
                (StatusCode::SERVICE_UNAVAILABLE, unproved.code())
            }
            Self::Unproved(unproved) => (StatusCode::UNPROCESSABLE_ENTITY, unproved.code()),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type-unsupported"),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "path-not-found"),
            Self::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            Self::PreconditionRequired => (StatusCode::PRECONDITION_REQUIRED, "if-match-required"),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "version-mismatch"),
            Self::CursorGone(CursorGone::ForeignEpoch) => (StatusCode::GONE, "foreign-epoch"),
            Self::CursorGone(CursorGone::BeyondHead) => (StatusCode::GONE, "beyond-head"),
            Self::Refused(refusal) => (refusal_status(refusal), refusal.code()),
            Self::Store(error) => store_status(error),
            Self::TooManyConnections(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many-connections"),
            Self::TooManyStreams(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many-streams"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"),
            Self::TooManyFailures => (StatusCode::TOO_MANY_REQUESTS, "too-many-failures"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
            Self::TimeUp => (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown"),
            Self::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// The problem a client sees.
    pub fn problem(&self) -> Problem {
        let (status, code) = self.status_and_code();
        let detail = match self {
            Self::Store(error) if matches!(**error, StoreError::Unavailable(_)) => {
                "the database cannot be reached at the moment; nothing was changed, try again".into()
            }
            Self::Store(error) if matches!(**error, StoreError::OutcomeUnknown(_)) => {
                "the database went away while the change was being committed; it may have happened: \
                 read it again, or repeat with the same Idempotency-Key"
                    .into()
            }
            Self::Store(error)
                if matches!(**error, StoreError::Contended(_) | StoreError::WriterStalled(_)) =>
            {
                "somebody else is changing the same thing; nothing was changed, try again".into()
            }
            Self::Store(error)
                if matches!(
                    **error,
                    StoreError::NotPrepared(_) | StoreError::EventTypeUnknown(_)
                ) =>
            {
                "the database is not prepared; run `sextant-control init`".into()
            }
            _ if status == StatusCode::INTERNAL_SERVER_ERROR => {
                "something failed inside the control plane; its log has the details under request_id"
                    .into()
            }
            _ => self.to_string(),
        };
        Problem::new(status.as_u16(), code, detail)
    }
}

fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotFound(_) => StatusCode::NOT_FOUND,
        Refusal::TokenForeign => StatusCode::UNAUTHORIZED,
        Refusal::TokenExpired(_)
        | Refusal::TokenUsed
        | Refusal::TokenRevoked
        | Refusal::TokenForOtherNode(_)
        | Refusal::CertificatesRevoked
        | Refusal::TokenExceeds
        | Refusal::ForeignKey(_) => StatusCode::FORBIDDEN,
        Refusal::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Tenancy(refusal) if refusal.is_about_content() => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Quota(exceeded) if exceeded.quota == Quota::EventsPerMinute => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Refusal::NodeLeft(_)
        | Refusal::EndpointTaken(..)
        | Refusal::NetworkInUse(..)
        | Refusal::Tenancy(_)
        | Refusal::Quota(_) => StatusCode::CONFLICT,
        Refusal::Ingress(refusal) => ingress_status(refusal),
        Refusal::StackModeUnsupported(_)
        | Refusal::TopologyUnsupported(_)
        | Refusal::Ipv4PrefixUnexpected
        | Refusal::MeshPrefix(_)
        | Refusal::Lifetime { .. }
        | Refusal::TokenOutlives(_)
        | Refusal::NoRoles
        | Refusal::EndpointUnusable(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn ingress_status(refusal: &IngressRefusal) -> StatusCode {
    match refusal {
        IngressRefusal::HostnameUnclaimed(_) | IngressRefusal::GrantUnknown(_) => {
            StatusCode::NOT_FOUND
        }
        IngressRefusal::EnvironmentInUse { .. }
        | IngressRefusal::TooManyHostnames(_)
        | IngressRefusal::HostnamePending(_)
        | IngressRefusal::HostnameUnproved { .. }
        | IngressRefusal::HostnameTaken { .. }
        | IngressRefusal::HostnameForeign(_)
        | IngressRefusal::HostnameOverlaps(_)
        | IngressRefusal::HostnameSite { .. }
        | IngressRefusal::HostnamesApart(_)
        | IngressRefusal::HostnameInUse(..)
        | IngressRefusal::NetworksDiffer(_)
        | IngressRefusal::GrantInUse(..)
        | IngressRefusal::PortTaken { .. }
        | IngressRefusal::RouteExists { .. } => StatusCode::CONFLICT,
        IngressRefusal::HostnameTooBroad(_)
        | IngressRefusal::HostnameReserved(_)
        | IngressRefusal::HostnameNeeded(_)
        | IngressRefusal::HintReserved(_)
        | IngressRefusal::EndpointReserved(_)
        | IngressRefusal::AddOnNeeded { .. }
        | IngressRefusal::MatchHost(_)
        | IngressRefusal::Port(_)
        | IngressRefusal::Grant(_)
        | IngressRefusal::Reason
        | IngressRefusal::PortShared(..)
        | IngressRefusal::ProcessTypeUnknown { .. }
        | IngressRefusal::BackendPort => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn store_status(error: &StoreError) -> (StatusCode, &'static str) {
    match error {
        StoreError::Refused(refusal) => (refusal_status(refusal), refusal.code()),
        StoreError::Ipam(IpamRefusal::Overlap(_)) | StoreError::PrefixTaken => {
            (StatusCode::CONFLICT, "prefix-overlap")
        }
        StoreError::Ipam(IpamRefusal::PoolInUse(_)) => (StatusCode::CONFLICT, "network-in-use"),
        StoreError::Ipam(IpamRefusal::PoolUnknown(_)) => (StatusCode::NOT_FOUND, "not-found"),
        StoreError::Ipam(_) => (StatusCode::INSUFFICIENT_STORAGE, "addresses-exhausted"),
        StoreError::VersionConflict => (StatusCode::CONFLICT, "concurrent-change"),
        StoreError::NameTaken(_) => (StatusCode::CONFLICT, "name-taken"),
        StoreError::KeyTaken => (StatusCode::CONFLICT, "key-taken"),
        StoreError::IdempotencyMismatch => {
            (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused")
        }
        StoreError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        StoreError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "database-unavailable"),
        StoreError::Contended(_) | StoreError::WriterStalled(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "busy")
        }
        StoreError::NotPrepared(_) | StoreError::EventTypeUnknown(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "database-not-prepared")
        }
        StoreError::Filling(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
        StoreError::WrittenByNewer { .. } => (StatusCode::SERVICE_UNAVAILABLE, "newer-version"),
        StoreError::OutcomeUnknown(_) => (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown"),
        StoreError::Driver(_)
        | StoreError::Inconsistent { .. }
        | StoreError::Migration(_)
        | StoreError::OwnerLacks { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// The problem of a response, for the request log; the log alone sees `internal`.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Stable word.
    pub code: String,
    /// The whole truth.
    pub internal: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let logged = Logged { code: problem.code.clone(), internal: self.to_string() };
        let mut response = problem_response(&problem);
        if matches!(self, Self::Unauthenticated(_)) {
            let challenge = HeaderValue::from_static("Bearer realm=\"sextant\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        let wait = match self {
            Self::TooManyFailures => Some(HeaderValue::from_static("60")),
            Self::TooManyConnections(_) | Self::TooManyStreams(_) => {
                Some(HeaderValue::from_static("10"))
            }
            _ => match response.status() {
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                    Some(HeaderValue::from_static("1"))
                }
                _ => None,
            },
        };
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        // A connection without a place, and one whose body may still come, are not gone on with.
        if matches!(self, Self::TooManyConnections(_) | Self::BodyTooSlow) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static(CLOSE));
        }
        response.extensions_mut().insert(logged);
        response
    }
}

/// A problem as a response.
pub fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Every quoted word with a hyphen, or a known single word, that stands in the sources of codes.
    fn codes_in(source: &str) -> BTreeSet<String> {
        let words = source.split('"').skip(1).step_by(2);
        let code = |word: &&str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        words.filter(code).map(str::to_owned).collect()
    }

    #[test]
    fn every_code_is_documented_with_what_to_do() {
        let documented = include_str!("../../../docs/problems.md");
        let model = include_str!("../../model/src/aggregate.rs");
        let refusals = model.split("fn code").nth(1).and_then(|rest| rest.split("\nfn ").next());
        let tenancy = include_str!("../../model/src/aggregate/tenancy.rs");
        let tenancy = tenancy.split("fn code").nth(1).and_then(|rest| rest.split("///").next());
        let ingress = include_str!("../../model/src/aggregate/ingress.rs");
        let ingress = ingress.split("fn code").nth(1).and_then(|rest| rest.split("\nfn ").next());
        let dns = include_str!("dns.rs").split("fn code").nth(1);
        let dns = dns.and_then(|rest| rest.split("\n///").next());
        let errors = include_str!("error.rs");
        let statuses = errors.split("fn status_and_code").nth(1);
        let statuses = statuses.and_then(|rest| rest.split("#[cfg(test)]").next());
        let stream = include_str!("http/stream.rs").split("fn say_goodbye").nth(1);
        let mut codes = BTreeSet::new();
        for source in [refusals, tenancy, ingress, dns, statuses, stream] {
            codes.extend(codes_in(source.expect("the functions that name codes")));
        }
        assert!(codes.len() > 30, "{codes:?}");
        let missing: Vec<_> =
            codes.iter().filter(|code| !documented.contains(&format!("| `{code}` |"))).collect();
        assert!(missing.is_empty(), "not in docs/problems.md: {missing:?}");
    }
}
