//! Where the follower stands, and what a frame means there: the part of the follower that decides.

use sextant_model::Cursor;

use super::Item;
use crate::Frame;

/// The last position that was handed to the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(Option<Cursor>);

/// What to do with a frame.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub enum Step {
    /// Give it to the consumer.
    Hand(Item),
    /// The consumer has it already, or it is only a sign of life.
    Skip,
    /// Open the stream again, from the new position.
    Reconnect(String),
    /// The server has ended this client's access.
    Refused {
        /// Stable word.
        code: String,
        /// The same for people.
        detail: String,
    },
}

impl Position {
    /// Starts at `after`; needs a snapshot if absent.
    pub fn new(after: Option<Cursor>) -> Self {
        Self(after)
    }

    /// Where to resume; a snapshot first if `None`.
    pub fn cursor(&self) -> Option<Cursor> {
        self.0
    }

    /// Forgets the position: the next thing must be a snapshot.
    pub fn reset(&mut self) {
        self.0 = None;
    }

    /// Takes in the next frame. Events come out once and in order, whatever the server repeats;
    /// what does not continue from here leads to a new snapshot, never to a gap.
    pub fn advance(&mut self, frame: Frame) -> Step {
        match frame {
            Frame::Snapshot { cursor, state } => {
                self.0 = Some(cursor);
                Step::Hand(Item::Snapshot { cursor, state })
            }
            Frame::Event { cursor, event } => match self.place(cursor) {
                Place::Next => Step::Hand(Item::Event { cursor, event }),
                Place::Seen => Step::Skip,
                Place::Elsewhere => self.lost(),
            },
            Frame::Bookmark { cursor } => match self.place(cursor) {
                Place::Next => Step::Hand(Item::Bookmark { cursor }),
                Place::Seen => Step::Skip,
                Place::Elsewhere => self.lost(),
            },
            Frame::Heartbeat { .. } | Frame::Unknown => Step::Skip,
            Frame::Reset { code, detail } => match code.as_str() {
                // The position is still good: only the connection ends.
                "lagged" | "shutting-down" => Step::Reconnect(detail),
                "foreign-epoch" | "beyond-head" => {
                    self.reset();
                    Step::Reconnect(detail)
                }
                _ => Step::Refused { code, detail },
            },
        }
    }

    fn place(&mut self, cursor: Cursor) -> Place {
        match self.0 {
            Some(here) if here.epoch != cursor.epoch => Place::Elsewhere,
            Some(here) if here.event_id >= cursor.event_id => Place::Seen,
            Some(_) => {
                self.0 = Some(cursor);
                Place::Next
            }
            None => Place::Elsewhere,
        }
    }

    fn lost(&mut self) -> Step {
        self.reset();
        Step::Reconnect("the stream does not continue from here; taking a new snapshot".into())
    }
}

enum Place {
    Next,
    Seen,
    Elsewhere,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::SnapshotState;
    use sextant_model::{Epoch, Timestamp};
    use uuid::Uuid;

    fn cursor(epoch: u128, event_id: i64) -> Cursor {
        Cursor { epoch: Epoch(Uuid::from_u128(epoch)), event_id }
    }

    fn bookmark(event_id: i64) -> Frame {
        Frame::Bookmark { cursor: cursor(1, event_id) }
    }

    fn snapshot(epoch: u128, event_id: i64) -> Frame {
        let state = SnapshotState::Platform { networks: vec![], nodes: vec![] };
        Frame::Snapshot { cursor: cursor(epoch, event_id), state }
    }

    #[test]
    fn what_was_seen_is_skipped_and_what_is_next_is_handed_on() {
        let mut position = Position::new(Some(cursor(1, 5)));
        assert_eq!(position.advance(bookmark(5)), Step::Skip);
        assert!(matches!(position.advance(bookmark(6)), Step::Hand(Item::Bookmark { .. })));
        assert_eq!(position.advance(bookmark(6)), Step::Skip);
        assert_eq!(position.cursor(), Some(cursor(1, 6)));
    }

    #[test]
    fn another_epoch_or_a_missing_snapshot_never_becomes_a_gap() {
        let mut position = Position::new(Some(cursor(1, 5)));
        let foreign = Frame::Bookmark { cursor: cursor(2, 6) };
        assert!(matches!(position.advance(foreign), Step::Reconnect(_)));
        assert_eq!(position.cursor(), None);
        assert!(matches!(position.advance(bookmark(1)), Step::Reconnect(_)));
        assert!(matches!(position.advance(snapshot(2, 3)), Step::Hand(Item::Snapshot { .. })));
        assert_eq!(position.cursor(), Some(cursor(2, 3)));
    }

    #[test]
    fn a_reset_keeps_the_position_only_if_it_is_still_good() {
        for (code, keeps) in [("lagged", true), ("shutting-down", true), ("foreign-epoch", false)] {
            let mut position = Position::new(Some(cursor(1, 5)));
            let reset = Frame::Reset { code: code.into(), detail: String::new() };
            assert!(matches!(position.advance(reset), Step::Reconnect(_)));
            assert_eq!(position.cursor().is_some(), keeps, "{code}");
        }
        let mut position = Position::new(Some(cursor(1, 5)));
        let ended = Frame::Reset { code: "node-left".into(), detail: String::new() };
        assert!(matches!(position.advance(ended), Step::Refused { .. }));
    }

    #[test]
    fn a_heartbeat_is_only_a_sign_of_life() {
        let mut position = Position::new(None);
        let at = Timestamp::from_unix_seconds(0).expect("time");
        assert_eq!(
            position.advance(Frame::Heartbeat { at, settled: None, log_age_ms: None }),
            Step::Skip
        );
        assert_eq!(position.advance(Frame::Unknown), Step::Skip);
    }
}
