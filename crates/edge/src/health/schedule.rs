//! What decides about checks: when each is due, and what its outcomes mean.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Instant,
};

use crate::balance::Health;

/// One due moment for each key.
#[derive(Debug)]
pub struct Schedule<K> {
    due: BTreeSet<(Instant, K)>,
    moments: HashMap<K, Instant>,
}

impl<K> Default for Schedule<K> {
    fn default() -> Self {
        Self { due: BTreeSet::new(), moments: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Schedule<K> {
    /// Sets the moment of `key`, whatever it was before.
    pub fn put(&mut self, key: K, moment: Instant) {
        self.remove(&key);
        self.due.insert((moment, key));
        self.moments.insert(key, moment);
    }

    pub fn remove(&mut self, key: &K) {
        if let Some(moment) = self.moments.remove(key) {
            self.due.remove(&(moment, *key));
        }
    }

    /// The earliest moment.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(moment, _)| *moment)
    }

    /// Takes out one that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<K> {
        let (moment, key) = *self.due.first()?;
        if moment > now {
            return None;
        }
        self.remove(&key);
        Some(key)
    }
}

/// How many checks in a row have agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    health: Health,
    successes: u32,
    failures: u32,
}

impl Standing {
    /// Takes an outcome; says what the backend is from now on if that is something new. What
    /// nothing is known of is believed at its first success.
    pub fn take(&mut self, success: bool, (rise, fall): (u32, u32)) -> Option<Health> {
        let next = if success {
            self.successes = self.successes.saturating_add(1);
            self.failures = 0;
            let enough = if self.health == Health::Down { rise } else { 1 };
            (self.successes >= enough).then_some(Health::Up)?
        } else {
            self.failures = self.failures.saturating_add(1);
            self.successes = 0;
            (self.failures >= fall).then_some(Health::Down)?
        };
        (std::mem::replace(&mut self.health, next) != next).then_some(next)
    }
}
