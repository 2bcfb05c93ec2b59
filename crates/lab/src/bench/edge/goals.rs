//! What sextant-edge has to reach, as ratios to the best of its peers.

use std::fmt;

use super::scenario::{Figure, Scenario};

/// A goal for one figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub(super) scenario: Scenario,
    pub(super) figure: Figure,
    pub(super) bound: Bound,
}

/// The bound of a ratio.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// Idle connections, where so many files may be open.
pub(super) const IDLE: usize = 10_000;

/// All goals.
///
/// A proxy that takes more connections than the load can make is judged by its processor time:
/// connections per second of a full core, which is what is counted if the core is full. The waiting of 256 connections is judged at a fixed rate: pinging as fast as it goes
/// makes every proxy as busy as it can be, and then the wait says how long the queue is.
pub(super) const GOALS: [Goal; 6] = [
    goal(Scenario::Stream { connections: 1 }, Figure::MillisecondsPerGigabyte, Bound::AtMost(0.8)),
    goal(Scenario::Stream { connections: 8 }, Figure::MillisecondsPerGigabyte, Bound::AtMost(0.8)),
    goal(Scenario::Connect { at_once: 64 }, Figure::ConnectionsPerCore, Bound::AtLeast(1.2)),
    goal(Scenario::Ping { connections: 1 }, Figure::P99Microseconds, Bound::AtMost(1.0)),
    goal(Scenario::Paced { connections: 256 }, Figure::P99Microseconds, Bound::AtMost(1.0)),
    goal(Scenario::Idle { connections: IDLE }, Figure::Mebibytes, Bound::AtMost(0.5)),
];

const fn goal(scenario: Scenario, figure: Figure, bound: Bound) -> Goal {
    Goal { scenario, figure, bound }
}

impl Goal {
    /// Whether it is about this load. A machine may not allow all the idle connections.
    pub(super) fn judges(&self, scenario: Scenario) -> bool {
        let both_idle =
            matches!((self.scenario, scenario), (Scenario::Idle { .. }, Scenario::Idle { .. }));
        both_idle || self.scenario == scenario
    }
}

impl Bound {
    pub(super) fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(bound) => ratio <= bound,
            Self::AtLeast(bound) => ratio >= bound,
        }
    }

    /// Whether `ratio` is further from the goal than `other`.
    pub(super) fn is_harder(self, ratio: f64, other: f64) -> bool {
        match self {
            Self::AtMost(_) => ratio > other,
            Self::AtLeast(_) => ratio < other,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "<= {bound:.1}"),
            Self::AtLeast(bound) => write!(f, ">= {bound:.1}"),
        }
    }
}
