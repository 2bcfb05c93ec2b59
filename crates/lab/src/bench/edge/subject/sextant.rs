//! sextant-edge, with a file of routes.

use std::path::PathBuf;

use super::{Task, built, lines, names};
use crate::{bench::edge::error::Result, programs::Programs};

/// Connections that one source may have that have not said their hello.
pub(super) const PREREADS: u32 = 1000;

pub(super) fn program(programs: &Programs) -> Result<PathBuf> {
    let beside = programs.directory().join("sextant-edge");
    built(beside, "sextant-edge", "run `cargo build --release -p sextant-edge` first")
}

pub(super) fn configure(task: &Task<'_>) -> Result<Vec<String>> {
    let port = task.port;
    let backends: Vec<_> = task.backends.iter().map(|backend| format!("\"{backend}\"")).collect();
    let backends = backends.join(", ");
    let routes = lines(names().map(|name| {
        format!(
            "[[routes]]\nlisten = \"[::]:{port}\"\nhostname = \"{name}\"\n\
             protocol_hint = \"tls_passthrough\"\nbackends = [{backends}]\n"
        )
    }));
    let routes = task.file("routes.toml", &routes)?;
    let quota = PREREADS;
    let config = format!("workers = 1\n[limits]\nper_source_prereads = {quota}\n");
    let config = task.file("edge.toml", &config)?;
    Ok(["--routes", &routes, "--config", &config].map(str::to_owned).to_vec())
}
