//! Private files that others may read.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::StateFolder;

/// A private file with a mode that lets others at it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is open to others (mode {mode:04o}); chmod 600 it, and replace what it holds if others may have read it", path.display())]
pub struct ExposedFile {
    /// Which file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl StateFolder {
    /// The keys, and the file of the enrolment token if there is one, as far as they are exposed.
    pub fn exposed_files(&self, token_file: Option<&Path>) -> Vec<ExposedFile> {
        let keys = [self.wireguard_key_file(), self.client_key_file()];
        let files = keys.into_iter().chain(token_file.map(Path::to_owned));
        files.filter_map(exposure).collect()
    }
}

/// A file that cannot be examined is a matter for whoever reads it.
fn exposure(path: PathBuf) -> Option<ExposedFile> {
    let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(ExposedFile { path, mode })
}
