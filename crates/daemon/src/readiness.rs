//! What the service manager is told (`sd_notify(3)`). Without one, nothing happens.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// Whether another process is the daemon. Whatever this one says would be taken for that one's word.
static HANDED_OVER: AtomicBool = AtomicBool::new(false);

/// The daemon serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon is on its way down.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The daemon takes in a new configuration; [`ready`] says when it has.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager was not told of a reload"),
    }
}

/// What the daemon is doing, for people.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Another process is the daemon from now on. This one is not heard any more: neither its end nor
/// its signs of life are those of the daemon.
pub fn hand_over(pid: u32) {
    HANDED_OVER.store(true, Relaxed);
    send(&[NotifyState::MainPid(pid)]);
}

/// Feeds the watchdog as long as `alive` says so; a daemon that hangs is restarted by systemd.
pub async fn feed_watchdog(alive: impl Fn() -> bool, stop: CancellationToken) {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(watchdog_pause(timeout));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                if alive() {
                    tell(&[NotifyState::Watchdog]);
                }
            }
        }
    }
}

/// Three chances within the timeout.
fn watchdog_pause(timeout: Duration) -> Duration {
    (timeout / 3).max(Duration::from_millis(10))
}

fn tell(states: &[NotifyState<'_>]) {
    if !HANDED_OVER.load(Relaxed) {
        send(states);
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
