//! The door of the API: which connections there may be, whose request is worked on next, and who was
//! refused. No stranger and no tenant takes the control plane away from the others (ADR 0014).
//!
//! ```text
//! accept -> entrance: a stranger's place -> TLS -> head -> who asks? -> their own place
//!                                                              |
//!                                             lane: a turn <---+---> refusals: log, count, keep
//! ```

pub mod admit;
pub mod entrance;
pub mod lane;
pub mod limits;
pub mod metrics;
pub mod places;
pub mod record;
pub mod refusals;
pub mod source;
pub mod streams;
pub mod turns;

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sextant_model::Timestamp;

use self::{
    entrance::Entrance,
    lane::Lane,
    limits::Limits,
    refusals::{Refusals, Subject},
    source::Source,
    streams::Streams,
};
use crate::error::ApiError;

/// What stands between those who ask and the work.
#[derive(Debug)]
pub struct Door {
    /// Every limit.
    pub limits: Limits,
    /// Connections.
    pub entrance: Entrance,
    /// Streams.
    pub streams: Streams,
    /// Requests without credentials.
    pub strangers: Lane,
    /// Requests of orgs.
    pub tenants: Lane,
    /// Those of them that read much.
    pub tenants_reading: Lane,
    /// Requests of operators of the platform.
    pub operators: Lane,
    /// Requests of nodes.
    pub nodes: Lane,
    /// Streams of operators and nodes that catch up.
    pub platform_reading: Lane,
    refusals: Mutex<Refusals>,
}

impl Door {
    /// Open, with nobody there.
    pub fn new(limits: Limits) -> Self {
        let work = limits.work;
        Self {
            limits,
            entrance: Entrance::new(limits.places),
            streams: Streams::new(limits.streams),
            strangers: Lane::new(work.strangers),
            tenants: Lane::new(work.tenants),
            tenants_reading: Lane::new(work.tenants_reading),
            operators: Lane::new(work.operators),
            nodes: Lane::new(work.nodes),
            platform_reading: Lane::new(work.platform_reading),
            refusals: Mutex::default(),
        }
    }

    /// Somebody was refused.
    pub fn refused(&self, from: IpAddr, code: &str, subject: Option<Subject>, now: Timestamp) {
        let line = self.refusals().record(from, code, subject, now);
        if let Some(line) = line {
            record::say(&line);
        }
    }

    /// Refuses those whose credentials were refused too often.
    pub fn check_failures(&self, from: IpAddr, now: Timestamp) -> Result<(), ApiError> {
        let source = Source::from(from);
        let most = match source {
            Source::Loopback => self.limits.failures_of_loopback,
            _ => self.limits.failures,
        };
        let mut refusals = self.refusals();
        let (lines, untold) = refusals.turn(now);
        let failed = refusals.has_failed(source, most);
        drop(refusals);
        record::sum_up(&lines, untold);
        if failed {
            self.refused(from, "too-many-failures", None, now);
            return Err(ApiError::TooManyFailures);
        }
        Ok(())
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
