//! The last good routes on disk, so that an edge serves without a control plane.
//!
//! ```text
//! routing.json     a snapshot: a line with version, cursor and checksum, then the routes
//! routing.journal  what happened since, a line for each event, which names the one before it: a
//!                  change of one route among 100,000 writes one line
//! lock             one edge per folder
//! ```
//!
//! A line that is cut short, or does not follow on the one before, ends the journal: everything before
//! it is good.

mod format;
mod keeper;

use std::{
    fs::{File, TryLockError},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use sextant_daemon::private_file::{self, PrivateFileError};
use sextant_model::{Cursor, routing::Routing};

pub use format::{Damage, Entry};
pub use keeper::Keeper;

/// A symbolic link in the place of a file of ours is no file of ours: whoever can put one there would
/// choose what is written to.
pub(crate) const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();
/// Largest snapshot that is read, in bytes.
const LIMIT: u64 = 512 * 1024 * 1024;

/// Everything that happened up to the cursor.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Where the stream goes on.
    pub cursor: Cursor,
    /// The routes and workloads.
    pub routing: Routing,
}

/// What was found on disk.
#[derive(Debug)]
pub enum Loaded {
    /// Nothing yet.
    Missing,
    /// The last good state.
    Good {
        /// What it says.
        saved: Box<Saved>,
        /// Whether all of the journal could be read: lines may be added to it.
        whole: bool,
    },
    /// A file that cannot be believed.
    Unreadable(Damage),
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// Another edge works in the folder.
    #[error("another sextant-edge runs on \"{}\"; stop it first, or use another control_plane.state_dir", .0.display())]
    Locked(PathBuf),
    /// Something else went wrong.
    #[error("cannot use \"{}\": {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The folder `control_plane.state_dir`.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

/// Held by whoever writes. The kernel releases it, however the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl StateFolder {
    /// Makes the folder if it is missing.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        private_file::create_folder(&path)?;
        Ok(Self { path })
    }

    /// Keeps other edges out.
    pub fn lock(&self) -> Result<FolderLock, StateError> {
        let (path, file) = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked(self.path.clone())),
            Err(TryLockError::Error(source)) => Err(StateError::Io { path, source }),
        }
    }

    /// The same, and waits until the edge that has it lets go.
    fn wait_for_lock(&self) -> Result<FolderLock, StateError> {
        let (path, file) = self.lock_file()?;
        file.lock().map_err(|source| StateError::Io { path, source })?;
        Ok(FolderLock { _file: file })
    }

    fn lock_file(&self) -> Result<(PathBuf, File), StateError> {
        let path = self.file("lock");
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        options.custom_flags(NO_LINK);
        match options.open(&path) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    /// The last good state. Works without the lock too, while another edge writes.
    pub fn load(&self) -> Result<Loaded, StateError> {
        // Before the snapshot: a snapshot that is written meanwhile covers all that was in it.
        let journal = self.read_journal()?;
        let text = match private_file::read_up_to(&self.snapshot_file(), LIMIT) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(Loaded::Missing),
            Err(error) if error.source.kind() == io::ErrorKind::InvalidData => {
                return Ok(Loaded::Unreadable(Damage::NotText));
            }
            Err(error) => return Err(error.into()),
        };
        let mut saved = match format::decode_snapshot(&text) {
            Ok(saved) => saved,
            Err(damage) => return Ok(Loaded::Unreadable(damage)),
        };
        // What is left of a journal that was cut in the middle of a character is still good.
        let whole = format::replay(&String::from_utf8_lossy(&journal), &mut saved);
        Ok(Loaded::Good { saved: Box::new(saved), whole })
    }

    fn read_journal(&self) -> Result<Vec<u8>, StateError> {
        let read = || {
            let mut journal = Vec::new();
            let mut file =
                File::options().read(true).custom_flags(NO_LINK).open(self.journal_file())?;
            file.read_to_end(&mut journal)?;
            io::Result::Ok(journal)
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|source| StateError::Io { path: self.journal_file(), source }),
        }
    }

    /// Moves a state that cannot be believed aside, for those who want to know what happened.
    pub fn set_aside(&self) -> Result<PathBuf, StateError> {
        let (from, to) = (self.snapshot_file(), self.file("routing.json.unreadable"));
        std::fs::rename(&from, &to).map_err(|source| StateError::Io { path: from, source })?;
        Ok(to)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn snapshot_file(&self) -> PathBuf {
        self.file("routing.json")
    }

    fn journal_file(&self) -> PathBuf {
        self.file("routing.journal")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
pub(crate) mod tests;
