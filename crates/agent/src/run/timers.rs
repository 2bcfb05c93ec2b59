//! What is due when.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Look whether the interface is still as it should be.
    Reconcile,
    /// Report measurements.
    Report,
    /// Save and acknowledge a bookmark.
    Flush,
    /// Look whether the certificate must be renewed.
    Certificate,
    /// Ask the control plane what the node is, and what time it is there.
    Standing,
    /// Tell the control plane another endpoint.
    Endpoint,
    /// Open the stream again.
    Resume,
}

/// At most one moment for each.
#[derive(Debug, Default)]
pub struct Timers(BTreeMap<Due, Instant>);

impl Timers {
    /// Sets the moment, whatever it was before.
    pub fn set(&mut self, due: Due, pause: Duration) {
        self.0.insert(due, Instant::now() + pause);
    }

    /// Sets the moment unless there is one already.
    pub fn set_once(&mut self, due: Due, pause: Duration) {
        self.0.entry(due).or_insert_with(|| Instant::now() + pause);
    }

    /// Sets the moment unless there is an earlier one.
    pub fn hasten(&mut self, due: Due, pause: Duration) {
        let at = Instant::now() + pause;
        let known = self.0.entry(due).or_insert(at);
        *known = at.min(*known);
    }

    /// Forgets it.
    pub fn clear(&mut self, due: Due) {
        self.0.remove(&due);
    }

    /// Waits until something is due, for ever if nothing ever is. Cancel safe.
    pub async fn wait(&self) {
        match self.0.values().min() {
            Some(at) => tokio::time::sleep_until(*at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes out everything that is due.
    pub fn take(&mut self) -> Vec<Due> {
        let now = Instant::now();
        self.0.extract_if(.., |_, at| *at <= now).map(|(due, _)| due).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_due_comes_out_once() {
        let mut timers = Timers::default();
        timers.set(Due::Report, Duration::from_secs(3600));
        timers.set(Due::Flush, Duration::ZERO);
        timers.set_once(Due::Report, Duration::ZERO);
        timers.wait().await;
        assert_eq!(timers.take(), [Due::Flush]);
        assert_eq!(timers.take(), []);
        timers.hasten(Due::Report, Duration::from_secs(7200));
        assert_eq!(timers.take(), []);
        timers.hasten(Due::Report, Duration::ZERO);
        timers.wait().await;
        assert_eq!(timers.take(), [Due::Report]);
        timers.set(Due::Report, Duration::ZERO);
        timers.set(Due::Resume, Duration::ZERO);
        timers.clear(Due::Resume);
        timers.wait().await;
        assert_eq!(timers.take(), [Due::Report]);
    }
}
