//! Where the daemons' programs are.

use std::path::{Path, PathBuf};

use crate::{
    command::{find_program, is_executable},
    error::{LabError, Result},
};

/// The directory the programs come from, with `PATH` as the fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    directory: PathBuf,
    /// Where the daemons come from, if from elsewhere.
    daemons: Option<PathBuf>,
}

impl Programs {
    /// Programs in this directory.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), daemons: None }
    }

    /// The same, with the daemons of another version.
    #[must_use]
    pub fn with_daemons(self, directory: impl Into<PathBuf>) -> Self {
        Self { daemons: Some(directory.into()), ..self }
    }

    /// Programs beside the one that is running.
    pub fn beside_this() -> Result<Self> {
        let own = std::env::current_exe().map_err(LabError::file("find", "/proc/self/exe"))?;
        Ok(Self::in_directory(own.parent().unwrap_or(Path::new("/"))))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `sextant-lab`.
    pub fn lab(&self) -> Result<PathBuf> {
        find(&self.directory, "sextant-lab")
    }

    /// `sextant-control`.
    pub fn control(&self) -> Result<PathBuf> {
        find(self.daemons(), "sextant-control")
    }

    /// `sextant-agent`.
    pub fn agent(&self) -> Result<PathBuf> {
        find(self.daemons(), "sextant-agent")
    }

    /// `sextant-edge`.
    pub fn edge(&self) -> Result<PathBuf> {
        find(self.daemons(), "sextant-edge")
    }

    /// `sextant`.
    pub fn cli(&self) -> Result<PathBuf> {
        find(&self.directory, "sextant")
    }

    fn daemons(&self) -> &Path {
        self.daemons.as_deref().unwrap_or(&self.directory)
    }
}

fn find(directory: &Path, program: &str) -> Result<PathBuf> {
    let beside = directory.join(program);
    if is_executable(&beside) {
        return Ok(beside);
    }
    let remedy = "run `cargo build --workspace` first";
    find_program(program, remedy).map_err(|_| LabError::MissingProgram {
        program: program.to_owned(),
        places: format!("\"{}\" or PATH", directory.display()),
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_places_and_the_remedy() {
        let error = find(Path::new("/nowhere"), "sextant-xyz").expect_err("missing");
        let text = error.to_string();
        for part in ["sextant-xyz", "/nowhere", "PATH", "cargo build"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
