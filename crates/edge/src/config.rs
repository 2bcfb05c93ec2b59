//! `edge.toml`.

pub(crate) mod check;
mod period;

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use sextant_daemon::{
    config::{ConfigError, Document, Mistake},
    logging::LogConfig,
};
use sextant_model::Prefix;
use url::Url;

pub use period::{InvalidPeriod, Period};

/// Environment variables with this prefix override the file.
pub const ENV_PREFIX: &str = "SEXTANT_EDGE_";

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Threads that move bytes.
    pub workers: NonZeroUsize,
    /// Where routes come from.
    pub source: Source,
    /// Where status and metrics are served.
    pub admin: Admin,
    /// Whether somebody has asked for that: the default may fail.
    pub admin_given: bool,
    /// Peers whose connections begin with a PROXY v2 header; theirs alone, and all of theirs.
    pub proxy_protocol_from: Vec<Prefix>,
    /// What happens to the connections of a route that is gone.
    pub on_route_removed: OnRemoved,
    /// How long connections may go on after the process was told to stop.
    pub drain_timeout: Duration,
    /// The same where the service manager keeps the listening sockets: new clients wait meanwhile.
    pub restart_drain_timeout: Duration,
    /// How much may be going on at a time.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How backends are watched.
    pub health: Health,
    /// Where each connection leaves a line.
    pub access_log: AccessLog,
    /// Most bytes of the file of the access log; as many again are kept of what came before.
    pub access_log_max_bytes: u64,
    /// What is logged.
    pub log: LogConfig,
}

/// Where routes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From a file.
    File(PathBuf),
    /// From the control plane.
    ControlPlane(ControlPlane),
}

/// How to follow the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// `https://HOST[:PORT]`, in order of preference.
    pub urls: Vec<Url>,
    /// The folder where the agent keeps the node's certificate, its key and the CA.
    pub identity: PathBuf,
    /// The last good routes are kept here.
    pub state_dir: PathBuf,
    /// Where its routes listen.
    pub listen_addresses: Vec<IpAddr>,
}

/// Where status and metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Nowhere.
    Off,
    /// On a Unix socket, mode 0660.
    Path(PathBuf),
    /// On a TCP port.
    Address(std::net::SocketAddr),
}

/// What happens to the connections of a route that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemoved {
    /// They go on.
    Keep,
    /// They go on for a while.
    Drain(Duration),
    /// They end at once.
    Cut,
}

/// How much may be going on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub max_connections: u32,
    /// Whether somebody has asked for that many: fewer may do by default.
    pub max_connections_given: bool,
    /// Connections that are not routed yet, in all.
    pub max_prereads: u32,
    /// Connections of one source.
    pub per_source_connections: u32,
    /// Connections of one source that are not routed yet.
    pub per_source_prereads: u32,
    /// Length of the prefix that makes a source among IPv4 addresses.
    pub source_prefix_ipv4: u8,
    /// The same for IPv6.
    pub source_prefix_ipv6: u8,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept until it is known where a connection goes.
    pub hello: Duration,
    /// For one attempt to reach a backend.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// After one side has ended its half.
    pub half_close: Duration,
    /// Until data that was sent must be acknowledged (`TCP_USER_TIMEOUT`, RFC 5482).
    pub tcp_user_timeout: Duration,
}

/// How backends are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Between two checks of a backend.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Checks in a row that bring a backend back.
    pub rise: u32,
    /// Checks in a row that take a backend out.
    pub fall: u32,
    /// Failed connects in a row after which a backend is left alone for a while.
    pub eject_after: u32,
    /// For how long the first time; doubles from then on.
    pub eject_for: Duration,
    /// At most for so long.
    pub eject_at_most: Duration,
}

/// Where each connection leaves a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// On standard output.
    Stdout,
    /// In a file, which is opened again on SIGHUP.
    File(PathBuf),
}

impl EdgeConfig {
    /// Reads and checks `path`, or takes the defaults. `routes` and `admin` come from the command
    /// line and win over the file. A relative `routes` of the file is relative to the file.
    pub fn load(
        path: Option<&Path>,
        routes: Option<&Path>,
        admin: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let document = match path {
            Some(path) => Document::read(path, ENV_PREFIX)?,
            None => Document::of_environment(ENV_PREFIX),
        };
        let (written, mut mistakes) = document.settings::<check::Written>();
        if let Some(line) = document.cut_line() {
            let reason =
                "does not end with a newline, so the file may have been cut short; add one";
            mistakes.push(Mistake { line: Some(line), reason: reason.into() });
        }
        // Every key has a default, so that keys that can be read are checked though others cannot.
        let mut written = written.unwrap_or_default();
        if let (Some(path), Some(of_file)) = (path, &written.routes)
            && document.is_from_file("routes")
        {
            written.routes = Some(path.parent().unwrap_or(Path::new("")).join(of_file));
        }
        if let Some(routes) = routes {
            written.routes = Some(routes.to_owned());
        }
        if let Some(admin) = admin {
            written.admin = Some(admin.to_owned());
        }
        match written.check() {
            Ok(config) if mistakes.is_empty() => return Ok(config),
            Ok(_) => {}
            Err(more) => mistakes.extend(more.into_iter().map(|text| document.located(text))),
        }
        Err(document.invalid(mistakes))
    }
}

#[cfg(test)]
mod tests;
