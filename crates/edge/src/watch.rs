//! Notices when a file becomes another one: written in place, replaced by a rename, or reached
//! through a symbolic link that was swapped. One that is still being written is left alone, however
//! long that takes.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::sync::mpsc;

#[cfg(test)]
mod tests;

/// Changes that come within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Links may lead anywhere, and some file systems tell nobody: the file itself is looked at too.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Most files of the folder that are remembered as being written.
const MOST_WRITTEN: usize = 1024;

/// What tells one content of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Device and inode.
type FileId = (u64, u64);

/// Watches `path` until the receiver is dropped; sends whenever it may have another content.
pub fn watch(path: PathBuf) -> std::io::Result<(mpsc::Receiver<()>, Arc<WatchedFile>)> {
    let (sender, receiver) = mpsc::channel(1);
    let file = Arc::new(WatchedFile::new(path));
    let watcher = Watcher { seen: fingerprint(&file.path), file: file.clone(), sender };
    std::thread::Builder::new().name("route-file".into()).spawn(move || watcher.run())?;
    Ok((receiver, file))
}

/// A file, and what has happened to it.
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    /// Tells what happens in the folder of `path`, and to the file that it leads to.
    inotify: Option<OwnedFd>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The file that `path` leads to, and the number of the watch on it.
    target: Option<(FileId, i32)>,
    /// The target was changed and not closed since.
    target_written: bool,
    /// Names in the folder of files that were changed and not closed since.
    written: BTreeSet<OsString>,
    /// Marks a file that is being written and has just lost its name: it may get another one.
    moving: Option<u32>,
    /// Something has happened since the watcher asked last.
    heard: Heard,
}

/// What has happened in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    #[default]
    Nothing,
    /// Nothing that would make the file worth reading.
    Other,
    /// The file is complete, and may be another one.
    Complete,
}

impl WatchedFile {
    fn new(path: PathBuf) -> Self {
        let inotify = match watched(folder(&path)) {
            Ok(inotify) => Some(inotify),
            Err(error) => {
                tracing::warn!(%error, "the route file's folder cannot be watched; looking every few seconds");
                None
            }
        };
        let file = Self { path, inotify, state: Mutex::default() };
        drop(file.take_events());
        file
    }

    /// Whether somebody has changed the file and not closed it yet. Says no where the system does not
    /// tell.
    pub fn is_being_written(&self) -> bool {
        let state = self.take_events();
        let Some(now) = id(fingerprint(&self.path)) else { return false };
        let place = |name: &OsString| folder(&self.path).join(name);
        state.target_written
            || state.written.iter().any(|name| id(fingerprint(&place(name))) == Some(now))
    }

    /// Takes in all events that are there.
    fn take_events(&self) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(inotify) = &self.inotify else { return state };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let (what, name) = (event.events(), event.file_name());
                    let of_target = state.target.is_some_and(|(_, watch)| watch == event.wd());
                    let heard = match name {
                        _ if what.contains(ReadFlags::QUEUE_OVERFLOW) => {
                            // Whatever was lost may have been the word that somebody is done.
                            (state.target_written, state.written) = (false, BTreeSet::new());
                            Heard::Complete
                        }
                        _ if of_target => state.note_target(what),
                        Some(name) => {
                            let name = OsStr::from_bytes(name.to_bytes());
                            state.note_name(what, name, event.cookie());
                            self.judge(&state, what, name)
                        }
                        None => Heard::Other,
                    };
                    state.heard = state.heard.max(heard);
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.follow(inotify, &mut state);
        state
    }

    /// Whether what happened to `name` in the folder makes the file worth reading.
    fn judge(&self, state: &State, what: ReadFlags, name: &OsStr) -> Heard {
        let now = id(fingerprint(&self.path));
        if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            return if now.is_none() { Heard::Complete } else { Heard::Other };
        }
        let place = folder(&self.path).join(name);
        let file = id(fingerprint(&place));
        let before = state.target.map(|(file, _)| file);
        // A new file has its content when it is closed; a new link leads to what is there.
        let arrived = what.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO)
            || (what.contains(ReadFlags::CREATE) && is_link(&place));
        // Any link on the way may have been swapped.
        let concerns = (now.is_some() && file == now) || (is_link(&self.path) && now != before);
        if arrived && concerns { Heard::Complete } else { Heard::Other }
    }

    /// Watches the file that the path leads to now: it may lie in another folder.
    fn follow(&self, inotify: &OwnedFd, state: &mut State) {
        let now = id(fingerprint(&self.path));
        if now == state.target.map(|(file, _)| file) {
            return;
        }
        if let Some((_, watch)) = state.target.take() {
            // A file that is gone has taken its watch along.
            let _ = inotify::remove_watch(inotify, watch);
            state.target_written = false;
        }
        let events = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE;
        if let (Some(file), Ok(watch)) = (now, inotify::add_watch(inotify, &self.path, events)) {
            state.target = Some((file, watch));
        }
    }

    /// Waits for an event, at most `within`, and takes all that are there.
    fn hear(&self, within: Duration) -> Heard {
        let Some(inotify) = &self.inotify else {
            std::thread::sleep(within);
            return Heard::Nothing;
        };
        let heard = std::mem::take(&mut self.take_events().heard);
        if heard != Heard::Nothing || within.is_zero() {
            return heard;
        }
        let mut waiting = [PollFd::new(inotify, PollFlags::IN)];
        // An interruption is as good as a pause.
        let _ = poll(&mut waiting, Timespec::try_from(within).ok().as_ref());
        std::mem::take(&mut self.take_events().heard)
    }
}

impl State {
    fn note_target(&mut self, what: ReadFlags) -> Heard {
        if what.contains(ReadFlags::CLOSE_WRITE) {
            self.target_written = false;
            return Heard::Complete;
        }
        self.target_written |= what.contains(ReadFlags::MODIFY);
        Heard::Other
    }

    /// Takes in who writes what. Events come in order, and each has the name that the file had then.
    fn note_name(&mut self, what: ReadFlags, name: &OsStr, cookie: u32) {
        if what.contains(ReadFlags::MODIFY) {
            if self.written.len() < MOST_WRITTEN {
                self.written.insert(name.to_owned());
            }
            return;
        }
        let was_written = self.written.remove(name);
        if what.contains(ReadFlags::MOVED_FROM) {
            self.moving = was_written.then_some(cookie);
        } else if what.contains(ReadFlags::MOVED_TO) && self.moving.take() == Some(cookie) {
            self.written.insert(name.to_owned());
        }
    }
}

struct Watcher {
    file: Arc<WatchedFile>,
    seen: Option<Fingerprint>,
    sender: mpsc::Sender<()>,
}

impl Watcher {
    fn run(mut self) {
        let mut polled = self.seen;
        let mut poll_at = Instant::now() + POLL_INTERVAL;
        while !self.sender.is_closed() {
            let mut ready = false;
            let wait = poll_at.saturating_duration_since(Instant::now());
            if self.file.hear(wait) == Heard::Complete {
                self.settle();
                ready = true;
            }
            let now = fingerprint(&self.file.path);
            if poll_at <= Instant::now() {
                poll_at = Instant::now() + POLL_INTERVAL;
                // Where nobody tells who writes, what stands still counts as complete.
                ready |= std::mem::replace(&mut polled, now) == now;
            }
            // Whoever writes it closes it sometime, and that is heard.
            if ready
                && !self.file.is_being_written()
                && std::mem::replace(&mut self.seen, now) != now
                && self.sender.blocking_send(()).is_err()
            {
                return;
            }
        }
    }

    /// Waits until the folder is quiet for a moment.
    fn settle(&self) {
        let limit = Instant::now() + DEBOUNCE * 10;
        while Instant::now() < limit && self.file.hear(DEBOUNCE) != Heard::Nothing {}
    }
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Which file it is, whatever is in it.
fn id(fingerprint: Option<Fingerprint>) -> Option<FileId> {
    fingerprint.map(|fingerprint| (fingerprint.device, fingerprint.inode))
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Fingerprint {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn watched(folder: &Path) -> std::io::Result<OwnedFd> {
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let events = WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        // Whoever goes on writing a file that has lost its name writes none of the folder.
        | WatchFlags::EXCL_UNLINK;
    inotify::add_watch(&inotify, folder, events)?;
    Ok(inotify)
}
