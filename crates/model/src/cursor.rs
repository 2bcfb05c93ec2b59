//! Where a follower stands in the event stream.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One life of the event log. Promotion of a standby and restore from a backup start a new one,
/// because ids that were already sent may be issued again with other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Uuid)]
pub struct Epoch(pub Uuid);

/// A position in the stream: everything up to and including `event_id` has been seen.
///
/// Written `EPOCH:EVENT_ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// The life of the log the id belongs to.
    pub epoch: Epoch,
    /// The last event seen; 0 before the first.
    pub event_id: i64,
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cursor \"{0}\" is not of the form EPOCH:EVENT_ID; take one from a frame or from next_after"
)]
pub struct InvalidCursor(String);

/// Why the server cannot continue from a cursor; the follower must take a new snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorGone {
    /// The log was restored or a standby was promoted since.
    #[error("the cursor belongs to another epoch of the event log; take a new snapshot")]
    ForeignEpoch,
    /// The log ends before the cursor.
    #[error("the cursor lies beyond the end of the event log; take a new snapshot")]
    BeyondHead,
}

impl Cursor {
    /// Whether a stream with this epoch and head can continue from the cursor.
    pub fn check(&self, epoch: Epoch, head: i64) -> Result<(), CursorGone> {
        if self.epoch != epoch {
            Err(CursorGone::ForeignEpoch)
        } else if self.event_id > head {
            Err(CursorGone::BeyondHead)
        } else {
            Ok(())
        }
    }
}

impl utoipa::PartialSchema for Cursor {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("a position in the stream, EPOCH:EVENT_ID"))
            .examples(["0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e:42"])
            .into()
    }
}

impl ToSchema for Cursor {}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.epoch, self.event_id)
    }
}

impl std::str::FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (epoch, event_id) = text.split_once(':')?;
            let event_id = event_id.parse().ok().filter(|id| *id >= 0)?;
            Some(Self { epoch: Epoch(Uuid::try_parse(epoch).ok()?), event_id })
        };
        parse().ok_or_else(|| InvalidCursor(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Cursor {
    type Error = InvalidCursor;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_continues_only_in_its_epoch_and_not_beyond_the_head() {
        let (here, elsewhere) = (Epoch(Uuid::from_u128(1)), Epoch(Uuid::from_u128(2)));
        let cursor = Cursor { epoch: here, event_id: 7 };
        assert_eq!(cursor.check(here, 7), Ok(()));
        assert_eq!(cursor.check(here, 6), Err(CursorGone::BeyondHead));
        assert_eq!(cursor.check(elsewhere, 9), Err(CursorGone::ForeignEpoch));
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "7", "x:7", "00000000-0000-0000-0000-000000000001:-1"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
