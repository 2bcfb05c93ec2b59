//! Programs from crates.io that checks use, in versions of our choice.

use std::path::PathBuf;

use crate::shell::{cargo, run, target_directory};

/// A program of a crate.
pub struct Tool {
    /// The crate.
    pub package: &'static str,
    /// One version for everybody, so that a new release changes no result by itself.
    pub version: &'static str,
    /// The program in it.
    pub program: &'static str,
    /// More arguments for `cargo install`.
    pub arguments: &'static [&'static str],
}

impl Tool {
    /// Where the program is; built once for each version, under the target directory.
    pub fn installed(&self) -> anyhow::Result<PathBuf> {
        let Self { package, version, program, arguments } = self;
        let root = target_directory()?.join("tools").join(format!("{package}-{version}"));
        let path = root.join("bin").join(program);
        if !path.exists() {
            let mut install = cargo()?;
            install.args(["install", "--locked", "--root"]).arg(&root).args(*arguments);
            run(install.arg(format!("{package}@{version}")))?;
        }
        Ok(path)
    }
}
