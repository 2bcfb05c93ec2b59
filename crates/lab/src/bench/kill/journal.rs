//! What was asked of the control plane, and what it said.

use uuid::Uuid;

/// One request that should append one event.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// The event's type.
    pub(super) event_type: &'static str,
    /// The name in the event that no other write of its type has; empty if it has none.
    pub(super) name: String,
    /// The aggregate, where it is known before or by the answer.
    pub(super) id: Option<Uuid>,
    /// Its Idempotency-Key.
    pub(super) key: Option<String>,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// The last answer.
    pub(super) outcome: Outcome,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 2xx: it must be in the log.
    Acknowledged,
    /// "Nothing was changed", in answer to every attempt: it must not be in the log.
    Unchanged(String),
    /// No answer, or any other 5xx: it may be in the log, wholly.
    Unknown(String),
    /// 4xx: all writes are correct, so that this must not happen.
    Refused(String),
}

/// A row of `events`, as much of it as is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogRow {
    /// Position in the log.
    pub(super) event_id: i64,
    /// Kind of aggregate and its id.
    pub(super) aggregate: (String, Uuid),
    /// Position within the aggregate.
    pub(super) seq: i32,
    /// What happened.
    pub(super) event_type: String,
    /// A name in the payload, or nothing.
    pub(super) name: String,
}

impl LogRow {
    /// The query whose rows [`LogRow::parse`] reads.
    pub(super) const QUERY: &str =
        "SELECT event_id, aggregate_type, aggregate_id, aggregate_seq, event_type,
                coalesce(payload->>'name', payload->>'node_name', '')
         FROM events ORDER BY event_id";

    /// Reads a row of [`LogRow::QUERY`].
    pub(super) fn parse(row: &str) -> Option<Self> {
        let mut cells = row.split('\t');
        let event_id = cells.next()?.parse().ok()?;
        let aggregate = (cells.next()?.to_owned(), cells.next()?.parse().ok()?);
        let seq = cells.next()?.parse().ok()?;
        let (event_type, name) = (cells.next()?.to_owned(), cells.next()?.to_owned());
        Some(Self { event_id, aggregate, seq, event_type, name })
    }
}

impl Write {
    /// For people.
    pub(super) fn text(&self) -> String {
        let id = self.id.map(|id| id.to_string());
        let words = [Some(self.event_type), Some(self.name.as_str()), id.as_deref()];
        words.into_iter().flatten().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}
