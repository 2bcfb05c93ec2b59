//! Times in which no connection can be accepted: one line when one begins, one when it is over.

use std::{io, time::Duration};

use tokio::time::Instant;

/// Without an error for so long, an outage is over.
const QUIET: Duration = Duration::from_secs(10);

/// An outage, if there is one.
#[derive(Debug, Default)]
pub struct Outage(Option<Errors>);

#[derive(Debug)]
struct Errors {
    last: Instant,
    count: u64,
}

impl Outage {
    /// A connection could not be accepted.
    pub fn failed(&mut self, error: &io::Error, now: Instant) {
        if self.add(now) {
            tracing::warn!(
                %error,
                "connections cannot be accepted; if it is for want of descriptors, raise the limit of open files (LimitNOFILE=)"
            );
        }
    }

    /// A connection was accepted.
    pub fn accepted(&mut self, now: Instant) {
        if let Some(count) = self.end(now) {
            tracing::info!(errors = count, "connections are accepted again");
        }
    }

    /// Whether this error begins an outage.
    fn add(&mut self, now: Instant) -> bool {
        match &mut self.0 {
            Some(errors) => {
                (errors.last, errors.count) = (now, errors.count + 1);
                false
            }
            none => {
                *none = Some(Errors { last: now, count: 1 });
                true
            }
        }
    }

    /// The number of errors, if an outage is over.
    fn end(&mut self, now: Instant) -> Option<u64> {
        let over = |errors: &mut Errors| now.duration_since(errors.last) >= QUIET;
        self.0.take_if(over).map(|errors| errors.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_one_line_however_many_errors_and_successes_it_has() {
        let (mut outage, begin) = (Outage::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(outage.end(begin), None);
        assert!(outage.add(after(0)), "the first is told");
        for second in 1..100 {
            assert_eq!(outage.end(after(second)), None, "one got through, the next will not");
            assert!(!outage.add(after(second)));
        }
        assert_eq!(outage.end(after(99 + 9)), None);
        assert_eq!(outage.end(after(99 + 10)), Some(100));
        assert_eq!(outage.end(after(200)), None);
        assert!(outage.add(after(201)), "another one");
    }
}
