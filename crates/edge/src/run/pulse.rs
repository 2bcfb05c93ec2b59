//! Signs of life for the service manager's watchdog.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{status::Shared, timer::Moment};

/// A loop that has not come round for so long hangs; it does so every second.
const LOOP_LIMIT: Duration = Duration::from_secs(60);
/// The same for workers, which wait for nothing but the kernel.
const WORKER_LIMIT: Duration = Duration::from_secs(10);

/// When the control loop last came round.
#[derive(Debug)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// It has just begun.
    pub fn new() -> Self {
        Self(AtomicU64::new(Moment::now().as_micros()))
    }

    /// It comes round now.
    pub fn beat(&self) {
        self.0.store(Moment::now().as_micros(), Relaxed);
    }

    fn last(&self) -> Moment {
        Moment::from_micros(self.0.load(Relaxed))
    }
}

/// Whether everything lives: the loop, every worker, and a table that can be looked into.
pub fn is_alive(pulse: &Pulse, shared: &Shared, now: Moment) -> bool {
    if now.since(pulse.last()) > LOOP_LIMIT {
        return false;
    }
    let snapshot = shared.published.load();
    if let Some((listen, _)) = snapshot.table.listeners().next()
        && snapshot.table.listener(listen).is_none()
    {
        return false;
    }
    // Workers that have drained are gone.
    shared.draining.load(Relaxed) || now.since(shared.workers.heartbeat()) < WORKER_LIMIT
}

#[cfg(test)]
mod tests {
    use std::{
        hash::RandomState,
        sync::{Arc, atomic::AtomicBool},
        time::Instant,
    };

    use arc_swap::ArcSwap;

    use super::*;
    use crate::{
        access,
        limits::{LimitSettings, Limits},
        table::Published,
        worker::{Settings, Workers},
    };

    fn shared() -> Shared {
        let published = Arc::new(Published::default());
        let hashers = [RandomState::new(), RandomState::new()];
        let limits = Arc::new(Limits::new(LimitSettings::default(), hashers));
        let workers = Workers::start(1, Settings::default(), &published, &limits, None);
        Shared {
            published,
            workers: Arc::new(workers.expect("started")),
            limits,
            access: access::queue(1).0,
            access_log: None,
            routes: ArcSwap::default(),
            situation: ArcSwap::default(),
            changes: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            generation: 0,
            started: Instant::now(),
        }
    }

    #[test]
    fn a_worker_or_a_loop_that_hangs_is_no_life() {
        let (pulse, shared) = (Pulse::new(), shared());
        assert!(is_alive(&pulse, &shared, Moment::now()));
        // Workers that have ended beat no more, as ones that hang.
        shared.workers.drain(Duration::ZERO);
        assert!(is_alive(&pulse, &shared, Moment::now()));
        let later = Moment::now() + WORKER_LIMIT + Duration::from_secs(1);
        assert!(!is_alive(&pulse, &shared, later));
        shared.draining.store(true, Relaxed);
        assert!(is_alive(&pulse, &shared, later), "they have drained");
        assert!(!is_alive(&pulse, &shared, later + LOOP_LIMIT));
    }
}
