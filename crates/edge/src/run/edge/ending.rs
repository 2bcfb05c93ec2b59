//! How this process gives way: to the next one, or to nobody.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering::Relaxed,
};

use sextant_daemon::readiness;

use super::{Edge, End};

impl Edge {
    pub(super) fn begin_upgrade(&mut self) {
        if self.upgrade.is_some() {
            tracing::warn!("an upgrade is under way already");
            return;
        }
        if !self.announced {
            tracing::warn!("this process is not ready itself; upgrade again when it is");
            return;
        }
        if self.predecessor.as_ref().is_some_and(|gone| !gone.is_finished()) {
            tracing::warn!(
                "the process before this one still drains; upgrade again when it has ended"
            );
            return;
        }
        // It may open a socket, which the next process needs too.
        self.publisher.share(true);
        let copies: io::Result<Vec<OwnedFd>> = self
            .publisher
            .descriptors()
            .chain(self.admin_socket.as_ref().map(AsFd::as_fd))
            .map(|fd| fd.try_clone_to_owned())
            .collect();
        match copies {
            Ok(sockets) => {
                tracing::info!("starting the next process");
                let upgrader = self.upgrader.clone();
                self.upgrade = Some(tokio::spawn(async move { upgrader.start(sockets).await }));
            }
            Err(error) => {
                tracing::error!(%error, "no upgrade: the sockets cannot be shared");
                self.publisher.share(false);
            }
        }
    }

    /// Lets connections end, within limits, and says goodbye.
    pub async fn finish(self, end: End) {
        let Self { config, publisher, feed, shared, store, signals, finished, answering, .. } =
            self;
        // Whoever comes next may write the state from now on.
        drop(feed);
        shared.draining.store(true, Relaxed);
        let within = match &end {
            End::HandedOver(successor) => {
                tracing::info!(pid = successor.pid, "the next process has taken over");
                readiness::hand_over(successor.pid);
                answering.cancel();
                config.drain_timeout
            }
            // Who comes now waits for the next process, which waits for the end of this one.
            End::Stopped if store.is_there() => config.restart_drain_timeout,
            End::Stopped => config.drain_timeout,
        };
        shared.workers.stop_accepting();
        // Without a store this closes the sockets: nobody should wait in vain.
        drop(publisher);
        let connections = shared.workers.connections();
        tracing::info!(connections, within_s = within.as_secs(), "draining");
        let workers = shared.workers.clone();
        let mut drain = tokio::task::spawn_blocking(move || workers.drain(within));
        let drained = tokio::select! {
            drained = &mut drain => drained,
            // Told to stop while it drains for the next process: enough.
            () = signals.stop.cancelled(), if matches!(end, End::HandedOver(_)) => {
                shared.workers.cut();
                drain.await
            }
        };
        match drained {
            Ok(drained) => tracing::info!(cut = drained.cut, "stopped"),
            Err(error) => tracing::error!(%error, "the drain broke off"),
        }
        if signals.stop_at_once.is_cancelled() {
            // Whoever took the second signal ends the process, with the status that it stands for.
            std::future::pending::<()>().await;
        }
        finished.cancel();
    }
}
