//! What the node does when another machine runs with its identity and came first: it takes its
//! interface away, so that peers do not hear two machines with one key, and waits. When the other one
//! has gone, the control plane lets this one in, and it goes on by itself.

use std::time::Duration;

use super::{Agent, RESUME_PAUSE};
use crate::run::timers::Due;

impl Agent {
    pub(super) async fn fall_silent(&mut self, reason: String) {
        self.connected = false;
        self.stream = None;
        self.timers.set(Due::Resume, RESUME_PAUSE);
        if std::mem::replace(&mut self.silenced, true) {
            return;
        }
        let retry_in_s = RESUME_PAUSE.as_secs();
        tracing::error!(
            %reason, retry_in_s,
            "this machine is refused; its interface is taken away until the other one is gone"
        );
        self.timers.clear(Due::Reconcile);
        if let Err(error) = self.reconciler.remove().await {
            tracing::error!(%error, "the interface cannot be taken away; peers hear two machines");
        }
        // A restart would not help: the service manager must not wait for what cannot come.
        sextant_daemon::readiness::ready("another machine runs as this node: see the log");
        self.ready = true;
    }

    /// The control plane lets the node in.
    pub(super) fn speak_again(&mut self) {
        if std::mem::take(&mut self.silenced) {
            tracing::warn!("no other machine runs as this node any more; the interface comes back");
            self.timers.set(Due::Reconcile, Duration::ZERO);
        }
    }
}
