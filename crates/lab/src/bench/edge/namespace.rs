//! The network the benchmark runs in: a namespace of its own, with nothing but a loopback
//! interface. No packet filter, no other traffic, no port that is taken, and settings that do not
//! touch the machine's.

use std::{fs, net::Ipv6Addr, path::Path, process::Command};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::error::{EdgeBenchError, Result};
use crate::{command::run, error::LabError, host::Mode, process::replace_with};

/// Networks (/64) that ordinary clients come from.
pub(super) const CLIENT_NETWORKS: u16 = 64;
/// Networks that clients come from who mean harm.
pub(super) const SLOW_NETWORKS: u16 = 2;
/// Servers, each with an address of its own: many source ports for the proxy's connections.
pub(super) const BACKENDS: u16 = 4;

/// What connections need when the proxy and the load are at 10,000 of them.
const OPEN_FILES: u64 = 65_536;

/// Settings of the namespace.
const SETTINGS: [(&str, &str); 5] = [
    // Clients use addresses that are local, but not on an interface.
    ("ipv6/ip_nonlocal_bind", "1"),
    // Connections are made faster than the kernel's default range would let ports rest.
    ("ipv4/ip_local_port_range", "1024 65535"),
    ("ipv4/tcp_tw_reuse", "1"),
    // Those of one measurement must not be a burden to the next.
    ("ipv4/tcp_max_tw_buckets", "16384"),
    // Whatever the machine prefers; every kernel has this one. BBR would pace, with timers, what
    // never leaves the machine.
    ("ipv4/tcp_congestion_control", "reno"),
];

/// All addresses of clients. They are local by a route: on the interface, so many addresses would
/// slow down whoever connects.
const CLIENTS: &str = "fd5e:c11e::/32";

/// Where the proxies are reached.
pub(super) const PROXY: Ipv6Addr = Ipv6Addr::new(0xfd5e, 0xed6e, 0, 0, 0, 0, 0, 1);

/// An address in client network `number`.
pub(super) const fn client(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd5e, 0xc11e, 0, number, 0, 0, 0, 1)
}

/// The same for clients that mean harm.
pub(super) const fn slow(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd5e, 0xc11e, 0xbad, number, 0, 0, 0, 1)
}

/// The address of server `number`.
pub(super) const fn backend(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd5e, 0xbac0, 0, 0, 0, 0, 1, number)
}

/// Starts this program again, with the same arguments and `flag`, in a fresh namespace.
pub(super) fn enter(flag: &str) -> LabError {
    let own = match std::env::current_exe().map_err(LabError::file("find", "/proc/self/exe")) {
        Ok(own) => own,
        Err(error) => return error,
    };
    let mut command = Command::new("unshare");
    if Mode::of_caller() == Mode::UserNamespace {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--"]).arg(own).args(std::env::args_os().skip(1)).arg(flag);
    replace_with(&mut command)
}

/// Makes the fresh namespace usable.
pub(super) fn furnish() -> Result<()> {
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    run(Command::new("ip").args(["-6", "route", "add", "local", CLIENTS, "dev", "lo"]))?;
    for address in (0..BACKENDS).map(backend).chain([PROXY]) {
        let address = format!("{address}/128");
        run(Command::new("ip").args(["-6", "address", "add", &address, "dev", "lo", "nodad"]))?;
    }
    for (name, value) in SETTINGS {
        let path = Path::new("/proc/sys/net").join(name);
        fs::write(&path, value).map_err(LabError::file("write", &path))?;
    }
    Ok(())
}

/// Lets this process and those it starts open as many files as the benchmark wants, or as many as
/// it may. Returns how many that are.
pub(super) fn raise_file_limit() -> Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = |maximum: Option<u64>| {
        let limit = Rlimit {
            current: Some(maximum.map_or(OPEN_FILES, |max| max.min(OPEN_FILES))),
            maximum,
        };
        setrlimit(Resource::Nofile, limit).map(|()| limit.current.unwrap_or(OPEN_FILES))
    };
    if let Some(enough) = current.filter(|current| *current >= OPEN_FILES) {
        return Ok(enough);
    }
    // Only the privileged may go beyond the hard limit.
    raised(maximum.map(|max| max.max(OPEN_FILES)))
        .or_else(|_| raised(maximum))
        .map_err(|errno| EdgeBenchError::load("raise the limit of open files")(errno.into()))
}
