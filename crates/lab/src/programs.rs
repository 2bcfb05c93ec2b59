//! Where the daemons' programs are.

use std::path::{Path, PathBuf};

use crate::{
    command::{find_program, is_executable},
    error::{LabError, Result},
};

/// The directory the programs come from, with `PATH` as the fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs(PathBuf);

impl Programs {
    /// Programs in this directory.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Programs beside the one that is running.
    pub fn beside_this() -> Result<Self> {
        let own = std::env::current_exe().map_err(LabError::file("find", "/proc/self/exe"))?;
        Ok(Self::in_directory(own.parent().unwrap_or(Path::new("/"))))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// `sextant-lab`.
    pub fn lab(&self) -> Result<PathBuf> {
        self.find("sextant-lab")
    }

    /// `sextant-control`.
    pub fn control(&self) -> Result<PathBuf> {
        self.find("sextant-control")
    }

    /// `sextant-agent`.
    pub fn agent(&self) -> Result<PathBuf> {
        self.find("sextant-agent")
    }

    /// `sextant-edge`.
    pub fn edge(&self) -> Result<PathBuf> {
        self.find("sextant-edge")
    }

    /// `sextant`.
    pub fn cli(&self) -> Result<PathBuf> {
        self.find("sextant")
    }

    fn find(&self, program: &str) -> Result<PathBuf> {
        let beside = self.0.join(program);
        if is_executable(&beside) {
            return Ok(beside);
        }
        let remedy = "run `cargo build --workspace` first";
        find_program(program, remedy).map_err(|_| LabError::MissingProgram {
            program: program.to_owned(),
            places: format!("\"{}\" or PATH", self.0.display()),
            remedy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_places_and_the_remedy() {
        let error = Programs::in_directory("/nowhere").find("sextant-xyz").expect_err("missing");
        let text = error.to_string();
        for part in ["sextant-xyz", "/nowhere", "PATH", "cargo build"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
