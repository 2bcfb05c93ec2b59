//! Files that hold secrets or state: readable by their owner only, replaced in one step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A private file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} \"{}\": {source}", path.display())]
pub struct PrivateFileError {
    action: &'static str,
    path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

impl PrivateFileError {
    /// Whether the file is not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Largest file that is read whole, in bytes.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Replaces `path` by `content`, mode 0600. After a crash at any point the file holds either the
/// old or the new content, never a part.
pub fn write(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    let failed = |source| PrivateFileError { action: "write", path: path.to_owned(), source };
    replace(path, content).map_err(failed)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let staged = folder.join(name);
    // A leftover of a crashed process with the same id must not lend its mode.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    File::open(folder)?.sync_all()
}

/// The content of `path` as text.
pub fn read(path: &Path) -> Result<String, PrivateFileError> {
    read_up_to(path, LIMIT)
}

/// The content of `path` as text, if it has at most `limit` bytes.
pub fn read_up_to(path: &Path, limit: u64) -> Result<String, PrivateFileError> {
    let failed = |source| PrivateFileError { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    let read = file.take(limit + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > limit {
        return Err(failed(io::Error::other("the file is too large")));
    }
    Ok(text)
}

/// Makes the folder `path` and its parents, mode 0700, unless they exist.
pub fn create_folder(path: &Path) -> Result<(), PrivateFileError> {
    let failed = |source| PrivateFileError { action: "create", path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_file_is_its_owners_alone_even_when_it_replaces_a_public_one() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
        write(&path, b"new").expect("replaced");
        assert_eq!(read(&path).expect("read"), "new");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "nothing is left over");
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let error = read(Path::new("/nonexistent/key")).expect_err("missing");
        assert!(error.is_missing());
        assert!(error.to_string().starts_with("cannot read \"/nonexistent/key\""), "{error}");
    }
}
