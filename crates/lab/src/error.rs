//! What can go wrong with a lab.

use std::{io, path::PathBuf, time::Duration};

/// Result of everything that touches a lab.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// Why a lab command failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A file could not be read, written or removed.
    #[error("cannot {action} \"{path}\": {source}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program is not installed.
    #[error("\"{program}\" was not found in {places}; {remedy}")]
    MissingProgram {
        /// Its name.
        program: String,
        /// Where it was looked for.
        places: String,
        /// How to get it.
        remedy: &'static str,
    },
    /// A program could not be started.
    #[error("cannot start \"{program}\": {source}")]
    Spawn {
        /// Its name.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program ran and said no.
    #[error("\"{command}\" failed ({status}): {output}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A condition did not come true in time.
    #[error("gave up waiting for {what} after {} s: {state}", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// What was seen last.
        state: String,
    },
    /// A daemon runs and cannot serve.
    #[error("{what} runs, but is not ready after {} s: {state}", limit.as_secs())]
    NotReady {
        /// Which daemon.
        what: String,
        /// For how long it was waited for.
        limit: Duration,
        /// What it lacks, and the remedy if it is known.
        state: String,
    },
    /// A daemon ended by itself.
    #[error("{what} ended; the end of its log \"{log}\":\n{tail}", log = log.display())]
    Died {
        /// Which process.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The directory cannot hold a lab.
    #[error("\"{path}\" cannot hold a lab: {reason}", path = path.display())]
    UnusableDirectory {
        /// The directory.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// There is no lab.
    #[error("no lab is running in \"{path}\"; run {remedy} first", path = path.display())]
    NoLab {
        /// The directory.
        path: PathBuf,
        /// The command that makes one.
        remedy: String,
    },
    /// There is a lab, and nobody knows what is in it.
    #[error(
        "the lab in \"{path}\" has no lab.json: it is just being made, or damaged; \
         {remedy} removes what is there",
        path = path.display()
    )]
    NoDescription {
        /// The directory.
        path: PathBuf,
        /// The command that takes it down.
        remedy: String,
    },
    /// Nothing of that kind and name exists.
    #[error("no {kind} \"{name}\" in this lab; there are: {known}")]
    Unknown {
        /// `host`, `node`, `edge`, `replica`, `daemon` or `workload`.
        kind: &'static str,
        /// The name given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A name for something new is not usable.
    #[error("the name \"{name}\" cannot be used: {reason}")]
    UnusableName {
        /// The name given.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A daemon is already running, or not running.
    #[error("{what} is {state}")]
    WrongState {
        /// Which daemon.
        what: String,
        /// What it is, and the remedy.
        state: String,
    },
    /// A file holds something else than expected.
    #[error("\"{path}\" is not readable as {what}: {source}", path = path.display())]
    Malformed {
        /// Expected content.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// The control plane refused or could not be reached.
    #[error("cannot {action}: {reason}")]
    ControlPlane {
        /// What was asked of it.
        action: String,
        /// Its answer.
        reason: String,
    },
}

impl LabError {
    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
