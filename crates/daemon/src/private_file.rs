//! Files that hold secrets or state: readable by their owner only, replaced in one step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

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

    /// Whether others may reach what only its owner should.
    pub fn is_exposed(&self) -> bool {
        self.action == "use"
    }

    /// Whether there is no room, which ends by itself or by making some.
    pub fn is_out_of_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded)
    }
}

/// Where systemd puts credentials, systemd.exec(5).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Largest file with a secret, in bytes.
const SECRET_LIMIT: u64 = 64 * 1024;
/// Largest file that is read whole, in bytes.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Replaces `path` by `content`, mode 0600. After a crash at any point the file holds either the
/// old or the new content, never a part.
pub fn write(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    let failed = |source| PrivateFileError { action: "write", path: path.to_owned(), source };
    replace(path, content, None).map_err(failed)
}

fn replace(path: &Path, content: &[u8], group: Option<u32>) -> io::Result<()> {
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
    let staging = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        if group.is_some() {
            std::os::unix::fs::fchown(&file, None, group)?;
            file.set_permissions(fs::Permissions::from_mode(0o640))?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&staged, path)
    };
    if let Err(error) = staging() {
        // A full disk is no fuller for it.
        let _ = fs::remove_file(&staged);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Who but its owner may read a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Nobody.
    Owner,
    /// Its group, where that is what the file is for.
    Group,
}

/// The content of a file that holds a secret. Refused if others could read or change it: then the
/// secret may be known already. It is wiped from memory when it is dropped.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, PrivateFileError> {
    read_secret_of(path, Readers::Owner)
}

/// The same for a file that `readers` may read.
pub fn read_secret_of(
    path: &Path,
    readers: Readers,
) -> Result<Zeroizing<String>, PrivateFileError> {
    let failed = |source| PrivateFileError { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_mode(path, metadata.permissions().mode(), readers)?;
    // All at once: a buffer that grows leaves copies behind.
    let length = usize::try_from(metadata.len().min(SECRET_LIMIT)).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(length + 1));
    let read = file.take(SECRET_LIMIT + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > SECRET_LIMIT {
        return Err(failed(io::Error::other("the file is too large")));
    }
    Ok(text)
}

/// Refuses a file with a secret that others may read or change.
pub fn check_secret(path: &Path) -> Result<(), PrivateFileError> {
    let failed = |source| PrivateFileError { action: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    check_mode(path, mode, Readers::Owner)
}

/// Refuses a folder of secrets that others may enter.
pub fn check_folder(path: &Path) -> Result<(), PrivateFileError> {
    let failed = |source| PrivateFileError { action: "use", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    let of_others = mode & 0o077;
    if of_others == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(failed(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("others may enter it (mode {mode:04o}); run `chmod 0700 {path}`"),
    )))
}

fn check_mode(path: &Path, mode: u32, readers: Readers) -> Result<(), PrivateFileError> {
    let mode = mode & 0o7777;
    let credentials = std::env::var_os(CREDENTIALS).map(PathBuf::from);
    // There the service manager names the one who may read by an access list, which shows as the
    // group's permission.
    let is_credential = credentials.is_some_and(|folder| path.starts_with(folder));
    let (loose, right) = match readers {
        Readers::Group => (0o037, "0640"),
        Readers::Owner if is_credential => (0o037, "0400"),
        Readers::Owner => (0o077, "0600"),
    };
    if mode & loose == 0 {
        return Ok(());
    }
    let shown = path.display();
    let source = io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "others may read or change it (mode {mode:04o}); run `chmod {right} {shown}`, and replace what it holds if it was not meant for them"
        ),
    );
    Err(PrivateFileError { action: "use", path: path.to_owned(), source })
}

/// Replaces `path` by `content`, which `group` may read: mode 0640.
pub fn write_for_group(path: &Path, content: &[u8], group: u32) -> Result<(), PrivateFileError> {
    let failed = |source| PrivateFileError { action: "write", path: path.to_owned(), source };
    replace(path, content, Some(group)).map_err(failed)
}

/// Makes the folder `path`, which `group` may enter: mode 0750.
pub fn create_folder_for_group(path: &Path, group: u32) -> Result<(), PrivateFileError> {
    let failed = |source| PrivateFileError { action: "create", path: path.to_owned(), source };
    create_folder(path)?;
    std::os::unix::fs::chown(path, None, Some(group)).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o750)).map_err(failed)
}

/// Removes what a process that was killed, or had no room, left of a file that it was writing in
/// `folder`.
pub fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let staged = name.strip_suffix(".new").and_then(|rest| rest.rsplit_once('.'));
        let pid = staged.and_then(|(_, pid)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| pid != std::process::id()) {
            let _ = fs::remove_file(entry.path());
        }
    }
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
    fn a_secret_that_others_may_read_or_change_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
        };
        write(&path, b"secret").expect("written");
        for good in [0o600, 0o400] {
            set(&path, good);
            assert_eq!(read_secret(&path).expect("private").as_str(), "secret");
            check_secret(&path).expect("private");
        }
        for bad in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666, 0o777] {
            set(&path, bad);
            let error = read_secret(&path).expect_err("exposed").to_string();
            let remedy = format!("(mode {bad:04o}); run `chmod 0600 {}`", path.display());
            assert!(error.contains(&remedy), "{error}");
            assert!(!error.contains("secret\n") && check_secret(&path).is_err());
            let readable = bad == 0o640;
            assert_eq!(read_secret_of(&path, Readers::Group).is_ok(), readable, "{bad:o}");
        }
        for (mode, good) in [(0o700, true), (0o500, true), (0o750, false), (0o777, false)] {
            set(folder.path(), mode);
            assert_eq!(check_folder(folder.path()).is_ok(), good, "{mode:o}");
        }
        set(folder.path(), 0o700);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind_and_leftovers_of_others_are_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.json");
        // A folder in its place: the last step fails.
        fs::create_dir_all(path.join("in the way")).expect("folder");
        write(&path, b"x").expect_err("it cannot be replaced");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
        let of_another = folder.path().join("client.crt.1.new");
        for name in ["client.crt.1.new", "client.crt", "a.new", "b.x.new"] {
            fs::write(folder.path().join(name), "").expect("written");
        }
        remove_leftovers(folder.path());
        assert!(!of_another.exists());
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 4, "the others stay");
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let error = read(Path::new("/nonexistent/key")).expect_err("missing");
        assert!(error.is_missing());
        assert!(error.to_string().starts_with("cannot read \"/nonexistent/key\""), "{error}");
    }
}
