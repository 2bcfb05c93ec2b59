//! The text of `state.json`: `{version, cursor, membership, sha256}`. The checksum covers the rest
//! as it stands in the file, so that a later version with more fields still believes it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::SavedState;

const VERSION: u64 = 1;

/// Why a saved state cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not even text.
    #[error("it is not text")]
    NotText,
    /// Cut short, or not JSON of the right form.
    #[error("it is truncated or not valid: {0}")]
    Form(String),
    /// Complete, but not what was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// Written by a later agent.
    #[error("it has version {0}, and this agent knows version {VERSION}")]
    Version(u64),
}

pub fn encode(state: &SavedState) -> String {
    let mut content = json!({
        "version": VERSION,
        "cursor": state.cursor,
        "membership": state.membership,
    });
    let sum = checksum(&content);
    if let Value::Object(fields) = &mut content {
        fields.insert("sha256".into(), Value::String(sum));
    }
    content.to_string()
}

pub fn decode(text: &str) -> Result<SavedState, Damage> {
    let form = |error: serde_json::Error| Damage::Form(error.to_string());
    let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(form)?;
    let sum = fields.remove("sha256");
    let mut content = Value::Object(fields);
    match content["version"].as_u64() {
        Some(VERSION) => {}
        Some(later) => return Err(Damage::Version(later)),
        None => return Err(Damage::Form("it has no version".into())),
    }
    if sum.as_ref().and_then(Value::as_str) != Some(checksum(&content).as_str()) {
        return Err(Damage::Checksum);
    }
    // Agents that knew of no workloads wrote neither.
    if let Some(membership) = content["membership"].as_object_mut() {
        membership.entry("workloads").or_insert_with(|| json!({}));
        membership.entry("released").or_insert_with(|| json!([]));
    }
    Ok(SavedState {
        cursor: serde_json::from_value(content["cursor"].take()).map_err(form)?,
        membership: serde_json::from_value(content["membership"].take()).map_err(form)?,
    })
}

pub(super) fn checksum(content: &Value) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(content.to_string());
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
