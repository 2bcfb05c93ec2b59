//! What can go wrong with a benchmark of proxies.

use std::{io, path::PathBuf};

use super::subject::Subject;
use crate::error::LabError;

/// Result of a part of the benchmark.
pub type Result<T, E = EdgeBenchError> = std::result::Result<T, E>;

/// Why a benchmark of proxies failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EdgeBenchError {
    /// Something that labs do too.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The load could not be made.
    #[error("cannot {action}: {source}")]
    Load {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A connection ended that should have stayed.
    #[error("a connection through the proxy was {how}")]
    Cut {
        /// `closed` or `reset`.
        how: &'static str,
    },
    /// A proxy does not pass anything through.
    #[error("{subject} passes nothing through after {seconds} s; the end of its log:\n{log}")]
    NotReady {
        /// Which one.
        subject: Subject,
        /// For how long it was tried.
        seconds: u64,
        /// The last lines it wrote.
        log: String,
    },
    /// A proxy ended by itself.
    #[error("{subject} ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// Which one.
        subject: Subject,
        /// How.
        status: std::process::ExitStatus,
        /// The last lines it wrote.
        log: String,
    },
    /// sozu does not build.
    #[error("`cargo install sozu` failed ({status}); go without `--with-sozu`")]
    NoSozu {
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The machine cannot give each side a core.
    #[error("the benchmark needs two cores, one for the proxy and one for the load")]
    OneCore,
    /// A file of /proc says something unexpected.
    #[error("\"{path}\" has no figure for {what}", path = path.display())]
    NoFigure {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

impl EdgeBenchError {
    /// Whether someone wants the benchmark to end.
    pub(super) const fn is_interrupt(&self) -> bool {
        matches!(self, Self::Lab(LabError::Interrupted))
    }

    /// For `map_err` on operations of the load.
    pub(super) fn load(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Load { action, source }
    }
}
