//! Errors as clients see them: RFC 9457 problem details with a stable `code`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for people (`title`, `detail`) and for programs (`code`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Identifies the problem: `urn:sextant:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code, readable.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable word to act on. The list is in `docs/problems.md`.
    pub code: String,
    /// What happened and what to do about it.
    pub detail: String,
    /// The request, as it stands in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem with this status, code and explanation.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:sextant:problem:{code}"),
            title: code.replace('-', " "),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            request_id: None,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}
