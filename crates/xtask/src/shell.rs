//! Running other programs from the workspace's root.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// The directory of the workspace's Cargo.toml.
pub fn workspace_root() -> anyhow::Result<PathBuf> {
    // Set by cargo at run time, so a checkout that has moved still finds itself.
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = own.ancestors().nth(2).context("xtask lies in crates/xtask of the workspace")?;
    Ok(root.to_owned())
}

/// Where cargo puts what it builds.
pub fn target_directory() -> anyhow::Result<PathBuf> {
    let root = workspace_root()?;
    Ok(std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |path| root.join(path)))
}

/// The cargo that runs this.
pub fn cargo() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root()?).env("SQLX_OFFLINE", "true");
    Ok(command)
}

/// Runs a command to its end with the terminal's stdout and stderr.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    say(&format!("$ {}", line(command)));
    let status = command.status().with_context(|| format!("cannot run `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a command to its end and returns its stdout.
pub fn output_of(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    say(&format!("$ {}", line(command)));
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(command), output.status);
    }
    Ok(output.stdout)
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// One line on stderr.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether a program is in `PATH` or where Debian keeps those for administrators.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|directory| directory.join(name).is_file())
}

/// Runs `command` with a scratch Postgres whose socket directory is in `SEXTANT_TEST_POSTGRES`.
/// Needs `sextant-lab` to be built.
pub fn with_scratch_postgres(command: &Command) -> anyhow::Result<()> {
    let target = target_directory()?;
    let directory = target.join(format!("xtask/postgres-{}", std::process::id()));
    let mut wrapper = Command::new(target.join("debug/sextant-lab"));
    wrapper.arg("--dir").arg(&directory).args(["scratch-postgres", "--"]);
    wrapper.arg(command.get_program()).args(command.get_args()).current_dir(workspace_root()?);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    let result = run(&mut wrapper);
    remove_directory(&directory)?;
    result
}

/// Removes a directory, which may not exist.
pub fn remove_directory(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove \"{}\"", path.display()))
        }
        _ => Ok(()),
    }
}
