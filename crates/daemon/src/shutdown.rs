//! From a signal to the end: first politely, then at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT. The second one ends the process at
/// once, with the exit status a shell expects.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    on_signal_with(|| {})
}

/// The same, and the second one first does what must not be left out; that should not take long.
pub fn on_signal_with(
    before_the_end: impl FnOnce() + Send + 'static,
) -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
        super::readiness::stopping();
        let code = tokio::select! {
            _ = terminate.recv() => 143,
            _ = interrupt.recv() => 130,
        };
        before_the_end();
        std::process::exit(code);
    });
    Ok(stop)
}
