//! Percentiles of measured times.

use std::time::Duration;

/// Times, sorted.
#[derive(Clone, Debug)]
pub(super) struct Figures(Vec<Duration>);

impl Figures {
    /// In any order.
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The nearest rank: the least of the times that at least `percent` % of them do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// p50, p90, p99 and the longest, in milliseconds, in columns.
    pub(super) fn line(&self) -> String {
        let cells = [50, 90, 99, 100]
            .map(|percent| format!("{:>9.1}", self.percentile(percent).as_secs_f64() * 1000.0));
        cells.concat()
    }
}

/// The titles over [`Figures::line`].
pub(super) const TITLES: &str = "      p50      p90      p99      max   ms";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let figures = |times: std::ops::RangeInclusive<u64>| {
            Figures::new(times.rev().map(Duration::from_millis).collect())
        };
        let of = |count, percent| figures(1..=count).percentile(percent).as_millis();
        assert_eq!((of(100, 50), of(100, 99), of(100, 100)), (50, 99, 100));
        assert_eq!((of(50, 50), of(50, 90), of(50, 99)), (25, 45, 50));
        assert_eq!((of(1, 50), of(1, 99)), (1, 1));
        assert_eq!(Figures::new(Vec::new()).percentile(99), Duration::ZERO);
        assert_eq!(figures(1..=2).line(), "      1.0      2.0      2.0      2.0");
    }
}
