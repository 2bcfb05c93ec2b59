//! Which side runs on which core.
//!
//! The proxy has core 1, the load (clients and servers, one thread) has core 0. On a loopback
//! interface the sender's core does the receiver's TCP work too. So each core pays for what it
//! sends and for nothing else, as two machines with a cable would share it, roughly: a connection
//! costs the load's core one connect and one accept, and the proxy's core the same plus everything
//! the proxy does. A proxy that does very little is therefore limited by the load, which is why
//! every figure comes with how busy both cores were.

use std::{
    fs::File,
    ops::ControlFlow,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::error::{EdgeBenchError, Result};
use crate::{error::LabError, interrupt::Interrupt, progress::Progress, wait::until};

/// In the directory for temporary files.
const LOCK: &str = "sextant-bench.lock";
/// How long another benchmark may take.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);

/// The load's core.
pub(super) const LOAD: usize = 0;
/// The proxy's core.
pub(super) const PROXY: usize = 1;

/// Moves this thread, and the threads it starts, to the load's core.
pub(super) fn take() -> Result<()> {
    let allowed = sched_getaffinity(None).map_err(os("read the affinity"))?;
    if !(allowed.is_set(LOAD) && allowed.is_set(PROXY)) {
        return Err(EdgeBenchError::OneCore);
    }
    let mut set = CpuSet::new();
    set.set(LOAD);
    sched_setaffinity(None, &set).map_err(os("set the affinity"))
}

/// Waits until no other benchmark runs on this machine: two at a time would measure each other.
/// The cores are taken while the file lives.
pub(super) fn reserve(interrupt: &Interrupt, progress: &Progress) -> Result<File> {
    let path = std::env::temp_dir().join(LOCK);
    // Whoever made it, anyone may lock it.
    let file = File::open(&path)
        .or_else(|_| File::options().create(true).truncate(false).write(true).open(&path))
        .map_err(LabError::file("open", &path))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress.say("another benchmark is running; this one waits for its end");
    until("the end of another benchmark", WAIT_LIMIT, interrupt, || {
        Ok(match file.try_lock() {
            Ok(()) => ControlFlow::Break(()),
            Err(error) => ControlFlow::Continue(error.to_string()),
        })
    })?;
    Ok(file)
}

/// Keeps the proxy's core from sleeping, with work of the lowest kind there is, which gives way to
/// anything else at once. It ends with this value.
///
/// In a virtual machine a sleeping core takes some 50 us to wake up, which is more than any of the
/// proxies takes to pass a ping on, and varies more than they differ.
#[derive(Debug)]
pub(super) struct Waker(Child);

impl Waker {
    pub(super) fn start() -> Result<Self> {
        let core = PROXY.to_string();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "chrt", "--idle", "0", "taskset", "-c", &core])
            .args(["sh", "-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|source| LabError::Spawn { program: "setpriv".to_owned(), source })?;
        Ok(Self(child))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn os(action: &'static str) -> impl FnOnce(rustix::io::Errno) -> EdgeBenchError {
    move |errno| EdgeBenchError::load(action)(errno.into())
}
