//! What a node is to the control plane, said in a way that needs no clock (ADR 0015).

use serde::{Deserialize, Serialize};
use sextant_model::{Timestamp, standing::Standing};
use utoipa::ToSchema;

/// Body of `POST /v1/node/standing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StandingRequest {
    /// 64 lowercase hex digits that the node has just drawn: an old answer does not fit them.
    #[schema(min_length = 64, max_length = 64)]
    pub nonce: String,
}

/// Answer of `POST /v1/node/standing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignedStanding {
    /// What the node is.
    pub standing: Standing,
    /// The control plane's clock.
    pub at: Timestamp,
    /// Signature of the platform's CA over nonce, node, standing and time, in base64.
    pub signature: String,
}
