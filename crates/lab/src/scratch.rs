//! A lab directory for as long as a value lives.

use crate::{
    directory::LabDirectory,
    down::down,
    error::{LabError, Result},
};

/// A new directory under /tmp. Whatever lab is in it is taken down with this value.
#[derive(Debug)]
pub struct ScratchDirectory(Option<LabDirectory>);

impl ScratchDirectory {
    /// Makes the directory.
    pub fn new() -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("sextant-lab-")
            .tempdir_in("/tmp")
            .map_err(LabError::file("make a directory in", "/tmp"))?;
        // `down` removes it: a lab must be taken down before its files are.
        LabDirectory::choose(Some(&temporary.keep())).map(|directory| Self(Some(directory)))
    }

    /// The directory.
    pub fn directory(&self) -> LabDirectory {
        self.0.clone().expect("present until it is consumed")
    }

    /// Leaves it to someone else to take the lab down.
    pub fn keep(mut self) -> LabDirectory {
        self.0.take().expect("present until it is consumed")
    }

    /// Takes the lab down now.
    pub fn remove(mut self) -> Result<()> {
        self.0.take().map_or(Ok(()), |directory| down(&directory).map(drop))
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take() {
            // Who wants to know calls `remove`.
            let _ = down(&directory);
        }
    }
}
