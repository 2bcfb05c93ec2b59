//! A Postgres of one's own, reachable through a unix socket only, for labs and for tests.
//!
//! Tests take a [`TestDatabase`]; whoever needs the server itself takes a [`ScratchPostgres`].

mod account;
mod relay;
mod test_database;

use std::{
    ffi::OsString,
    fs,
    io::ErrorKind,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;

pub use self::{
    relay::Relay,
    test_database::{SHARED, TestDatabase, test_database},
};
use crate::{
    command::{find_program, is_executable, output, run, tail},
    directory::private_directory,
    error::{LabError, Result},
    interrupt::Interrupt,
    process::{self, Daemon, LabId},
    wait::until,
};

/// The superuser of every scratch server. The socket's directory is private, so it has no password.
pub const SUPERUSER: &str = "postgres";

const START_LIMIT: Duration = Duration::from_secs(30);

/// How a scratch server runs.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Survive a crash of the machine. Tests that do not crash machines are faster without.
    pub durable: bool,
    /// Most sessions at once.
    pub max_connections: u16,
    /// Note when each transaction was committed, for `pg_xact_commit_timestamp`.
    pub commit_times: bool,
    /// Keep it running when the handle is dropped and when this process dies.
    pub outlive: bool,
    /// The mark of its processes; a fresh one if absent.
    pub lab: Option<LabId>,
    /// Where its log goes; `postgres.log` beside its data if absent.
    pub log: Option<PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            durable: true,
            max_connections: 200,
            commit_times: false,
            outlive: false,
            lab: None,
            log: None,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct ScratchPostgres {
    socket_directory: PathBuf,
    programs: PathBuf,
    lab: LabId,
    pid: u32,
    outlive: bool,
    /// A directory outside the one that was given; goes when the server goes.
    elsewhere: Option<PathBuf>,
}

impl ScratchPostgres {
    /// Starts a server that keeps its data in `directory`, which is made if needed. Data that are
    /// there already are used. Returns when it answers.
    pub fn start(directory: &Path, options: PostgresOptions) -> Result<Self> {
        let programs = programs()?;
        private_directory(directory)?;
        let directory = directory.canonicalize().map_err(LabError::file("find", directory))?;
        let place = account::place(&directory)?;
        let data = place.home.join("data");
        if !data.join("PG_VERSION").exists() {
            // Without locale and with UTF-8 every machine sorts the same way.
            let mut initdb = place.command(programs.join("initdb"));
            initdb.args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N", "-D"]);
            run(initdb.arg(&data))?;
        }
        remove_stale_locks(&data, &place.socket_directory)?;
        let log = options.log.clone().unwrap_or_else(|| directory.join("postgres.log"));
        let lab =
            options.lab.clone().unwrap_or_else(|| LabId::new(*uuid::Uuid::new_v4().as_bytes()));
        let command = server_command(&place, &programs, &data, &options);
        let pid = Daemon { command, log: Some(&log), listener: None }.start(&lab)?;
        let server = Self {
            socket_directory: place.socket_directory,
            programs,
            lab,
            pid,
            outlive: options.outlive,
            elsewhere: place.elsewhere,
        };
        server.await_ready(&log)?;
        Ok(server)
    }

    /// Process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its socket is.
    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// Connection URL for a database and a user.
    pub fn url(&self, database: &str, user: &str) -> String {
        url(&self.socket_directory, database, user)
    }

    /// Makes an empty database, owned by the superuser.
    pub fn create_database(&self, name: &str) -> Result<()> {
        psql(&self.url("postgres", SUPERUSER), &[&format!("CREATE DATABASE {}", quoted(name))])
    }

    /// Stops it in good order and waits until it is gone.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// Kills it as a crash of its process would, without the chance to write anything.
    pub fn kill(mut self) -> Result<()> {
        self.outlive = true;
        kill(&self.lab, self.pid)
    }

    fn end(&mut self) -> Result<()> {
        self.outlive = true;
        // SIGINT is Postgres's "fast" shutdown: sessions are ended, what is committed is kept.
        process::stop(&self.lab, &[self.pid], Signal::INT)?;
        if let Some(elsewhere) = self.elsewhere.take() {
            fs::remove_dir_all(&elsewhere).map_err(LabError::file("remove", elsewhere))?;
        }
        Ok(())
    }

    fn await_ready(&self, log: &Path) -> Result<()> {
        until("Postgres", START_LIMIT, &Interrupt::never(), || {
            let mut probe = Command::new(self.programs.join("pg_isready"));
            probe.args(["-q", "-U", SUPERUSER, "-h"]).arg(&self.socket_directory);
            if output(&mut probe, "")?.status.success() {
                return Ok(ControlFlow::Break(()));
            }
            if self.lab.marks(self.pid) {
                return Ok(ControlFlow::Continue(tail(log, 5)));
            }
            let (what, log) = ("Postgres".to_owned(), log.to_owned());
            Err(LabError::Died { what, tail: tail(&log, 10), log })
        })
    }
}

impl Drop for ScratchPostgres {
    fn drop(&mut self) {
        if !self.outlive {
            // There is nobody left to tell.
            let _ = self.end();
        }
    }
}

/// Kills a server, the postmaster first and then its children wherever they are in their work, and
/// waits until none is left.
pub fn kill(lab: &LabId, pid: u32) -> Result<()> {
    let group: Vec<_> = process::children(pid);
    process::signal(lab, &[pid], Signal::KILL);
    // They write over their environment and so carry no mark.
    process::signal_if(&group, Signal::KILL, |child| process::runs(child, "postgres"));
    until("Postgres to end", process::GRACE, &Interrupt::never(), || {
        let left = group.iter().filter(|child| process::runs(**child, "postgres")).count();
        Ok(if lab.marks(pid) || left > 0 {
            ControlFlow::Continue(format!("{left} of its processes are left"))
        } else {
            ControlFlow::Break(())
        })
    })
}

/// Removes what a server with its data in `directory` keeps elsewhere.
pub fn remove_elsewhere(directory: &Path) -> Result<()> {
    account::remove_elsewhere(directory)
}

/// A killed server leaves lock files. The next one believes them as long as the process id in them
/// exists, be it as a zombie or as another program.
fn remove_stale_locks(data: &Path, socket_directory: &Path) -> Result<()> {
    if !process::working_in(data, "postgres").is_empty() {
        return Ok(());
    }
    for lock in [data.join("postmaster.pid"), socket_directory.join(".s.PGSQL.5432.lock")] {
        match fs::remove_file(&lock) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(LabError::file("remove", lock)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn server_command(
    place: &account::Place,
    programs: &Path,
    data: &Path,
    options: &PostgresOptions,
) -> Vec<OsString> {
    let mut words = place.entry.clone();
    if !options.outlive {
        // It goes down when whoever started it dies, also when killed.
        words.extend(["setpriv", "--pdeathsig", "INT", "--"].map(OsString::from));
    }
    words.push(programs.join("postgres").into());
    words.extend(["-D".into(), data.into(), "-k".into(), place.socket_directory.clone().into()]);
    let mut settings = vec![
        "listen_addresses=".to_owned(),
        "unix_socket_permissions=0700".to_owned(),
        format!("max_connections={}", options.max_connections),
    ];
    if !options.durable {
        settings.extend(
            ["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(Into::into),
        );
    }
    if options.commit_times {
        settings.push("track_commit_timestamp=on".to_owned());
    }
    for setting in settings {
        words.extend(["-c".into(), setting.into()]);
    }
    words
}

/// The directory of the newest server's programs.
fn programs() -> Result<PathBuf> {
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            is_executable(&programs.join("postgres")).then_some((version, programs))
        })
        .collect();
    installed.sort();
    if let Some((_, newest)) = installed.pop() {
        return Ok(newest);
    }
    let remedy = "run `cargo xtask setup`, or install a Postgres server, version 15 or newer";
    let found = find_program("postgres", remedy)?;
    Ok(found.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Connection URL for a socket directory.
pub fn url(socket_directory: &Path, database: &str, user: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("host", &socket_directory.to_string_lossy())
        .append_pair("user", user)
        .finish()
        // To libpq a plus is a plus.
        .replace('+', "%20");
    format!("postgresql:///{database}?{query}")
}

/// Runs SQL statements, each in a transaction of its own, as the user in `url`.
pub fn psql(url: &str, statements: &[&str]) -> Result<()> {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]);
    for statement in statements {
        command.args(["-c", statement]);
    }
    run(&mut command).map(drop)
}

/// Runs one query as the user in `url`: a line for each row, its columns separated by tabs.
pub fn query(url: &str, query: &str) -> Result<Vec<String>> {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", url]);
    let rows = run(command.args(["-c", query]))?;
    Ok(rows.lines().map(str::to_owned).collect())
}

/// An SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests;
