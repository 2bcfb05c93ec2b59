//! The directory of a lab: where its files are, and whether it may be used.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    error::{LabError, Result},
    process::LabId,
    shell,
};

/// The directory of a lab, by its absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabDirectory(PathBuf);

/// The right to change a lab; one command at a time has it. Freed on drop and on any crash.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "the open file holds the lock")] File);

/// Everything a lab keeps in its directory. The id goes last: it is what `down` needs.
const CONTENTS: [&str; 6] = ["log", "control", "nodes", "postgres", "lab.json", "lab.json.new"];
const ID_FILE: &str = "lab-id";
/// How the name begins of an id that is not complete yet.
const NEW_ID_PREFIX: &str = "lab-id.new";

impl LabDirectory {
    /// `given`, or `/tmp/sextant-lab-UID`. It need not exist.
    ///
    /// A directory under /run is refused: each lab host has a /run of its own and could not see it.
    pub fn choose(given: Option<&Path>) -> Result<Self> {
        let path = given.map_or_else(default_path, Path::to_owned);
        let path = std::path::absolute(&path).map_err(LabError::file("find", path))?;
        // The nearest part that exists decides where the directory really is.
        let real = path
            .ancestors()
            .find_map(|part| {
                let rest = path.strip_prefix(part).ok()?;
                Some(part.canonicalize().ok()?.components().chain(rest.components()).collect())
            })
            .unwrap_or_else(|| path.clone());
        if ["/run", "/var/run"].iter().any(|hidden| real.starts_with(hidden)) {
            return Err(LabError::UnusableDirectory {
                path: real,
                reason: "each lab host has its own /run and would not see it; \
                         name a directory elsewhere with --dir, for example under /tmp"
                    .to_owned(),
            });
        }
        Ok(Self(real))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A command for this lab as one can type it, in backquotes: with `--dir` unless this is the
    /// default directory.
    pub fn hint(&self, command: &str) -> String {
        format!("`{}`", self.command_line(command))
    }

    /// Like [`Self::hint`], bare. What comes after ` -- ` is for another program.
    pub fn command_line(&self, command: &str) -> String {
        if Self::choose(None).is_ok_and(|default| default == *self) {
            return format!("sextant-lab {command}");
        }
        let (own, rest) = match command.split_once(" -- ") {
            Some((own, rest)) => (own, format!(" -- {rest}")),
            None => (command, String::new()),
        };
        format!("sextant-lab {own} --dir {}{rest}", shell::word(&self.0.to_string_lossy()))
    }

    /// The error for a lab without `lab.json`.
    pub(crate) fn without_description(&self) -> Result<LabError> {
        let path = self.0.clone();
        Ok(match self.id()? {
            Some(_) => LabError::NoDescription { path, remedy: self.hint("down") },
            None => LabError::NoLab { path, remedy: self.hint("up") },
        })
    }

    /// `lab.json`.
    pub fn description(&self) -> PathBuf {
        self.0.join("lab.json")
    }

    /// The log of a host's daemon, or of `postgres`.
    pub fn log(&self, host: &str) -> PathBuf {
        self.0.join("log").join(format!("{host}.log"))
    }

    /// Files of the control plane: CA, admin token, one configuration per replica.
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// Files of one node: configuration, enrolment token, the agent's state.
    pub fn node(&self, name: &str) -> PathBuf {
        self.0.join("nodes").join(name)
    }

    /// Postgres: data and socket.
    pub fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    /// Makes the directory for a new lab and writes its id, before anything is started.
    pub fn create(&self, id: &LabId) -> Result<Claim> {
        if self.0.exists() && !self.0.is_dir() {
            return Err(self.unusable("it is not a directory; name another one with --dir"));
        }
        private_directory(&self.0)?;
        let file = self.0.join(ID_FILE);
        let is_foreign = |name: &OsString| !name.to_string_lossy().starts_with(ID_FILE);
        if self.names()?.iter().any(is_foreign) && !file.exists() {
            return Err(self.unusable("it is not empty; name another one with --dir"));
        }
        // It appears at once with all its content, and only if nobody was faster.
        let new = tempfile::Builder::new()
            .prefix(NEW_ID_PREFIX)
            .tempfile_in(&self.0)
            .and_then(|mut new| writeln!(new, "{}", id.as_str()).map(|()| new))
            .map_err(LabError::file("write in", &self.0))?;
        match new.persist_noclobber(&file) {
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => {
                let down = self.hint("down");
                return Err(self.unusable(&format!("a lab is there already; run {down} first")));
            }
            Err(failed) => return Err(LabError::file("make", file)(failed.error)),
            Ok(_) => {}
        }
        for part in ["log", "control", "nodes"] {
            private_directory(&self.0.join(part))?;
        }
        self.claim()
    }

    /// The id of the lab here; `None` if there is none.
    pub fn id(&self) -> Result<Option<LabId>> {
        let path = self.0.join(ID_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => LabId::parse(&text)
                .map(Some)
                .ok_or_else(|| self.unusable("its file \"lab-id\" is damaged; remove it by hand")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LabError::file("read", path)(error)),
        }
    }

    /// Takes the right to change the lab, at once or not at all.
    pub fn claim(&self) -> Result<Claim> {
        let path = self.0.join(ID_FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(LabError::NoLab { path: self.0.clone(), remedy: self.hint("up") });
            }
            Err(error) => return Err(LabError::file("open", path)(error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Claim(file)),
            Err(TryLockError::WouldBlock) => Err(self.unusable(
                "another sextant-lab command is changing this lab; wait for it or end it",
            )),
            Err(TryLockError::Error(error)) => Err(LabError::file("lock", path)(error)),
        }
    }

    /// Removes what the lab made here, and the directory if nothing else is in it.
    pub fn remove(&self) -> Result<()> {
        for name in CONTENTS {
            let path = self.0.join(name);
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            ignore_missing(removed).map_err(LabError::file("remove", path))?;
        }
        // What is left of an `up` that was killed; then the id itself.
        let names = self.names()?.into_iter();
        let left = names.filter(|name| name.to_string_lossy().starts_with(NEW_ID_PREFIX));
        for path in left.chain([ID_FILE.into()]).map(|name| self.0.join(name)) {
            ignore_missing(fs::remove_file(&path)).map_err(LabError::file("remove", path))?;
        }
        match fs::remove_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            result => ignore_missing(result).map_err(LabError::file("remove", &self.0)),
        }
    }

    fn names(&self) -> Result<Vec<OsString>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(LabError::file("read", &self.0))?,
        };
        let names: std::io::Result<_> = entries.map(|entry| Ok(entry?.file_name())).collect();
        names.map_err(LabError::file("read", &self.0))
    }

    fn unusable(&self, reason: &str) -> LabError {
        LabError::UnusableDirectory { path: self.0.clone(), reason: reason.to_owned() }
    }
}

fn default_path() -> PathBuf {
    PathBuf::from(format!("/tmp/sextant-lab-{}", rustix::process::getuid().as_raw()))
}

fn ignore_missing(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes a directory, and those above it, that only its owner may enter. It may exist.
pub fn private_directory(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(LabError::file("make", path))
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, content: &str) -> Result<()> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(LabError::file("write", path))
}

/// Writes a configuration as TOML that only its owner may read.
pub fn write_config(path: &Path, config: &serde_json::Value) -> Result<()> {
    let text = toml::to_string(config)
        .map_err(|error| LabError::file("write", path)(std::io::Error::other(error)))?;
    write_private(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> LabId {
        LabId::new([7; 16])
    }

    #[test]
    fn a_directory_under_run_is_refused_also_behind_a_link() {
        let temporary = tempfile::tempdir().expect("directory");
        let link = temporary.path().join("link");
        std::os::unix::fs::symlink("/run", &link).expect("link");
        for path in [Path::new("/run/lab"), &link.join("not/there"), Path::new("/var/run/x")] {
            let error = LabDirectory::choose(Some(path)).expect_err("hidden").to_string();
            assert!(error.contains("--dir"), "{error}");
        }
    }

    #[test]
    fn a_hint_names_the_directory_unless_it_is_the_default() {
        let default = LabDirectory::choose(None).expect("usable");
        assert_eq!(default.hint("down"), "`sextant-lab down`");
        let other = LabDirectory::choose(Some(Path::new("/tmp/my lab"))).expect("usable");
        assert_eq!(other.hint("down"), "`sextant-lab down --dir '/tmp/my lab'`");
        let exec = other.hint("exec n1 -- wg show");
        assert_eq!(exec, "`sextant-lab exec n1 --dir '/tmp/my lab' -- wg show`");
    }

    #[test]
    fn a_file_is_not_a_lab_and_one_without_description_is_taken_down() {
        let temporary = tempfile::tempdir().expect("directory");
        let file = temporary.path().join("file");
        fs::write(&file, "mine").expect("write");
        let error = LabDirectory(file).create(&id()).expect_err("a file").to_string();
        assert!(error.contains("not a directory"), "{error}");

        let lab = LabDirectory(temporary.path().join("lab"));
        assert!(matches!(lab.without_description(), Ok(LabError::NoLab { .. })));
        let _claim = lab.create(&id()).expect("new");
        let error = lab.without_description().expect("known").to_string();
        assert!(error.contains(&lab.hint("down")) && !error.contains("up`"), "{error}");
    }

    #[test]
    fn a_lab_is_made_once_and_removed_without_what_others_put_there() {
        let temporary = tempfile::tempdir().expect("directory");
        let lab = LabDirectory::choose(Some(&temporary.path().join("lab"))).expect("usable");
        let claim = lab.create(&id()).expect("new");
        assert_eq!(lab.id().expect("readable"), Some(id()));
        assert!(lab.claim().is_err(), "claimed twice");
        drop(claim);
        let again = lab.create(&LabId::new([8; 16])).expect_err("exists").to_string();
        assert_eq!(lab.id().expect("readable"), Some(id()), "the id is that of the first");
        assert!(again.contains("sextant-lab down"), "{again}");

        let notes = lab.path().join("notes");
        fs::write(&notes, "mine").expect("write");
        lab.remove().expect("remove");
        lab.remove().expect("remove twice");
        assert_eq!(fs::read_to_string(&notes).expect("kept"), "mine");
        assert!(matches!(lab.claim(), Err(LabError::NoLab { .. })));
        assert!(lab.create(&id()).is_err(), "not empty");
        fs::remove_file(notes).expect("remove");
        lab.remove().expect("remove");
        assert!(!lab.path().exists());
    }
}
