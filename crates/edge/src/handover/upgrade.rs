//! One process hands over to the next of the same program, which may be a newer one.
//!
//! The two share a socket pair: it is the next one's standard input. The next one writes `ready`
//! once it accepts connections; that the other end is closed tells it that this one has ended.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Tells the next process that its standard input is the other end of the pair, and how many
/// processes handed over before it.
const VARIABLE: &str = "SEXTANT_HANDOVER";
const READY: &[u8] = b"ready\n";
/// How long the next process may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process may take to end that has closed its end of the pair: it still has to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_WORDS_PAUSE: Duration = Duration::from_millis(10);
/// The first descriptor that is passed (`sd_listen_fds(3)`).
const FIRST_FD: i32 = 3;

/// Why there is no next process. This one goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// It cannot be started.
    #[error("cannot start \"{}\": {source}", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("\"{}\" ended before it was ready ({status}); see its messages above", program.display())]
    Ended {
        /// What was started.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The task that waits for it broke off.
    #[error("the upgrade broke off: {0}; this is a defect, please report it")]
    Broken(String),
    /// It did not become ready in time and was ended.
    #[error("\"{}\" was not ready within {} s and was ended", program.display(), PATIENCE.as_secs())]
    Late {
        /// What was started.
        program: PathBuf,
    },
}

/// Starts the next process.
#[derive(Clone, Debug)]
pub struct Upgrader {
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// The next process, which accepts connections.
#[derive(Debug)]
pub struct Successor {
    /// Its process id.
    pub pid: u32,
    /// Open as long as this process lives.
    _pair: UnixStream,
}

/// The process that this one takes over from.
#[derive(Debug)]
pub struct Predecessor {
    pair: UnixStream,
}

impl Upgrader {
    /// Remembers how this process was started. Call early: the path is the one that was given then,
    /// so that a program put in its place is found there.
    pub fn remember() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let given = PathBuf::from(arguments.next().unwrap_or_default());
        let program = if given.components().count() > 1 {
            std::path::absolute(given)?
        } else {
            // It was found on the path.
            std::env::current_exe()?
        };
        Ok(Self { program, arguments: arguments.collect() })
    }

    /// Starts the next process with `sockets` and waits until it is ready.
    pub async fn start(&self, sockets: Vec<OwnedFd>) -> Result<Successor, UpgradeError> {
        let failed = |source| UpgradeError::Start { program: self.program.clone(), source };
        let (mut pair, mut child) = self.spawn(sockets).map_err(failed)?;
        let mut said = [0; READY.len()];
        match tokio::time::timeout(PATIENCE, pair.read_exact(&mut said)).await {
            Ok(Ok(_)) if said == READY => {
                let pid = child.id();
                // Whoever reaps it: nobody here needs to know how it ends.
                drop(child);
                Ok(Successor { pid, _pair: pair })
            }
            Ok(_) => {
                wait_a_moment(&mut child).await.map_err(failed)?;
                let status = end(&mut child).map_err(failed)?;
                Err(UpgradeError::Ended { program: self.program.clone(), status })
            }
            Err(_) => {
                end(&mut child).map_err(failed)?;
                Err(UpgradeError::Late { program: self.program.clone() })
            }
        }
    }

    fn spawn(&self, sockets: Vec<OwnedFd>) -> io::Result<(UnixStream, Child)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
            .env(VARIABLE, (Predecessor::generation() + 1).to_string())
            .env("LISTEN_FDS", sockets.len().to_string());
        // Whose they were is this process; the next one's id is not known yet.
        for variable in ["LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command.stdin(OwnedFd::from(theirs));
        let mappings = (FIRST_FD..).zip(sockets);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
        Ok((ours, command.spawn()?))
    }
}

/// Waits until a process has ended that is about to.
async fn wait_a_moment(child: &mut Child) -> io::Result<()> {
    let limit = tokio::time::Instant::now() + LAST_WORDS;
    while child.try_wait()?.is_none() && tokio::time::Instant::now() < limit {
        tokio::time::sleep(LAST_WORDS_PAUSE).await;
    }
    Ok(())
}

/// Ends a process that is of no use.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    child.kill()?;
    child.wait()
}

impl Predecessor {
    /// The process that started this one to take over from it, if that is so. Must be called inside
    /// a tokio runtime.
    pub fn from_environment() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let pair = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        pair.set_nonblocking(true)?;
        Ok(Some(Self { pair: UnixStream::from_std(pair)? }))
    }

    /// How many processes handed over before this one.
    pub fn generation() -> u32 {
        std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Says that this process accepts connections.
    pub async fn say_ready(&mut self) -> io::Result<()> {
        self.pair.write_all(READY).await
    }

    /// Waits until it has ended.
    pub async fn gone(mut self) {
        let mut nothing = [0; 64];
        while matches!(self.pair.read(&mut nothing).await, Ok(1..)) {}
    }
}
