//! Moments as people read them: how long ago, or exactly.

use sextant_model::Timestamp;
use time::{OffsetDateTime, UtcOffset};

use crate::duration::short;

/// How a command shows moments.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    now: Timestamp,
    exact: bool,
}

impl Moments {
    /// As ages at `now`, or exactly, in UTC.
    pub fn new(now: Timestamp, exact: bool) -> Self {
        Self { now, exact }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The title of a column of past moments: `exactly` if that is how they are shown.
    pub fn title<'a>(&self, exactly: &'a str) -> &'a str {
        if self.exact { exactly } else { "age" }
    }

    /// A past moment in a column: `3h`.
    pub fn age(&self, at: Timestamp) -> String {
        if self.exact { exact(at.0) } else { short(self.now.since(at).as_secs()) }
    }

    /// A moment that may lie ahead: `in 42m`, `3h ago`.
    pub fn relative(&self, at: Timestamp) -> String {
        if self.exact {
            return exact(at.0);
        }
        // What was made by this very command lies a little ahead.
        match (at.since(self.now).as_secs(), self.now.since(at).as_secs()) {
            (0..3, 0) => "now".into(),
            (0, past) => format!("{} ago", short(past)),
            (future, _) => format!("in {}", short(future)),
        }
    }

    /// A moment by itself: `2026-01-01T00:00:00Z (3h ago)`.
    pub fn full(&self, at: Timestamp) -> String {
        if self.exact { exact(at.0) } else { format!("{} ({})", exact(at.0), self.relative(at)) }
    }
}

/// RFC 3339 in UTC, to the second.
pub fn exact(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (hour, minute, second) = at.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", at.date())
}

/// By how much a clock is ahead (positive) or behind: `350ms ahead`, `4d behind`.
pub fn skew(milliseconds: i64) -> String {
    let direction = if milliseconds < 0 { "behind" } else { "ahead" };
    match milliseconds.unsigned_abs() {
        0 => "none".into(),
        small @ 1..10_000 => format!("{small}ms {direction}"),
        large => format!("{} {direction}", short(large / 1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + seconds).expect("moment")
    }

    #[test]
    fn moments_are_ages_or_exact_to_the_second() {
        let ages = Moments::new(at(0), false);
        assert_eq!(ages.title("created at"), "age");
        assert_eq!(ages.age(at(-7200)), "2h");
        assert_eq!(ages.relative(at(600)), "in 10m");
        assert_eq!(ages.relative(at(-60)), "60s ago");
        assert_eq!(ages.relative(at(1)), "now");
        assert_eq!(ages.full(at(-60)), "2023-11-14T22:12:20Z (60s ago)");
        // A clock that is a little behind that of the control plane makes nothing negative.
        assert_eq!(ages.age(at(5)), "0s");
        let exact = Moments::new(at(0), true);
        assert_eq!(exact.title("created at"), "created at");
        for text in [exact.age(at(0)), exact.relative(at(0)), exact.full(at(0))] {
            assert_eq!(text, "2023-11-14T22:13:20Z");
        }
    }

    #[test]
    fn a_skew_is_said_in_a_unit_that_can_be_read() {
        for (milliseconds, text) in [
            (0, "none"),
            (350, "350ms ahead"),
            (-5001, "5001ms behind"),
            (345_599_997, "3d ahead"),
            (-3_600_000, "60m behind"),
        ] {
            assert_eq!(skew(milliseconds), text);
        }
    }
}
