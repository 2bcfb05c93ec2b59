//! Whether the server that is followed is worth following: the part that decides.

use std::time::{Duration, Instant};

use crate::frame::LOG_AGE_LIMIT;

/// A connection that has lasted so long was a good one, whatever came over it. A shorter one may be
/// one of many, each ended by the same thing.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// Between two looks for a better server.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What a heartbeat means for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stay.
    Stay,
    /// The server has not read the log for so long: look whether another one has.
    Look {
        /// How long.
        age: Duration,
        /// It is the first time since the log was last read.
        first: bool,
    },
}

/// One connection, seen from its signs of life.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    opened: Instant,
    looked: Option<Instant>,
}

impl Standing {
    /// A connection that was just opened.
    pub fn new(now: Instant) -> Self {
        Self { opened: now, looked: None }
    }

    /// Whether its end is no reason to wait longer before the next one.
    pub fn was_good(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) >= GOOD_AFTER
    }

    /// Takes in a heartbeat. Servers of earlier versions do not say how old their log is.
    pub fn heartbeat(&mut self, log_age: Option<Duration>, now: Instant) -> Verdict {
        let Some(age) = log_age.filter(|age| *age > LOG_AGE_LIMIT) else {
            self.looked = None;
            return Verdict::Stay;
        };
        let first = self.looked.is_none();
        let due = |looked: Instant| now.saturating_duration_since(looked) >= LOOK_INTERVAL;
        if self.looked.is_none_or(due) {
            self.looked = Some(now);
            return Verdict::Look { age, first };
        }
        Verdict::Stay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_read_the_log_is_left_as_soon_as_another_one_does() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let seconds = |n| Some(Duration::from_secs(n));
        let mut standing = Standing::new(start);
        assert_eq!(standing.heartbeat(None, at(0)), Verdict::Stay, "an earlier version");
        assert_eq!(standing.heartbeat(seconds(10), at(5)), Verdict::Stay);
        let look = |n, first| Verdict::Look { age: Duration::from_secs(n), first };
        assert_eq!(standing.heartbeat(seconds(11), at(10)), look(11, true));
        assert_eq!(standing.heartbeat(seconds(16), at(15)), Verdict::Stay);
        assert_eq!(standing.heartbeat(seconds(21), at(20)), look(21, false));
        assert_eq!(standing.heartbeat(seconds(0), at(25)), Verdict::Stay);
        assert_eq!(standing.heartbeat(seconds(11), at(30)), look(11, true));
    }

    #[test]
    fn only_a_connection_that_lasted_ends_the_backoff() {
        let start = Instant::now();
        let standing = Standing::new(start);
        assert!(!standing.was_good(start + Duration::from_secs(9)));
        assert!(standing.was_good(start + Duration::from_secs(10)));
    }
}
