//! What came of the traffic.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Failures that are kept with their reasons.
const KEPT: usize = 20;

/// What came of all connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// New connections that were tried.
    pub connections: u64,
    /// Those of them that did not get what they came for.
    pub failed: u64,
    /// The first failures.
    pub failures: Vec<Failure>,
    /// How long the others took, in milliseconds, in order.
    pub times_ms: Vec<f64>,
    /// Connections that were held.
    pub held: u64,
    /// Those of them that broke.
    pub dropped: u64,
    /// Messages that came back on them.
    pub exchanges: u64,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Milliseconds after the traffic began.
    pub at_ms: f64,
    /// Where it went and what went wrong.
    pub what: String,
}

impl Tally {
    /// Whether something was done, and nothing failed.
    pub fn is_good(&self) -> bool {
        self.connections + self.exchanges > 0 && self.failed == 0 && self.dropped == 0
    }

    pub(super) fn fail(&mut self, after: Duration, what: String) {
        if self.failures.len() < KEPT {
            self.failures.push(Failure { at_ms: after.as_secs_f64() * 1000.0, what });
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connections, failed, held, dropped, exchanges, .. } = self;
        write!(f, "{connections} connections, {failed} failed")?;
        if *held > 0 {
            write!(f, "; {held} held, {dropped} dropped, {exchanges} messages on them")?;
        }
        for failure in &self.failures {
            write!(f, "\n  after {:.0} ms: {}", failure.at_ms, failure.what)?;
        }
        Ok(())
    }
}
