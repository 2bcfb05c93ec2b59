//! Under which account the server runs and where it may keep its files: Postgres refuses to run
//! as root, and the path of a unix socket is short.

use std::{
    ffi::OsString,
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use crate::{
    command::{output, run},
    directory::private_directory,
    error::{LabError, Result},
};

/// A socket's path has room for 107 bytes, of which its name takes 15.
const LONGEST_DIRECTORY: usize = 107 - "/.s.PGSQL.5432.lock".len();

/// Where and as whom a server runs.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The words to put before its command line.
    pub entry: Vec<OsString>,
    /// Its data go below this.
    pub home: PathBuf,
    /// Its socket goes here.
    pub socket_directory: PathBuf,
    /// A directory outside the one that was given.
    pub elsewhere: Option<PathBuf>,
}

impl Place {
    /// A command that runs under the server's account.
    pub fn command(&self, program: PathBuf) -> Command {
        let mut words = self.entry.iter().cloned().chain([program.into()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        // initdb looks at the directory it is started in, which its account may not enter.
        command.current_dir(&self.home);
        command
    }
}

pub(super) fn place(directory: &Path) -> Result<Place> {
    let entry = entry()?;
    let own_account = entry.first().is_none_or(|word| word != "setpriv");
    let fits = directory.as_os_str().len() <= LONGEST_DIRECTORY;
    if own_account && fits {
        let directory = directory.to_owned();
        return Ok(Place {
            entry,
            home: directory.clone(),
            socket_directory: directory,
            elsewhere: None,
        });
    }
    let short = elsewhere(directory);
    private_directory(&short)?;
    let owner = fs::symlink_metadata(&short).map_err(LabError::file("look at", &short))?;
    let me = rustix::process::geteuid().as_raw();
    let account = if own_account { me } else { account_id("-u")? };
    if !owner.is_dir() || (owner.uid() != me && owner.uid() != account) {
        let reason = "somebody else owns it; remove it, or choose another directory".to_owned();
        return Err(LabError::UnusableDirectory { path: short, reason });
    }
    if own_account {
        let home = directory.to_owned();
        return Ok(Place { entry, home, socket_directory: short.clone(), elsewhere: Some(short) });
    }
    // The other account cannot enter a private directory of root's, so all its files go there.
    chown(&short, Some(account), Some(account_id("-g")?))
        .map_err(LabError::file("give away", &short))?;
    Ok(Place {
        entry,
        home: short.clone(),
        socket_directory: short.clone(),
        elsewhere: Some(short),
    })
}

/// Root becomes an ordinary user in a user namespace, or the account `postgres` where the kernel
/// allows no such namespace.
fn entry() -> Result<Vec<OsString>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let namespace = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"];
    let mut probe = Command::new(namespace[0]);
    if output(probe.args(&namespace[1..]).arg("true"), "").is_ok_and(|out| out.status.success()) {
        return Ok(namespace.map(OsString::from).to_vec());
    }
    let (user, group) = (account_id("-u")?, account_id("-g")?);
    let words = [
        "setpriv".to_owned(),
        format!("--reuid={user}"),
        format!("--regid={group}"),
        "--clear-groups".to_owned(),
        "--".to_owned(),
    ];
    Ok(words.map(OsString::from).to_vec())
}

fn account_id(which: &str) -> Result<u32> {
    let text = run(Command::new("id").args([which, "postgres"]))?;
    text.trim().parse().map_err(|_| LabError::Command {
        command: format!("id {which} postgres"),
        status: "unreadable".to_owned(),
        output: text.clone(),
    })
}

/// Follows from the path, so that whoever cleans up after a crash finds it.
fn elsewhere(directory: &Path) -> PathBuf {
    use std::{fmt::Write, os::unix::ffi::OsStrExt};
    let digest = Sha256::digest(directory.as_os_str().as_bytes());
    let name = digest[..8].iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    Path::new("/tmp").join(format!("sextant-postgres-{name}"))
}

pub(super) fn remove_elsewhere(directory: &Path) -> Result<()> {
    let path = elsewhere(directory);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(LabError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
