//! What can be said for sure about a clock from messages that take an unknown time.

/// A difference of clocks that is worth a word, in milliseconds.
pub const SKEW_LIMIT_MS: i64 = 2000;

/// How far a clock is ahead of another, in milliseconds; negative if it is behind.
///
/// `at_least`: what its message said less the time of arrival. `at_most`: its time when a message
/// of the other arrived less what that said. A message that was long under way only makes these
/// bounds wider: what lies between them is not known, and 0 is the charitable guess. Without
/// `at_most` (an agent of an earlier version) the message is taken to have come at once.
pub fn clock_ahead_ms(at_least: i64, at_most: Option<i64>) -> i64 {
    match at_most {
        _ if at_least > 0 => at_least,
        Some(at_most) => at_most.min(0),
        None => at_least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_not_a_difference_of_clocks() {
        for (at_least, at_most, ahead) in [
            (-1, Some(1), 0),
            // The report took 5 s, or the answer before it did.
            (-5001, Some(1), 0),
            (-1, Some(5001), 0),
            (5000, Some(5002), 5000),
            // Behind by an hour; this report took 5 s more.
            (-3_605_000, Some(-3_600_000), -3_600_000),
            (-9000, None, -9000),
        ] {
            assert_eq!(clock_ahead_ms(at_least, at_most), ahead, "{at_least} {at_most:?}");
        }
    }
}
