//! Parts of requests, with problems instead of the framework's texts.

use axum::{
    extract::{FromRequest, FromRequestParts, Request, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use sextant_api::page::{DEFAULT_LIMIT, MAX_LIMIT};
use sextant_store::read::PageRequest;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{ca::hex, error::ApiError};

/// A JSON body, bounded by the router.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(JsonRejection::JsonDataError(error)) => {
                Err(ApiError::Unprocessable(with_field(&error)))
            }
            Err(JsonRejection::JsonSyntaxError(error)) => {
                Err(ApiError::BadRequest { code: "body-malformed", detail: innermost(&error) })
            }
            Err(JsonRejection::MissingJsonContentType(_)) => Err(ApiError::MediaType),
            Err(JsonRejection::BytesRejection(error)) => {
                if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Err(ApiError::TooLarge)
                } else {
                    Err(ApiError::invalid(error.body_text()))
                }
            }
            Err(other) => Err(ApiError::invalid(other.body_text())),
        }
    }
}

/// Path parameters.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(error) => {
                Err(ApiError::invalid(format!("the path is not valid: {}", error.body_text())))
            }
        }
    }
}

/// Query parameters.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => {
                Err(ApiError::invalid(format!("the query is not valid: {}", error.body_text())))
            }
        }
    }
}

/// Parameters of every list.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `next_after` of the page before.
    #[param(max_length = 64)]
    pub after: Option<String>,
    /// Most items, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

impl ListQuery {
    /// Checked.
    pub fn page(&self) -> Result<PageRequest, ApiError> {
        let after = self.after.as_deref().filter(|after| !after.is_empty());
        let after = after.map(Uuid::try_parse).transpose().map_err(|_| ApiError::BadRequest {
            code: "cursor-invalid",
            detail: "after is not a value of next_after; start the list again without it".into(),
        })?;
        Ok(PageRequest { after, limit: checked_limit(self.limit)? })
    }
}

/// The limit of a list or of a page of events.
pub fn checked_limit(limit: Option<u32>) -> Result<u32, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::invalid(format!("limit {limit} is outside 1 to {MAX_LIMIT}")))
    }
}

/// The version an unsafe request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Not given.
    Absent,
    /// Any version.
    Any,
    /// This one.
    Version(i32),
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(text) = header_text(&parts.headers, header::IF_MATCH.as_str())? else {
            return Ok(Self::Absent);
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        let version = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let version = version.and_then(|digits| digits.parse().ok());
        version.map(Self::Version).ok_or_else(|| {
            ApiError::invalid("If-Match is not an ETag of this API, such as \"3\" in quotes")
        })
    }
}

impl IfMatch {
    /// Holds the request against the version there is.
    pub fn check(self, version: i32) -> Result<(), ApiError> {
        match self {
            Self::Version(expected) if expected != version => Err(ApiError::PreconditionFailed),
            _ => Ok(()),
        }
    }

    /// The same, for requests that must name a version.
    pub fn require(self, version: i32) -> Result<(), ApiError> {
        if self == Self::Absent { Err(ApiError::PreconditionRequired) } else { self.check(version) }
    }
}

/// The `Idempotency-Key` of a request, 1 to 255 visible ASCII characters.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let key = header_text(&parts.headers, "idempotency-key")?;
        if key.is_some_and(|key| key.is_empty() || key.len() > 255) {
            return Err(ApiError::invalid("Idempotency-Key must have 1 to 255 characters"));
        }
        Ok(Self(key.map(str::to_owned)))
    }
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, ApiError> {
    let text = headers.get(name).map(|value| value.to_str()).transpose();
    text.map_err(|_| ApiError::invalid(format!("header {name} is not visible ASCII")))
}

/// What makes two requests the same: method, path and body as it was understood.
pub fn request_hash(operation: &str, body: &impl serde::Serialize) -> String {
    let mut hash = Sha256::new();
    hash.update(operation.as_bytes());
    hash.update([0]);
    hash.update(serde_json::to_vec(body).unwrap_or_default());
    hex(&hash.finalize())
}

/// The innermost error but one names the field, and ends with the innermost.
fn with_field(error: &dyn std::error::Error) -> String {
    let (mut named, mut cause) = (None, error);
    while let Some(source) = cause.source() {
        named = Some(cause);
        cause = source;
    }
    named.map_or_else(|| cause.to_string(), ToString::to_string)
}

/// The framework wraps the useful sentence in others.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
