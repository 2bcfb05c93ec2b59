//! The processes of a lab: started detached, found by a mark in their environment, ended by pid.
//!
//! Every process a lab starts carries `SEXTANT_LAB_ID`, and so do its children. The mark finds
//! them after any crash, also those nobody had the time to write down.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Read,
    ops::ControlFlow,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::{
    error::{LabError, Result},
    interrupt::Interrupt,
    wait::until,
};

/// The random id of one lab, carried by each of its processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabId(String);

/// The environment variable that holds the [`LabId`].
pub const MARK: &str = "SEXTANT_LAB_ID";

/// How long a process may be without an environment while it starts another program.
const EXEC_LIMIT: Duration = Duration::from_millis(250);

/// How long a process may take to end after it was asked to, before it is killed.
pub const GRACE: Duration = Duration::from_secs(10);

impl LabId {
    /// An id from 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        use std::fmt::Write;
        Self(random.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// Reads an id back; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| Self(text.to_owned()))
    }

    /// 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first digits, for names with little room.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }

    /// The three groups that follow `fd5e` in the underlay's prefix.
    pub fn underlay_groups(&self) -> [u16; 3] {
        [0, 4, 8].map(|start| u16::from_str_radix(&self.0[start..start + 4], 16).unwrap_or(0))
    }

    /// Whether the process `pid` lives and carries this id.
    pub fn marks(&self, pid: u32) -> bool {
        let expected = format!("{MARK}={}", self.0);
        environment(pid).split(|byte| *byte == 0).any(|entry| entry == expected.as_bytes())
    }

    /// All living processes that carry this id, except the calling one.
    pub fn processes(&self) -> Vec<u32> {
        let own = std::process::id();
        processes().filter(|pid| *pid != own && self.marks(*pid)).collect()
    }
}

/// Every process of the machine.
fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// What `pid` was started with; empty if it has ended or may not be looked at.
fn environment(pid: u32) -> Vec<u8> {
    let deadline = Instant::now() + EXEC_LIMIT;
    loop {
        let environment = read_at_once(&format!("/proc/{pid}/environ")).unwrap_or_default();
        // A process that is just being replaced by another program has no environment for a
        // moment. The kernel's own threads and the dead never have one, and no program either.
        let runs_program = || fs::read_link(format!("/proc/{pid}/exe")).is_ok();
        if !environment.is_empty() || !runs_program() || Instant::now() >= deadline {
            return environment;
        }
        thread::yield_now();
    }
}

/// Reads in one call, because the process may be replaced between two calls.
fn read_at_once(path: &str) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256 * 1024];
    let length = File::open(path)?.read(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// The name of the program `pid` runs, cut to 15 bytes by the kernel.
pub fn program_name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Whether the process `pid` lives and runs a program of that name.
pub fn runs(pid: u32, program: &str) -> bool {
    // A process that has ended has no working directory; until it is reaped it has a name.
    program_name(pid).as_deref() == Some(program)
        && fs::read_link(format!("/proc/{pid}/cwd")).is_ok()
}

/// The processes that run a program of that name in the working directory `directory`.
pub fn working_in(directory: &Path, program: &str) -> Vec<u32> {
    let works_there =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory);
    processes().filter(|pid| works_there(pid) && runs(*pid, program)).collect()
}

/// The processes that `pid` started and that still live.
pub fn children(pid: u32) -> Vec<u32> {
    let parent = |child: &u32| stat(*child, PARENT);
    processes().filter(|child| parent(child) == Some(pid)).collect()
}

/// Whether `pid` is on its way out. Then it has no environment any more, and may still have files
/// open: sockets on which nobody else can listen yet.
fn is_ending(pid: u32) -> bool {
    let exiting = stat(pid, FLAGS).is_some_and(|flags| flags & EXITING != 0);
    // Whoever has only to be reaped has given everything back, unless its threads have not.
    let over = state(pid) == Some('Z') && stat(pid, THREADS) == Some(1);
    exiting && !over
}

/// Fields of /proc/PID/stat, counted from the state; proc_pid_stat(5).
const PARENT: usize = 1;
const FLAGS: usize = 6;
const THREADS: usize = 17;
/// `PF_EXITING` of the kernel.
const EXITING: u32 = 0x4;

fn stat_fields(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    Some(stat.rsplit_once(')')?.1.to_owned())
}

fn stat(pid: u32, field: usize) -> Option<u32> {
    stat_fields(pid)?.split_whitespace().nth(field)?.parse().ok()
}

fn state(pid: u32) -> Option<char> {
    stat_fields(pid)?.trim_start().chars().next()
}

/// Whether two processes are in the same network namespace.
pub fn same_network(one: u32, other: u32) -> bool {
    let namespace = |pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    namespace(one).is_some_and(|one| Some(one) == namespace(other))
}

/// A program to be started in a session of its own, so that it outlives whoever starts it.
#[derive(Debug)]
pub struct Daemon<'a> {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Where its output goes; `None` discards it.
    pub log: Option<&'a Path>,
    /// A listening socket to pass by systemd's socket activation protocol.
    pub listener: Option<OwnedFd>,
}

impl Daemon<'_> {
    /// Starts it and returns its pid.
    pub fn start(self, lab: &LabId) -> Result<u32> {
        let program = self.command.first().cloned().unwrap_or_default();
        // setsid(1) and the shell replace themselves, so the pid is the daemon's own.
        let mut command = Command::new("setsid");
        if let Some(listener) = self.listener {
            command
                .args(["sh", "-c", "export LISTEN_PID=$$; exec \"$@\"", "sh"])
                .env("LISTEN_FDS", "1")
                .fd_mappings(vec![FdMapping { parent_fd: listener, child_fd: 3 }])
                .map_err(|source| LabError::Spawn {
                    program: program.to_string_lossy().into_owned(),
                    source: std::io::Error::other(source),
                })?;
        }
        let (out, err) = match self.log {
            Some(path) => {
                let log = open_log(path)?;
                let copy = log.try_clone().map_err(LabError::file("open", path))?;
                (Stdio::from(log), Stdio::from(copy))
            }
            None => (Stdio::null(), Stdio::null()),
        };
        command.args(self.command).env(MARK, lab.as_str());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|source| LabError::Spawn { program: "setsid".to_owned(), source })?;
        let pid = child.id();
        // Someone has to take note of its end while this process lives.
        thread::spawn(move || child.wait());
        Ok(pid)
    }
}

/// Opens a log for appending, private because daemons may quote what they are given.
pub fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(LabError::file("open", path))
}

/// Sends `signal` to those of `pids` that are processes of the lab.
pub fn signal(lab: &LabId, pids: &[u32], signal: Signal) {
    signal_if(pids, signal, |pid| lab.marks(pid));
}

/// Sends `signal` to those of `pids` that are meant.
pub(crate) fn signal_if(pids: &[u32], signal: Signal, is_meant: impl Fn(u32) -> bool) {
    for pid in pids {
        let Some(handle) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
        // The handle is taken before the process is looked at: a pid may be given to another one.
        if let Ok(handle) = pidfd_open(handle, PidfdFlags::empty())
            && is_meant(*pid)
        {
            let _ = pidfd_send_signal(handle, signal);
        }
    }
}

/// Ends those of `pids` that are processes of the lab: `first` now, SIGKILL after [`GRACE`].
/// Returns when they are gone.
pub fn stop(lab: &LabId, pids: &[u32], first: Signal) -> Result<()> {
    signal(lab, pids, first);
    if await_end(lab, pids, GRACE).is_err() {
        signal(lab, pids, Signal::KILL);
        await_end(lab, pids, GRACE)?;
    }
    Ok(())
}

/// Waits until none of `pids` is a process of the lab, and what they held is free.
pub fn await_end(lab: &LabId, pids: &[u32], limit: Duration) -> Result<()> {
    until("processes to end", limit, &Interrupt::never(), || {
        let left: Vec<_> = pids.iter().filter(|pid| lab.marks(**pid) || is_ending(**pid)).collect();
        Ok(if left.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(format!("still running: {left:?}"))
        })
    })
}

/// Replaces the calling process with `command`; returns only if that fails.
pub fn replace_with(command: &mut Command) -> LabError {
    let source = command.exec();
    LabError::Spawn { program: command.get_program().to_string_lossy().into_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> LabId {
        LabId::new(*uuid::Uuid::new_v4().as_bytes())
    }

    fn sleeper(lab: &LabId, script: &str) -> u32 {
        let command = ["sh", "-c", script].map(OsString::from).to_vec();
        let pid = Daemon { command, log: None, listener: None }.start(lab).expect("start");
        // setsid(1) carries the mark too, so wait until the shell has taken its place.
        until("the shell", GRACE, &Interrupt::never(), || {
            Ok(match lab.processes().len() {
                2 => ControlFlow::Break(()),
                count => ControlFlow::Continue(format!("{count} processes")),
            })
        })
        .expect("shell and its child");
        pid
    }

    #[test]
    fn processes_and_their_children_are_found_by_the_mark_and_ended() {
        let (ours, other) = (lab(), lab());
        let pid = sleeper(&ours, "sleep 100; true");
        assert!(ours.processes().contains(&pid));
        assert!(other.processes().is_empty());
        signal(&other, &[pid], Signal::KILL);
        assert!(ours.marks(pid), "a signal in another lab's name does nothing");
        stop(&ours, &ours.processes(), Signal::TERM).expect("stop");
        assert!(ours.processes().is_empty());
    }

    #[test]
    fn a_process_that_becomes_another_program_is_never_out_of_sight() {
        let lab = lab();
        // Three hundred times a shell replaces itself by another one.
        let script = "n=$((n + 1)); export n; [ $n -gt 300 ] && exec sleep 100; \
                      exec sh -c \"$0\" \"$0\"";
        let command = ["sh", "-c", script, script].map(OsString::from).to_vec();
        let pid = Daemon { command, log: None, listener: None }.start(&lab).expect("start");
        while program_name(pid).as_deref() != Some("sleep") {
            assert!(lab.marks(pid));
        }
        stop(&lab, &[pid], Signal::TERM).expect("stop");
    }

    #[test]
    fn ids_survive_their_text() {
        let id = lab();
        assert_eq!(LabId::parse(&format!("{}\n", id.as_str())), Some(id));
        assert_eq!(LabId::parse("nonsense"), None);
    }
}
