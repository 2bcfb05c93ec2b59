//! A running proxy.

use std::{
    fs::File,
    net::{Ipv6Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    cores::{self, Waker},
    error::{EdgeBenchError, Result},
    meter::Meter,
    namespace,
    subject::{Places, Subject, Task},
};
use crate::{
    command::tail,
    error::LabError,
    process::{children, open_log, signal_if},
};

/// How long a proxy may take to end after it was asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// Lines of a log that an error shows.
const LOG_LINES: usize = 50;

/// A proxy and its files. It ends with this value.
#[derive(Debug)]
pub(super) struct Proxy {
    subject: Subject,
    child: Option<Child>,
    /// Holds the files.
    directory: TempDir,
    targets: Targets,
}

/// Where clients connect to.
#[derive(Clone, Debug)]
pub(super) enum Targets {
    /// The servers themselves.
    Servers(Vec<SocketAddr>),
    /// A proxy.
    Proxy(SocketAddr),
}

impl Targets {
    /// The target of the `number`th connection.
    pub(super) fn of(&self, number: usize) -> SocketAddr {
        match self {
            Self::Servers(servers) => servers[number % servers.len()],
            Self::Proxy(address) => *address,
        }
    }
}

impl Proxy {
    /// Starts it; it may not be listening yet.
    pub(super) fn start(
        subject: Subject,
        places: &Places,
        backends: &[SocketAddr],
        connections: usize,
    ) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("sextant-bench-")
            .tempdir_in("/tmp")
            .map_err(LabError::file("make a directory in", "/tmp"))?;
        let Some(program) = subject.program(places)? else {
            let targets = Targets::Servers(backends.to_vec());
            return Ok(Self { subject, child: None, directory, targets });
        };
        let port = free_port().map_err(EdgeBenchError::load("find a free port"))?;
        let arguments = subject.configure(&Task {
            directory: directory.path(),
            port,
            backends,
            connections,
        })?;
        let (out, err) = outputs(&directory.path().join("log"))?;
        // If this process is killed, the proxy is asked to end.
        let core = cores::PROXY.to_string();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &core])
            .arg(program)
            .args(arguments)
            .current_dir(directory.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|source| LabError::Spawn { program: "setpriv".to_owned(), source })?;
        let targets = Targets::Proxy(SocketAddr::from((namespace::PROXY, port)));
        Ok(Self { subject, child: Some(child), directory, targets })
    }

    pub(super) fn targets(&self) -> Targets {
        self.targets.clone()
    }

    /// What measures it, once it is ready and has all its processes.
    pub(super) fn meter(&self, waker: Option<&Waker>) -> Meter {
        Meter::new(self.processes(), waker.map(Waker::pid))
    }

    /// An error if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        let log = self.log();
        let Some(child) = &mut self.child else { return Ok(()) };
        match child.try_wait().map_err(EdgeBenchError::load("look after the proxy"))? {
            None => Ok(()),
            Some(status) => Err(EdgeBenchError::Ended { subject: self.subject, status, log }),
        }
    }

    /// It has not become ready.
    pub(super) fn not_ready(&self, limit: Duration) -> EdgeBenchError {
        let (subject, seconds, log) = (self.subject, limit.as_secs(), self.log());
        EdgeBenchError::NotReady { subject, seconds, log }
    }

    /// The end of what it wrote.
    pub(super) fn log(&self) -> String {
        tail(&self.directory.path().join("log"), LOG_LINES)
    }

    /// Its process and those it started.
    fn processes(&self) -> Vec<u32> {
        let mut found: Vec<_> = self.child.iter().map(Child::id).collect();
        let mut looked_at = 0;
        while let Some(pid) = found.get(looked_at) {
            let more = children(*pid);
            found.extend(more);
            looked_at += 1;
        }
        found
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let processes = self.processes();
        let Some(child) = &mut self.child else { return };
        // The child is not reaped yet, so its pid is its own.
        signal_if(&[child.id()], Signal::TERM, |_| true);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Those it left behind are in its process group, which it was the leader of.
        let group = child.id();
        let _ = child.kill();
        let _ = child.wait();
        signal_if(&processes, Signal::KILL, |pid| process_group(pid) == Some(group));
    }
}

/// The process group of `pid`; proc_pid_stat(5).
fn process_group(pid: u32) -> Option<u32> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    let group = rustix::process::getpgid(Some(pid)).ok()?;
    u32::try_from(group.as_raw_nonzero().get()).ok()
}

/// Nobody else takes ports in the benchmark's namespace.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))?.local_addr()?.port())
}

fn outputs(log: &PathBuf) -> Result<(Stdio, Stdio)> {
    let file: File = open_log(log)?;
    let copy = file.try_clone().map_err(LabError::file("open", log))?;
    Ok((Stdio::from(file), Stdio::from(copy)))
}
