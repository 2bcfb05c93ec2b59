//! The access log: one JSON object a line for each connection that has ended, written by a thread of
//! its own. A slow disk costs lines, which are counted, and never a connection. The file has a largest
//! size: a full one is kept beside it until the next one is full.

use std::{
    collections::VecDeque,
    fs::{File, Metadata},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use serde::Serialize;
use sextant_daemon::clock::Clock;
use sextant_model::Timestamp;

use crate::{
    access::{AccessReceiver, AccessRecord},
    config,
    connect_error::ConnectError,
    outcome::Outcome,
    state::NO_LINK,
};

/// How often the writer looks for records.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two complaints about the same file.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// The running writer.
#[derive(Debug)]
pub struct AccessLog {
    signals: Arc<Signals>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signals {
    reopen: AtomicBool,
    stop: AtomicBool,
    written: AtomicU64,
    failed: AtomicU64,
}

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the access log \"{}\": {source}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Starts the writer; none if `config` says so.
pub fn start(
    config: &config::AccessLog,
    max_bytes: u64,
    records: AccessReceiver,
    clock: Arc<dyn Clock>,
) -> Result<Option<AccessLog>, OpenError> {
    let target = match config {
        config::AccessLog::Off => return Ok(None),
        config::AccessLog::Stdout => Target::Stdout,
        config::AccessLog::File(path) => Target::open(path)?,
    };
    let signals = Arc::new(Signals::default());
    let writer =
        Writer { target, max_bytes, records, clock, signals: signals.clone(), complained: None };
    let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run());
    let thread = thread.map_err(|source| OpenError { path: PathBuf::from("(thread)"), source })?;
    Ok(Some(AccessLog { signals, thread: Some(thread) }))
}

impl AccessLog {
    /// Opens the file again, after somebody has moved it away.
    pub fn reopen(&self) {
        self.signals.reopen.store(true, Relaxed);
    }

    /// Lines that were written, and lines that could not be.
    pub fn counts(&self) -> (u64, u64) {
        (self.signals.written.load(Relaxed), self.signals.failed.load(Relaxed))
    }
}

impl Drop for AccessLog {
    /// Writes what waits.
    fn drop(&mut self) {
        self.signals.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Target {
    Stdout,
    File(PathBuf, File),
}

impl Target {
    fn open(path: &Path) -> Result<Self, OpenError> {
        let mut options = File::options();
        options.create(true).append(true).mode(0o640).custom_flags(NO_LINK);
        match options.open(path) {
            Err(source) if Errno::from_io_error(&source) == Some(Errno::LOOP) => Err(OpenError {
                path: path.to_owned(),
                source: io::Error::other(
                    "it is a symbolic link; give the path that it leads to, or \"-\" for standard output",
                ),
            }),
            Ok(file) => Ok(Self::File(path.to_owned(), file)),
            Err(source) => Err(OpenError { path: path.to_owned(), source }),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            // In one call, so that lines of two processes that overlap do not mix.
            Self::File(_, file) => file.write_all(lines),
        }
    }
}

struct Writer {
    target: Target,
    max_bytes: u64,
    records: AccessReceiver,
    clock: Arc<dyn Clock>,
    signals: Arc<Signals>,
    complained: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = VecDeque::new();
        let mut lines = Vec::new();
        loop {
            // What was sent before the word to stop is still written.
            let last = self.signals.stop.load(Relaxed);
            if self.signals.reopen.swap(false, Relaxed) {
                self.reopen();
            }
            batch = self.records.take(batch);
            if batch.is_empty() {
                if last {
                    return;
                }
                std::thread::sleep(PAUSE);
                continue;
            }
            let count = batch.len() as u64;
            let now = self.clock.now();
            lines.clear();
            for record in batch.drain(..) {
                // Only numbers, addresses and checked names: it always succeeds.
                if serde_json::to_writer(&mut lines, &Line::new(&record, now)).is_ok() {
                    lines.push(b'\n');
                }
            }
            match self.make_room(lines.len()).and_then(|()| self.target.write(&lines)) {
                Ok(()) => drop(self.signals.written.fetch_add(count, Relaxed)),
                Err(error) => {
                    self.signals.failed.fetch_add(count, Relaxed);
                    self.complain(&error);
                }
            }
        }
    }

    /// Begins a new file if `more` bytes would make this one too large, and keeps it as the last one.
    /// Where that cannot be done nothing is written: the disk is for others too.
    fn make_room(&mut self, more: usize) -> io::Result<()> {
        let Target::File(path, file) = &self.target else { return Ok(()) };
        let metadata = file.metadata()?;
        let size = metadata.len();
        if size == 0 || size.saturating_add(more as u64) <= self.max_bytes {
            return Ok(());
        }
        let same =
            |there: &Metadata| (there.dev(), there.ino()) == (metadata.dev(), metadata.ino());
        // Another process of this edge may have done it already.
        if std::fs::symlink_metadata(path).is_ok_and(|there| same(&there)) {
            let mut kept = path.clone().into_os_string();
            kept.push(".1");
            std::fs::rename(path, &kept)?;
            tracing::warn!(
                file = %path.display(),
                bytes = size,
                "the access log is full (access_log_max_mib) and begins anew; the last one is kept beside it"
            );
        }
        self.target = Target::open(path).map_err(|error| error.source)?;
        Ok(())
    }

    fn reopen(&mut self) {
        let Target::File(path, _) = &self.target else { return };
        match Target::open(path) {
            Ok(target) => self.target = target,
            Err(error) => tracing::error!(%error, "going on with the file that is open"),
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let recently = |at: Instant| at.elapsed() < COMPLAINT_PAUSE;
        if !self.complained.is_some_and(recently) {
            self.complained = Some(Instant::now());
            tracing::error!(%error, "the access log cannot be written; lines are lost");
        }
    }
}

/// One line. Absent fields are unknown.
#[derive(Serialize)]
struct Line<'r> {
    at: Timestamp,
    client: std::net::SocketAddr,
    local: std::net::SocketAddr,
    listener: std::net::SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<std::net::SocketAddr>,
    attempts: u8,
    bytes_up: u64,
    bytes_down: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_route_ms: Option<f64>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    detail: String,
}

impl<'r> Line<'r> {
    fn new(record: &'r AccessRecord, at: Timestamp) -> Self {
        let metric = record.outcome.metric();
        Self {
            at,
            client: record.client,
            local: record.local,
            listener: record.listener,
            name: record.name.as_ref().map(crate::hello::ServerName::as_str),
            route: record.route.as_ref().map(|route| &*route.0),
            backend: record.backend,
            attempts: record.attempts,
            bytes_up: record.bytes_up,
            bytes_down: record.bytes_down,
            duration_ms: milliseconds(record.duration),
            time_to_route_ms: record.time_to_route.map(milliseconds),
            outcome: metric.outcome(),
            reason: metric.reason(),
            detail: detail(record),
        }
    }
}

/// How it ended, in words.
fn detail(record: &AccessRecord) -> String {
    match (record.outcome, record.backend) {
        (Outcome::ConnectFailed(why), Some(backend)) => why.towards(backend),
        (Outcome::Loop, Some(backend)) => ConnectError::Itself.towards(backend),
        (outcome, _) => outcome.to_string(),
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    let micros =
        u32::try_from(duration.as_micros()).map_or(duration.as_secs_f64() * 1e6, f64::from);
    micros.round() / 1e3
}

#[cfg(test)]
mod tests {
    use sextant_daemon::clock::SystemClock;

    use super::*;
    use crate::access;

    fn writer(path: &Path, max_bytes: u64) -> Writer {
        Writer {
            target: Target::open(path).expect("opened"),
            max_bytes,
            records: access::queue(1).1,
            clock: Arc::new(SystemClock),
            signals: Arc::default(),
            complained: None,
        }
    }

    fn write(writer: &mut Writer, lines: &[u8]) -> io::Result<()> {
        writer.make_room(lines.len()).and_then(|()| writer.target.write(lines))
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).expect("a file")
    }

    #[test]
    fn a_full_log_begins_anew_and_the_last_one_is_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let [path, last] = ["access.log", "access.log.1"].map(|name| folder.path().join(name));
        let (mut one, mut other) = (writer(&path, 10), writer(&path, 10));
        for line in [b"aaaa\n", b"bbbb\n", b"cccc\n"] {
            write(&mut one, line).expect("written");
        }
        assert_eq!((read(&path).as_str(), read(&last).as_str()), ("cccc\n", "aaaa\nbbbb\n"));
        // Another process with the same file finds its place.
        write(&mut other, b"dddd\n").expect("written");
        assert_eq!((read(&path).as_str(), read(&last).as_str()), ("cccc\ndddd\n", "aaaa\nbbbb\n"));
        write(&mut one, b"a line that is longer than the limit\n").expect("written");
        assert_eq!(read(&last), "cccc\ndddd\n");
    }

    #[test]
    fn nothing_is_written_where_a_full_log_cannot_be_moved() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("access.log");
        let mut writer = writer(&path, 10);
        write(&mut writer, b"aaaaaaaa\n").expect("written");
        std::fs::create_dir(folder.path().join("access.log.1")).expect("in the way");
        assert!(write(&mut writer, b"bbbb\n").is_err());
        assert_eq!(read(&path), "aaaaaaaa\n");
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("access.log");
        std::os::unix::fs::symlink(folder.path().join("target"), &path).expect("linked");
        let error = Target::open(&path).expect_err("a link").to_string();
        assert!(error.contains("is a symbolic link; give the path that it leads to"), "{error}");
    }
}
