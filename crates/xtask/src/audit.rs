//! What dependencies may be: licences, sources, duplicates and published advisories, by
//! `deny.toml`.

use std::process::Command;

use anyhow::Context;

use crate::{
    shell::{run, say, workspace_root},
    tool::Tool,
};

const CARGO_DENY: Tool = Tool {
    package: "cargo-deny",
    version: "0.20.2",
    program: "cargo-deny",
    // The default features are a TLS stack for registries that need one of their own.
    arguments: &["--no-default-features"],
};

/// Checks `Cargo.lock` by `deny.toml`. The database of advisories is fetched anew; without it the
/// audit fails, or says so and goes on if `if_reachable`.
pub fn audit(if_reachable: bool) -> anyhow::Result<()> {
    let program = CARGO_DENY.installed()?;
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
