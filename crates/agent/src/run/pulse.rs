//! A sign of life for the watchdog.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// When the loop last came round.
#[derive(Debug)]
pub struct Pulse {
    started_at: Instant,
    last_s: AtomicU64,
}

impl Pulse {
    /// It has just begun.
    pub fn new() -> Self {
        Self { started_at: Instant::now(), last_s: AtomicU64::new(0) }
    }

    /// It comes round now.
    pub fn beat(&self) {
        self.last_s.store(self.started_at.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Time since then, to the second.
    pub fn age(&self) -> Duration {
        let last = Duration::from_secs(self.last_s.load(Ordering::Relaxed));
        self.started_at.elapsed().saturating_sub(last)
    }
}
