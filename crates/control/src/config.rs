//! Configuration of a replica.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use sextant_daemon::logging::LogConfig;
use sextant_model::Hostname;
use sextant_store::ConnectOptions;

/// `control.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the log lives.
    pub database: DatabaseConfig,
    /// Where to listen, besides sockets passed by the service manager.
    #[serde(default)]
    pub listen: ListenConfig,
    /// Who the replica is.
    pub tls: TlsConfig,
    /// Who may use which hostnames.
    #[serde(default)]
    pub hostnames: HostnameConfig,
    /// How nodes go.
    #[serde(default)]
    pub nodes: NodeConfig,
    /// How workloads go.
    #[serde(default)]
    pub workloads: WorkloadConfig,
    /// How to log.
    #[serde(default)]
    pub log: LogConfig,
}

/// Section `[database]`: exactly one of `url` and `url_file`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgresql://…` without a password, for example over a Unix socket.
    pub url: Option<String>,
    /// File that holds a URL with a password.
    pub url_file: Option<PathBuf>,
    /// Connections at most.
    #[serde(default = "sixteen")]
    pub max_connections: u32,
    /// Whether a host that is given by its name may be reached over IPv4.
    #[serde(default)]
    pub allow_ipv4: bool,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A URL may hold a password even where it should not.
        f.debug_struct("DatabaseConfig").field("url_file", &self.url_file).finish_non_exhaustive()
    }
}

fn sixteen() -> u32 {
    16
}

/// Section `[listen]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Addresses and ports.
    #[serde(default)]
    pub addresses: Vec<SocketAddr>,
}

/// Section `[tls]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate of the platform's CA, PEM; the same on every replica.
    pub ca_certificate_file: PathBuf,
    /// Private key of the platform's CA, PEM, mode 0600; the same on every replica.
    pub ca_key_file: PathBuf,
    /// Names and addresses under which clients reach this replica.
    pub names: Vec<String>,
}

/// Section `[hostnames]`: the same on every replica.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostnameConfig {
    /// The platform's own domain: names within it need no proof.
    pub platform_domain: Option<Hostname>,
    /// Whether names outside of it are proved by a DNS record before they are used.
    #[serde(default = "yes")]
    pub verify: bool,
    /// The resolver that is asked for these records; the system's if absent.
    pub resolver: Option<SocketAddr>,
}

impl Default for HostnameConfig {
    fn default() -> Self {
        Self { platform_domain: None, verify: yes(), resolver: None }
    }
}

/// Section `[nodes]`: the same on every replica.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// A node that has not reported for so many days is not waited for when another one leaves; 0 waits
    /// for every node.
    #[serde(default = "a_week")]
    pub silent_days: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { silent_days: a_week() }
    }
}

fn a_week() -> u64 {
    7
}

/// Section `[workloads]`: the same on every replica.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadConfig {
    /// How long a withdrawn workload keeps its address, so that connections to it can end, in
    /// seconds. Edges send it no new ones from the first moment.
    #[serde(default = "half_a_minute")]
    pub drain_seconds: u64,
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        Self { drain_seconds: half_a_minute() }
    }
}

fn half_a_minute() -> u64 {
    30
}

fn yes() -> bool {
    true
}

/// A `[database]` section that does not say where.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Neither or both.
    #[error("set exactly one of database.url and database.url_file")]
    ExactlyOne,
    /// Not Postgres.
    #[error("the database URL does not begin with postgresql://")]
    Scheme,
    /// Too few for the tail, the wake-ups, the projections and requests.
    #[error("database.max_connections is {0}; a replica needs at least 5")]
    TooFewConnections(u32),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] sextant_daemon::private_file::PrivateFileError),
}

impl DatabaseConfig {
    /// Connections at most, if they are enough.
    pub fn checked_max_connections(&self) -> Result<u32, DatabaseUrlError> {
        match self.max_connections {
            0..5 => Err(DatabaseUrlError::TooFewConnections(self.max_connections)),
            enough => Ok(enough),
        }
    }

    /// How to reach the database, with as many connections as a command needs.
    pub fn connect_options(&self) -> Result<ConnectOptions, DatabaseUrlError> {
        let options = ConnectOptions::new(self.resolve()?);
        Ok(ConnectOptions { allow_ipv4: self.allow_ipv4, ..options })
    }

    /// The URL, wherever it stands.
    pub fn resolve(&self) -> Result<String, DatabaseUrlError> {
        let url = match (&self.url, &self.url_file) {
            (Some(url), None) => url.clone(),
            (None, Some(file)) => {
                sextant_daemon::private_file::read_secret(file)?.trim().to_owned()
            }
            _ => return Err(DatabaseUrlError::ExactlyOne),
        };
        let postgres =
            ["postgresql://", "postgres://"].iter().any(|scheme| url.starts_with(scheme));
        if postgres { Ok(crate::login::with_user(&url)) } else { Err(DatabaseUrlError::Scheme) }
    }
}
