//! Lab hosts: each is a process that holds a network and a mount namespace open.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    ops::ControlFlow,
    path::Path,
    process::Command,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sextant_model::WorkloadId;

use crate::{
    command::{find_program, run, tail},
    directory::{LabDirectory, private_directory},
    error::{LabError, Result},
    interrupt::Interrupt,
    process::{Daemon, LabId, MARK},
    wait::until,
};

/// The network namespace that the agent of a host makes for a workload.
pub fn workload_namespace(workload: WorkloadId) -> String {
    format!("{NETNS_DIRECTORY}/sextant-{workload}")
}

/// Whose rights the namespaces are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Those of root. The namespaces also have names that `ip netns` knows.
    Root,
    /// Those of an ordinary user, who is root in a user namespace that all hosts share.
    UserNamespace,
}

impl Mode {
    /// Root if this process is.
    pub fn of_caller() -> Self {
        if rustix::process::geteuid().is_root() { Self::Root } else { Self::UserNamespace }
    }
}

/// The line by which a holder says that its host is ready.
pub(crate) const READY: &str = "ready";
const START_LIMIT: Duration = Duration::from_secs(15);
/// Where namespaces have names, on every host.
pub(crate) const NETNS_DIRECTORY: &str = "/run/netns";

/// How to get into one lab host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `n1`, `c1`, `switch`.
    pub name: String,
    /// The process that holds its namespaces.
    pub holder: u32,
    /// How they were made.
    pub mode: Mode,
}

impl Host {
    /// The words to put before a command line so that it runs on this host.
    pub fn entry(&self) -> Vec<OsString> {
        let pid = self.holder.to_string();
        let mut words = vec!["nsenter", "-t", &pid];
        if self.mode == Mode::UserNamespace {
            words.extend(["-U", "--preserve-credentials"]);
        }
        words.extend(["-n", "-m", "--"]);
        words.into_iter().map(OsString::from).collect()
    }

    /// A command that runs on this host.
    pub fn command(&self, lab: &LabId, program: impl AsRef<OsStr>) -> Command {
        let mut words = self.entry().into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg(program).env(MARK, lab.as_str());
        command
    }

    /// A command that runs on this host in the network namespace of a workload.
    pub fn workload_command(
        &self,
        lab: &LabId,
        workload: WorkloadId,
        program: impl AsRef<OsStr>,
    ) -> Command {
        let mut command = self.command(lab, "nsenter");
        command.arg(format!("--net={}", workload_namespace(workload))).arg("--").arg(program);
        command
    }

    /// The name that `ip netns` knows, or the namespace's path if it has no such name.
    pub fn netns(&self, lab: &LabId) -> String {
        match self.mode {
            Mode::Root => format!("{}{}", netns_name_prefix(lab), self.name),
            Mode::UserNamespace => format!("/proc/{}/ns/net", self.holder),
        }
    }
}

/// Starts a host. The first of a lab has no `first`; the others share its user namespace.
pub fn start(
    lab: &LabId,
    directory: &LabDirectory,
    program: &Path,
    name: &str,
    first: Option<&Host>,
    interrupt: &Interrupt,
) -> Result<Host> {
    let mode = first.map_or_else(Mode::of_caller, |first| first.mode);
    let mut words: Vec<OsString> = Vec::new();
    let mut unshare = vec!["unshare"];
    if mode == Mode::UserNamespace {
        match first {
            Some(first) => {
                let pid = first.holder.to_string();
                let enter = ["nsenter", "-t", &pid, "-U", "--preserve-credentials", "--"];
                words.extend(enter.map(OsString::from));
            }
            None => unshare.extend(["--user", "--map-root-user"]),
        }
    }
    unshare.extend(["--net", "--mount", "--"]);
    words.extend(unshare.into_iter().map(OsString::from));
    words.extend([program.as_os_str(), OsStr::new("hold"), OsStr::new(name)].map(OsString::from));

    let log = directory.log(&format!("{name}.holder"));
    let holder = Daemon { command: words, log: Some(&log), listener: None }.start(lab)?;
    await_ready(lab, name, holder, &log, interrupt)?;
    let host = Host { name: name.to_owned(), holder, mode };
    if mode == Mode::Root {
        let pid = holder.to_string();
        run(Command::new("ip").args(["netns", "attach", &host.netns(lab), &pid]))?;
    }
    Ok(host)
}

fn await_ready(
    lab: &LabId,
    name: &str,
    holder: u32,
    log: &Path,
    interrupt: &Interrupt,
) -> Result<()> {
    until(&format!("host \"{name}\""), START_LIMIT, interrupt, || {
        let written = tail(log, 10);
        if written.lines().any(|line| line == READY) {
            return Ok(ControlFlow::Break(()));
        }
        if lab.marks(holder) {
            return Ok(ControlFlow::Continue(written));
        }
        let (what, log) = (format!("the holder of host \"{name}\""), log.to_owned());
        Err(LabError::Died { what, log, tail: written })
    })
}

/// What the holder process does: makes its fresh namespaces a host, then keeps them open until a
/// signal ends it.
///
/// The host has a /run of its own, where userspace WireGuard has its sockets, and no IPv4 address,
/// not even on the loopback interface.
pub fn hold() -> Result<()> {
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755,nosuid,nodev", "lab", "/run"]))?;
    private_directory(Path::new("/run/wireguard"))?;
    // Hosts share /etc, but for what agents write there, if there is a place for it.
    if Path::new("/etc/netns").is_dir() {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "lab", "/etc/netns"]))?;
    }
    for scope in ["all", "default"] {
        let setting = format!("/proc/sys/net/ipv6/conf/{scope}/accept_ra");
        fs::write(&setting, "0").map_err(LabError::file("write", setting))?;
    }
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    // The kernel gives 127.0.0.1 to a loopback interface that comes up.
    run(Command::new("ip").args(["-4", "address", "flush", "dev", "lo"]))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}")
        .and_then(|()| out.flush())
        .map_err(LabError::file("write", "stdout"))?;
    drop(out);
    loop {
        std::thread::park();
    }
}

impl Host {
    /// Takes the namespace's name from `ip netns`.
    pub(crate) fn forget(&self, lab: &LabId) -> Result<()> {
        match self.mode {
            Mode::Root => {
                run(Command::new("ip").args(["netns", "delete", &self.netns(lab)])).map(drop)
            }
            Mode::UserNamespace => Ok(()),
        }
    }
}

/// Takes the names of a lab's namespaces from `ip netns`.
pub fn forget_netns(lab: &LabId) -> Result<()> {
    let Ok(entries) = fs::read_dir(NETNS_DIRECTORY) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(&netns_name_prefix(lab)) {
            run(Command::new("ip").args(["netns", "delete"]).arg(name))?;
        }
    }
    Ok(())
}

fn netns_name_prefix(lab: &LabId) -> String {
    format!("sx-{}-", lab.short())
}

/// The programs of the system that a lab cannot do without.
pub fn check_system() -> Result<()> {
    for program in ["setsid", "unshare", "nsenter", "mount", "ip", "ping", "wg", "nft", "psql"] {
        find_program(program, "run `cargo xtask setup`, or install the package that has it")?;
    }
    Ok(())
}
