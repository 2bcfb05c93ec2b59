//! What dependencies may be: licences, sources, duplicates and published advisories, by
//! `deny.toml`.

use std::{path::PathBuf, process::Command};

use anyhow::Context;

use crate::shell::{cargo, run, say, target_directory, workspace_root};

/// One version for everybody, so that a new release of it changes no result by itself.
const VERSION: &str = "0.20.2";

/// Checks `Cargo.lock` by `deny.toml`. The database of advisories is fetched anew; without it the
/// audit fails, or says so and goes on if `if_reachable`.
pub fn audit(if_reachable: bool) -> anyhow::Result<()> {
    let program = install()?;
    let deny = |arguments: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new(&program);
        run(command.current_dir(workspace_root()?).arg("--locked").args(arguments))
    };
    deny(&["check", "licenses", "bans", "sources"])?;
    match deny(&["fetch", "db"]) {
        Ok(()) => deny(&["--offline", "check", "advisories"]),
        Err(error) if if_reachable => {
            say(&format!(
                "advisories were NOT checked: their database cannot be fetched ({error})"
            ));
            Ok(())
        }
        Err(error) => Err(error).context("the database of advisories cannot be fetched"),
    }
}

/// cargo-deny under the target directory, built once for each version.
fn install() -> anyhow::Result<PathBuf> {
    let root = target_directory()?.join("tools").join(format!("cargo-deny-{VERSION}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        let mut install = cargo()?;
        // Its default features are a TLS stack for registries that need one of their own.
        install.args(["install", "--locked", "--no-default-features", "--root"]).arg(&root);
        run(install.arg(format!("cargo-deny@{VERSION}")))?;
    }
    Ok(program)
}
