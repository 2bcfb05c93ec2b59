//! The texts of the two files.

use serde::{Deserialize, Serialize};
use sextant_model::{
    Cursor, Event,
    routing::{Routing, desired::RoutingSnapshot},
};
use sha2::{Digest, Sha256};

use super::Saved;

const VERSION: u64 = 1;

/// Why a saved state cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not even text.
    #[error("it is not text")]
    NotText,
    /// Cut short, or not of the right form.
    #[error("it is truncated or not valid: {0}")]
    Form(String),
    /// Complete, but not what was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// Written by a later edge.
    #[error("it has version {0}, and this edge knows version {VERSION}")]
    Version(u64),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Where the stream goes on.
    pub cursor: Cursor,
    /// What happened; nothing of interest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
}

/// One line of the journal. Each names the one before it, so that nothing can be missing between.
#[derive(Serialize, Deserialize)]
struct Line<E> {
    after: i64,
    entry: E,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u64,
    cursor: Cursor,
    sha256: String,
}

/// A snapshot as text.
pub fn encode_snapshot(cursor: Cursor, routing: &RoutingSnapshot) -> serde_json::Result<String> {
    let body = serde_json::to_string(routing)?;
    let head = Head { version: VERSION, cursor, sha256: checksum(&body) };
    Ok(format!("{}\n{body}\n", serde_json::to_string(&head)?))
}

/// Reads a snapshot.
pub fn decode_snapshot(text: &str) -> Result<Saved, Damage> {
    let form = |error: serde_json::Error| Damage::Form(error.to_string());
    let (head, body) = text.split_once('\n').ok_or(Damage::Form("it has no head".into()))?;
    let version: serde_json::Value = serde_json::from_str(head).map_err(form)?;
    match version["version"].as_u64() {
        Some(VERSION) => {}
        Some(later) => return Err(Damage::Version(later)),
        None => return Err(Damage::Form("it has no version".into())),
    }
    let head: Head = serde_json::from_value(version).map_err(form)?;
    let body = body.strip_suffix('\n').unwrap_or(body);
    if head.sha256 != checksum(body) {
        return Err(Damage::Checksum);
    }
    let snapshot: RoutingSnapshot = serde_json::from_str(body).map_err(form)?;
    Ok(Saved { cursor: head.cursor, routing: Routing::from(snapshot) })
}

/// A line of the journal, for what follows on `after`.
pub fn encode_line(after: Cursor, entry: &Entry) -> serde_json::Result<String> {
    let text = serde_json::to_string(&Line { after: after.event_id, entry })?;
    Ok(format!("{} {text}\n", &checksum(&text)[..16]))
}

/// Brings `saved` up to the last good line of the journal; whether that is its end. Lines of before
/// the snapshot are skipped.
pub fn replay(journal: &str, saved: &mut Saved) -> bool {
    for line in journal.split_inclusive('\n') {
        let Some(Line { after, entry }) = decode_line(line) else {
            tracing::warn!(cursor = %saved.cursor, "the journal of routes is cut short or damaged");
            return false;
        };
        // Another epoch: the journal is older than the snapshot.
        if entry.cursor.epoch != saved.cursor.epoch
            || entry.cursor.event_id <= saved.cursor.event_id
        {
            continue;
        }
        if after != saved.cursor.event_id {
            tracing::warn!(cursor = %saved.cursor, after, "the journal of routes has a gap");
            return false;
        }
        if let Some(event) = &entry.event {
            saved.routing.apply(event);
        }
        saved.cursor = entry.cursor;
    }
    true
}

fn decode_line(line: &str) -> Option<Line<Entry>> {
    let (sum, text) = line.strip_suffix('\n')?.split_once(' ')?;
    if sum != &checksum(text)[..16] {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn checksum(text: &str) -> String {
    use std::fmt::Write;
    Sha256::digest(text).iter().fold(String::with_capacity(64), |mut sum, byte| {
        let _ = write!(sum, "{byte:02x}");
        sum
    })
}
