//! Backends, what is known of each, and which one a connection goes to.
//!
//! A backend is known by what connections to it show (passive: failures in a row eject it for a
//! while) and by what active checks say. An active check is believed: a backend that is down gets
//! nothing. Ejection is a guess: where nothing better is left, an ejected backend is tried.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use crate::{own_address, timer::Moment};

#[cfg(test)]
mod tests;

/// One address that connections are forwarded to. Routes that share an address should share this.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    connections: AtomicU32,
    /// Attempts in a row that failed.
    failures: AtomicU32,
    /// Times in a row it was ejected.
    ejections: AtomicU32,
    /// End of the ejection in microseconds; 0 if it is not ejected.
    ejected_until: AtomicU64,
    health: AtomicU8,
    /// Whether the address is one of this host's own, and in microseconds since when that is known.
    on_this_host: AtomicBool,
    looked_at: AtomicU64,
}

/// What active checks say of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Not checked, or not yet: it is used.
    #[default]
    Unknown,
    /// The last checks succeeded.
    Up,
    /// The last checks failed: it is not used.
    Down,
}

/// Whether a backend may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usability {
    /// It may.
    Usable,
    /// Only if nothing better is left, until this moment. From then on one connection at a time
    /// tries it, until one succeeds.
    Ejected(Moment),
    /// It may not.
    Down,
}

/// When and for how long failures take a backend out of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failed attempts in a row.
    pub after: u32,
    /// For how long the first time; twice as long each further time in a row.
    pub first: Duration,
    /// Never longer than this.
    pub longest: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { after: 3, first: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }
}

/// A connection to a backend, counted as long as this lives.
#[derive(Debug)]
pub struct BackendLease {
    backend: Arc<Backend>,
    /// It decides whether an ejection ends.
    trial: bool,
    /// It stands for a connection.
    counts: bool,
}

/// How long an answer holds whether an address is this host's own.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// How long the one connection that tries an ejected backend may take before another may.
const TRIAL: Duration = Duration::from_secs(5);

impl Backend {
    /// A backend nothing is known of.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connections: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            health: AtomicU8::new(Health::Unknown as u8),
            on_this_host: AtomicBool::new(false),
            looked_at: AtomicU64::new(0),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether its address is one of this host's own. Addresses come and go: the kernel is asked
    /// again after a second.
    pub fn is_on_this_host(&self, now: Moment) -> bool {
        let looked_at = self.looked_at.load(Acquire);
        if looked_at == 0 || now.since(Moment::from_micros(looked_at)) >= KNOWN_FOR {
            self.on_this_host.store(own_address::is_own(self.address), Relaxed);
            self.looked_at.store(now.as_micros().max(1), Release);
        }
        self.on_this_host.load(Relaxed)
    }

    /// Connections to it now, of all workers, with those that are being made.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// What active checks say.
    pub fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            up if up == Health::Up as u8 => Health::Up,
            down if down == Health::Down as u8 => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// Takes what active checks say. One that is up again is no longer ejected.
    pub fn set_health(&self, health: Health) {
        let before = self.health.swap(health as u8, AcqRel);
        if health == Health::Up && before != Health::Up as u8 {
            self.forgive();
        }
    }

    /// Whether it may be chosen.
    pub fn usability(&self, now: Moment) -> Usability {
        if self.health() == Health::Down {
            return Usability::Down;
        }
        match self.ejected_until.load(Acquire) {
            0 => Usability::Usable,
            until => Usability::Ejected(Moment::from_micros(until).max(now)),
        }
    }

    /// Takes the trial of a backend whose ejection is over; one caller gets it.
    fn claim_trial(&self, now: Moment) -> bool {
        let until = self.ejected_until.load(Acquire);
        let hold = (now + TRIAL).as_micros();
        until != 0
            && until <= now.as_micros()
            && self.ejected_until.compare_exchange(until, hold, AcqRel, Relaxed).is_ok()
    }

    fn lease(self: &Arc<Self>, trial: bool) -> BackendLease {
        self.connections.fetch_add(1, Relaxed);
        BackendLease { backend: Arc::clone(self), trial, counts: true }
    }

    fn eject(&self, now: Moment, ejection: &Ejection) {
        let times = self.ejections.fetch_add(1, AcqRel).min(16);
        let length = ejection.first.saturating_mul(1 << times).min(ejection.longest);
        self.failures.store(0, Release);
        self.ejected_until.store((now + length).as_micros().max(1), Release);
    }

    fn forgive(&self) {
        self.failures.store(0, Release);
        self.ejections.store(0, Release);
        self.ejected_until.store(0, Release);
    }
}

impl BackendLease {
    /// Whose connection it is.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The connection to the backend is over, though its client still has to hear of it.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.counts) {
            self.backend.connections.fetch_sub(1, Relaxed);
        }
    }

    /// The connection was made.
    pub fn connected(&self) {
        let backend = &self.backend;
        // Plain loads first: nearly always there is nothing to forgive, and no line to fight for.
        if backend.failures.load(Relaxed) != 0 || backend.ejected_until.load(Relaxed) != 0 {
            backend.forgive();
        }
    }

    /// The connection could not be made; whether that ejects the backend now.
    pub fn failed(&self, now: Moment, ejection: &Ejection) -> bool {
        let backend = &self.backend;
        if self.trial {
            backend.eject(now, ejection);
            return true;
        }
        // Attempts that began before an ejection and fail after it do not make it longer.
        if backend.ejected_until.load(Acquire) != 0 {
            return false;
        }
        let ejected = backend.failures.fetch_add(1, AcqRel) + 1 >= ejection.after;
        if ejected {
            backend.eject(now, ejection);
        }
        ejected
    }
}

impl Drop for BackendLease {
    fn drop(&mut self) {
        self.end();
    }
}

/// Chooses a backend that is not in `tried` and counts a connection to it: the one with the fewest
/// connections, the first from place `start` on among equals. An ejected one is chosen once its
/// time is over, and where no other is left; one that is down never is.
pub fn choose(
    backends: &[Arc<Backend>],
    tried: &[usize],
    now: Moment,
    start: usize,
) -> Option<(usize, BackendLease)> {
    let mut best: Option<(u32, usize)> = None;
    let mut last_resort: Option<(Moment, usize)> = None;
    let count = backends.len();
    for offset in 0..count {
        let index = (start % count + offset) % count;
        if tried.contains(&index) {
            continue;
        }
        let backend = &backends[index];
        match backend.usability(now) {
            Usability::Usable => {
                let candidate = (backend.connections(), index);
                if best.is_none_or(|(fewest, _)| candidate.0 < fewest) {
                    best = Some(candidate);
                }
            }
            Usability::Ejected(_) if backend.claim_trial(now) => {
                return Some((index, backend.lease(true)));
            }
            Usability::Ejected(until) => {
                if last_resort.is_none_or(|(earliest, _)| until < earliest) {
                    last_resort = Some((until, index));
                }
            }
            Usability::Down => {}
        }
    }
    let index = best.map(|(_, index)| index).or(last_resort.map(|(_, index)| index))?;
    Some((index, backends[index].lease(false)))
}
