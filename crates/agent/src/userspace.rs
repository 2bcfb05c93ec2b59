//! Userspace WireGuard: starting it, and finding out whether it lives. It runs on its own, so that
//! the data plane outlives the agent.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

/// Where userspace implementations put their sockets.
const SOCKET_FOLDER: &str = "/var/run/wireguard";
/// What it makes its interface with.
const TUN: &str = "/dev/net/tun";
const DEFAULT_PROGRAM: &str = "wireguard-go";
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long a process that lives may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Userspace WireGuard that cannot be started or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum UserspaceError {
    /// No such program.
    #[error(
        "cannot start \"{program}\": {source}; install wireguard-go, or name another implementation in WG_USERSPACE_IMPLEMENTATION"
    )]
    Spawn {
        /// Which program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// There is no way to make the interface.
    #[error(
        "cannot use \"{TUN}\": {source}; \"{program}\" makes its interface with it (modprobe tun, and let sextant-agent use it)"
    )]
    NoTun {
        /// Which program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It ended at once.
    #[error(
        "\"{program} {interface}\" ended with {status}; run it by hand to see why (LOG_LEVEL=debug)"
    )]
    Failed {
        /// Which program.
        program: String,
        /// For which interface.
        interface: String,
        /// How it ended.
        status: String,
    },
    /// It does not answer.
    #[error("\"{}\" does not answer: {reason}", socket.display())]
    Silent {
        /// Its socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The folder of the sockets cannot be made, or a dead socket not be removed.
    #[error("cannot prepare \"{}\": {source}", path.display())]
    Socket {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Whether a process serves the interface.
#[derive(Debug)]
pub enum Liveness {
    /// It answers.
    Alive,
    /// Nobody listens; there may be a socket left over.
    Dead,
    /// Somebody listens and does not answer.
    Silent(UserspaceError),
}

/// Asks the process that serves `interface` whether it is there.
pub async fn liveness(interface: &str) -> Liveness {
    let path = socket_path(interface);
    let silent = |reason: String| UserspaceError::Silent { socket: path.clone(), reason };
    match timeout(ANSWER_LIMIT, greet(&path)).await {
        Ok(Ok(())) => Liveness::Alive,
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Liveness::Dead,
            _ => Liveness::Silent(silent(error.to_string())),
        },
        Err(_) => {
            let limit = ANSWER_LIMIT.as_secs();
            Liveness::Silent(silent(format!("nothing came within {limit} s; end that process")))
        }
    }
}

/// A listening socket alone is no sign of life: a stopped process has one too.
async fn greet(path: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(b"get=1\n\n").await?;
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.map(drop)
}

/// Starts the process that makes and serves `interface`, and waits until it answers.
pub async fn start(interface: &str) -> Result<(), UserspaceError> {
    let path = socket_path(interface);
    prepare(&path)?;
    let program = program();
    // The process that is started says of this only that it ended.
    if let Err(source) = std::fs::OpenOptions::new().read(true).write(true).open(TUN) {
        return Err(UserspaceError::NoTun { program, source });
    }
    let spawn = |source| UserspaceError::Spawn { program: program.clone(), source };
    // Its own process group: what ends the agent at a terminal must not end the data plane.
    let mut child = tokio::process::Command::new(&program)
        .arg(interface)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(spawn)?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        // It goes to the background by itself, and the process started here ends well; one that
        // stays in the foreground is as good.
        if let Some(status) = child.try_wait().map_err(spawn)?.filter(|status| !status.success()) {
            let (interface, status) = (interface.to_owned(), status.to_string());
            return Err(UserspaceError::Failed { program, interface, status });
        }
        match liveness(interface).await {
            Liveness::Alive => return Ok(()),
            Liveness::Dead | Liveness::Silent(_) if Instant::now() < deadline => sleep(POLL).await,
            Liveness::Silent(error) => return Err(error),
            Liveness::Dead => {
                let reason = format!("\"{program}\" did not open it");
                return Err(UserspaceError::Silent { socket: path, reason });
            }
        }
    }
}

/// Makes room for a new socket: the folder exists and nothing dead is in the way.
fn prepare(path: &Path) -> Result<(), UserspaceError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| UserspaceError::Socket { path, source }
    };
    std::fs::create_dir_all(SOCKET_FOLDER).map_err(failed(Path::new(SOCKET_FOLDER)))?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn socket_path(interface: &str) -> PathBuf {
    Path::new(SOCKET_FOLDER).join(format!("{interface}.sock"))
}

fn program() -> String {
    std::env::var("WG_USERSPACE_IMPLEMENTATION").unwrap_or_else(|_| DEFAULT_PROGRAM.into())
}
