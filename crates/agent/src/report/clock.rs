//! What the answers to reports say about the clock of this machine.

use std::{collections::VecDeque, time::Instant};

use sextant_model::Timestamp;

/// The quickest of so many answers says most: each one bounds the difference by what it took.
const ANSWERS: usize = 6;
/// A clock that moved so much against the machine's uptime, in milliseconds, was set.
const STEP_MS: i128 = 1000;

/// The last answers.
#[derive(Debug, Default)]
pub(super) struct ClockWindow {
    /// The clock here less what the answer said, in milliseconds.
    answers: VecDeque<i64>,
    last: Option<(Instant, Timestamp)>,
}

impl ClockWindow {
    /// At the moment `now` an answer came that says `theirs`, when the clock here said `own`.
    /// Returns by how much the clock here is ahead at most, in milliseconds.
    pub(super) fn answered(&mut self, now: Instant, own: Timestamp, theirs: Timestamp) -> i64 {
        if let Some((then, said)) = self.last.replace((now, own)) {
            let passed = now.saturating_duration_since(then).as_millis();
            let moved = (own.0 - said.0).whole_milliseconds() - i128::try_from(passed).unwrap_or(0);
            if moved.abs() > STEP_MS {
                self.answers.clear();
            }
        }
        let ahead = i64::try_from((own.0 - theirs.0).whole_milliseconds()).unwrap_or(i64::MAX);
        self.answers.push_back(ahead);
        if self.answers.len() > ANSWERS {
            self.answers.pop_front();
        }
        self.answers.iter().copied().min().unwrap_or(ahead)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_quickest_answer_counts_until_the_clock_is_set() {
        let start = Instant::now();
        let at = |millis: i64| {
            Timestamp::from_unix_seconds(1_800_000_000)
                .map(|time| Timestamp(time.0 + time::Duration::milliseconds(millis)))
                .expect("time")
        };
        let mut window = ClockWindow::default();
        let mut answered = |passed: u64, own: i64, theirs: i64| {
            window.answered(start + Duration::from_millis(passed), at(own), at(theirs))
        };
        assert_eq!(answered(0, 0, -2), 2);
        assert_eq!(answered(5000, 5000, 0), 2, "this answer took five seconds");
        // The clock was an hour behind from now on.
        assert_eq!(answered(10_000, 10_000 - 3_600_000, 9_999), 1 - 3_600_000);
        assert_eq!(answered(15_000, 15_000, 14_990), 10, "and was set right");
    }
}
