//! Ctrl-C as a flag, so that whoever waits can stop waiting and clean up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::error::{LabError, Result};

/// Set once, by Ctrl-C or SIGTERM. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that nobody sets.
    pub fn never() -> Self {
        Self::default()
    }

    /// A flag set by the first SIGINT or SIGTERM to this process, which then no longer kill it.
    pub fn on_signals(runtime: &tokio::runtime::Handle) -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let _context = runtime.enter();
        let (mut int, mut term) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let flag = Self::default();
        let shared = flag.clone();
        runtime.spawn(async move {
            tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
            shared.0.store(true, Ordering::Relaxed);
        });
        Ok(flag)
    }

    /// An error if it is set.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(LabError::Interrupted) } else { Ok(()) }
    }
}
