//! The proxies that are compared, each configured as its users would for this work: one core, TLS
//! passed through by SNI, a hundred names, four servers.

mod haproxy;
mod nginx;
mod sextant;
mod sozu;

use std::{
    fmt::{self, Write},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::Serialize;

use super::error::Result;
use crate::{
    command::{find_program, is_executable},
    error::LabError,
    programs::Programs,
};

/// Names that the proxies know.
const NAMES: u32 = 100;

/// Builds sozu, unless it is there.
pub(super) fn build_sozu(places: &Places) -> Result<()> {
    sozu::build(&places.programs)
}

/// What stands between the clients and the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Nothing: what the load can do at most
    Direct,
    /// sextant-edge
    Sextant,
    /// HAProxy, with splicing
    Haproxy,
    /// nginx's stream module
    Nginx,
    /// sozu, with splicing
    Sozu,
}

/// What a proxy is told.
#[derive(Debug)]
pub(super) struct Task<'a> {
    /// Where its files go.
    pub(super) directory: &'a Path,
    /// The port to listen on, at every address.
    pub(super) port: u16,
    /// The servers.
    pub(super) backends: &'a [SocketAddr],
    /// How many connections to expect.
    pub(super) connections: usize,
}

/// Where programs are that the system does not bring.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// sextant-edge, if it is not beside this program.
    pub(super) edge: Option<PathBuf>,
    pub(super) programs: Programs,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Sextant => "sextant-edge",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Sozu => "sozu",
        })
    }
}

impl Subject {
    /// Whether sextant-edge is compared with it.
    pub(super) const fn is_peer(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx | Self::Sozu)
    }

    /// How many connections one source may have that have not said where they want to go, if there
    /// is a limit.
    pub(super) fn preread_quota(self) -> Option<u32> {
        (self == Self::Sextant).then_some(sextant::PREREADS)
    }

    /// Its program. [`Self::Direct`] has none.
    pub(super) fn program(self, places: &Places) -> Result<Option<PathBuf>> {
        let installed = |name| find_program(name, "run `cargo xtask setup`");
        Ok(match self {
            Self::Direct => None,
            Self::Sextant => Some(match &places.edge {
                Some(path) => path.clone(),
                None => sextant::program(&places.programs)?,
            }),
            Self::Haproxy => Some(installed("haproxy")?),
            Self::Nginx => Some(installed("nginx")?),
            Self::Sozu => Some(sozu::program(&places.programs)?),
        })
    }

    /// Writes its configuration and returns its arguments.
    pub(super) fn configure(self, task: &Task<'_>) -> Result<Vec<String>> {
        match self {
            Self::Direct => Ok(Vec::new()),
            Self::Sextant => sextant::configure(task),
            Self::Haproxy => haproxy::configure(task),
            Self::Nginx => nginx::configure(task),
            Self::Sozu => sozu::configure(task),
        }
    }
}

impl Task<'_> {
    /// Writes a file of the proxy and returns its path.
    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(LabError::file("write", &path))?;
        Ok(path.display().to_string())
    }

    /// One line for each server.
    fn for_each_backend(&self, line: impl Fn(usize, &SocketAddr) -> String) -> String {
        lines(self.backends.iter().enumerate().map(|(number, backend)| line(number, backend)))
    }
}

/// The names the proxies know.
fn names() -> impl Iterator<Item = String> {
    (0..NAMES).map(|number| format!("h{number}.bench.example"))
}

/// The name the clients ask for.
pub(super) fn asked_name() -> String {
    names().nth(42).unwrap_or_default()
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

/// A program that this workspace builds, or that was put below its target directory.
fn built(path: PathBuf, program: &str, remedy: &'static str) -> Result<PathBuf> {
    if is_executable(&path) {
        return Ok(path);
    }
    let places = format!("\"{}\"", path.display());
    Err(LabError::MissingProgram { program: program.to_owned(), places, remedy }.into())
}
