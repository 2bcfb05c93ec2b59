//! Lists, a page at a time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list, in order of creation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// At most `limit` of them.
    pub items: Vec<T>,
    /// Give this as `after` to get the next page; absent on the last one. Opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// Items per page if the caller does not say.
pub const DEFAULT_LIMIT: u32 = 100;

/// Most items per page.
pub const MAX_LIMIT: u32 = 1000;
