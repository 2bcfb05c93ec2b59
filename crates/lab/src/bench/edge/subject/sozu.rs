//! sozu, where it has been built: its licence (AGPL) allows to run it as a peer, and it is never
//! part of anything here.

use std::{path::PathBuf, process::Command};

use super::{Task, built, lines, names};
use crate::{
    bench::edge::error::{EdgeBenchError, Result},
    command::find_program,
    error::LabError,
    programs::Programs,
};

/// What is compared.
const VERSION: &str = "2.3.3";

/// Below the target directory.
fn root(programs: &Programs) -> PathBuf {
    programs.directory().parent().unwrap_or(programs.directory()).join("peers/sozu")
}

pub(super) fn program(programs: &Programs) -> Result<PathBuf> {
    let program = root(programs).join("bin/sozu");
    built(program, "sozu", "run `cargo xtask bench edge --with-sozu`")
}

/// Builds it, unless it is there.
pub(super) fn build(programs: &Programs) -> Result<()> {
    if program(programs).is_ok() {
        return Ok(());
    }
    find_program("protoc", "install Debian's protobuf-compiler, which sozu's build needs")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["install", "sozu", "--version", VERSION, "--locked", "--features", "splice"])
        .arg("--root")
        .arg(root(programs))
        .status()
        .map_err(|source| LabError::Spawn { program: "cargo".to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(EdgeBenchError::NoSozu { status }) }
}

pub(super) fn configure(task: &Task<'_>) -> Result<Vec<String>> {
    let (port, directory) = (task.port, task.directory.display());
    let frontends = lines(
        names().map(|name| format!("    {{ address = \"[::]:{port}\", hostname = \"{name}\" }},")),
    );
    let backends =
        task.for_each_backend(|_, backend| format!("    {{ address = \"{backend}\" }},"));
    let connections = task.connections;
    let buffers = connections * 2;
    let text = format!(
        "command_socket = \"{directory}/sozu.sock\"
worker_count = 1
worker_automatic_restart = false
log_level = \"error\"
log_target = \"stdout\"
max_connections = {connections}
max_buffers = {buffers}
buffer_size = 32768
splice_pipe_capacity_bytes = 1048576
activate_listeners = true
front_timeout = 3600
back_timeout = 3600
connect_timeout = 5

[[listeners]]
protocol = \"tcp\"
address = \"[::]:{port}\"

[clusters.servers]
protocol = \"tcp\"
load_balancing = \"ROUND_ROBIN\"
frontends = [
{frontends}]
backends = [
{backends}]
"
    );
    let file = task.file("sozu.toml", &text)?;
    Ok(["start", "-c", &file].map(str::to_owned).to_vec())
}
