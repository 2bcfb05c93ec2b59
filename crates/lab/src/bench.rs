//! What only a whole platform can show: how fast a join is known to all ([`join`]), and that
//! nothing is lost or cut when its parts are killed ([`kill`]), that each fault is named by its cause
//! ([`faults`]), how fast a change of routes is live ([`routes`]), and that strangers and one tenant
//! leave the platform to the others ([`pressure`]). And what the edge costs beside other
//! proxies ([`edge`]).

pub mod edge;
pub mod faults;
mod figures;
pub mod join;
pub mod kill;
pub mod pressure;
pub mod routes;

use std::io::Write;

use crate::{
    directory::LabDirectory,
    error::{LabError, Result},
    interrupt::Interrupt,
    progress::Progress,
    scratch::ScratchDirectory,
};

/// How the programs of the lab were built, if they were built together.
const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// Does `work` in a directory of its own; Ctrl-C interrupts it, and it is taken down at the end.
fn in_scratch_lab<T>(
    keep: bool,
    work: impl FnOnce(LabDirectory, Interrupt) -> Result<T>,
) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| LabError::Spawn { program: "the async runtime".to_owned(), source })?;
    let interrupt =
        Interrupt::on_signals(runtime.handle()).map_err(LabError::file("catch", "Ctrl-C"))?;
    let scratch = ScratchDirectory::new()?;
    let outcome = work(scratch.directory(), interrupt);
    if keep {
        let path = scratch.keep().path().display().to_string();
        Progress::start().say(format_args!("the lab keeps running; use it with `--dir {path}`"));
    } else {
        scratch.remove()?;
    }
    outcome
}

/// One line or more on stdout. A reader who has gone, such as `head`, is no error.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
