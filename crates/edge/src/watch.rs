//! Notices when a file becomes another one: written in place, replaced by a rename, or reached
//! through a symbolic link that was swapped. One that is still being written is left alone.

use std::{
    ffi::{CStr, OsStr},
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::sync::mpsc;

/// Changes that come within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Links may lead anywhere, and some file systems tell nobody: the file itself is looked at too.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// What tells one content of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Watches `path` until the receiver is dropped; sends whenever it may have another content.
pub fn watch(path: PathBuf) -> std::io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    let watcher = Watcher::new(path, sender);
    std::thread::Builder::new().name("route-file".into()).spawn(move || watcher.run())?;
    Ok(receiver)
}

struct Watcher {
    path: PathBuf,
    /// Tells what happens in the folder of `path`.
    inotify: Option<OwnedFd>,
    seen: Option<Fingerprint>,
    sender: mpsc::Sender<()>,
}

/// What has happened in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// Nothing that would make the file worth reading.
    Other,
    /// The file is complete, and may be another one.
    Complete,
}

impl Watcher {
    fn new(path: PathBuf, sender: mpsc::Sender<()>) -> Self {
        let inotify = match watched(folder(&path)) {
            Ok(inotify) => Some(inotify),
            Err(error) => {
                tracing::warn!(%error, "the route file's folder cannot be watched; looking every few seconds");
                None
            }
        };
        let seen = fingerprint(&path);
        Self { path, inotify, seen, sender }
    }

    fn run(mut self) {
        let mut polled = self.seen;
        let mut poll_at = Instant::now() + POLL_INTERVAL;
        while !self.sender.is_closed() {
            let mut ready = false;
            if self.hear(poll_at.saturating_duration_since(Instant::now())) == Heard::Complete {
                self.settle();
                ready = true;
            }
            let now = fingerprint(&self.path);
            if poll_at <= Instant::now() {
                poll_at = Instant::now() + POLL_INTERVAL;
                // Only what stands still is read: it may be being written.
                ready |= std::mem::replace(&mut polled, now) == now;
            }
            if ready
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
        while Instant::now() < limit && self.hear(DEBOUNCE) != Heard::Nothing {}
    }

    /// Waits for an event in the folder, at most `within`, and takes all that are there.
    fn hear(&self, within: Duration) -> Heard {
        let Some(inotify) = &self.inotify else {
            std::thread::sleep(within);
            return Heard::Nothing;
        };
        let mut waiting = [PollFd::new(inotify, PollFlags::IN)];
        let within = Timespec::try_from(within).ok();
        match poll(&mut waiting, within.as_ref()) {
            Ok(1..) => self.take_events(inotify),
            _ => Heard::Nothing,
        }
    }

    fn take_events(&self, inotify: &OwnedFd) -> Heard {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(inotify, &mut buffer);
        let mut heard = Heard::Nothing;
        loop {
            match events.next() {
                Ok(event) if self.completes(event.events(), event.file_name()) => {
                    heard = Heard::Complete;
                }
                Ok(_) if heard == Heard::Nothing => heard = Heard::Other,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return heard,
            }
        }
    }

    /// Whether the file may be another one since this happened, and is not still being written.
    fn completes(&self, what: ReadFlags, name: Option<&CStr>) -> bool {
        let now = fingerprint(&self.path);
        if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            return now.is_none();
        }
        let Some(name) = name else { return false };
        let place = folder(&self.path).join(OsStr::from_bytes(name.to_bytes()));
        // A new file has its content when it is closed; a new link leads to what is there.
        if what.contains(ReadFlags::CREATE) && !is_link(&place) {
            return false;
        }
        let is_place = now.is_some() && file(fingerprint(&place)) == file(now);
        // Any link on the way may have been swapped.
        is_place || (is_link(&self.path) && file(now) != file(self.seen))
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
fn file(fingerprint: Option<Fingerprint>) -> Option<(u64, u64)> {
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
    let events = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::CREATE
        | WatchFlags::DELETE;
    inotify::add_watch(&inotify, folder, events)?;
    Ok(inotify)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write, os::unix::fs::symlink};

    use super::*;

    async fn notices(changes: &mut mpsc::Receiver<()>, what: &str) {
        let changed = tokio::time::timeout(Duration::from_secs(10), changes.recv()).await;
        assert_eq!(changed.expect(what), Some(()));
    }

    #[tokio::test]
    async fn writes_renames_and_swapped_links_are_noticed() {
        let folder = tempfile::tempdir().expect("folder");
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("routes.toml"), "1").expect("written");
        let mut changes = watch(file("routes.toml")).expect("watched");

        std::fs::write(file("routes.toml"), "22").expect("written");
        notices(&mut changes, "a write").await;
        std::fs::write(file("new"), "333").expect("written");
        std::fs::rename(file("new"), file("routes.toml")).expect("renamed");
        notices(&mut changes, "a rename").await;
        std::fs::write(file("target"), "4444").expect("written");
        symlink(file("target"), file("link")).expect("linked");
        std::fs::rename(file("link"), file("routes.toml")).expect("renamed");
        notices(&mut changes, "a link").await;
        std::fs::remove_file(file("routes.toml")).expect("removed");
        notices(&mut changes, "its end").await;
    }

    /// What has happened in the folder of `path` since it was watched is there at once.
    fn heard(watcher: &Watcher) -> Heard {
        watcher.hear(Duration::ZERO)
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("routes.toml"), "1").expect("written");
        let watcher = Watcher::new(file("routes.toml"), mpsc::channel(1).0);

        // As `generate > routes.toml` does it, with something else going on beside it.
        let mut written = File::create(file("routes.toml")).expect("truncated");
        std::fs::write(file("other"), "1").expect("written");
        assert_eq!(heard(&watcher), Heard::Other);
        written.write_all(b"22").expect("written");
        std::fs::rename(file("other"), file("another")).expect("renamed");
        assert_eq!(heard(&watcher), Heard::Other);
        drop(written);
        assert_eq!(heard(&watcher), Heard::Complete);

        std::fs::remove_file(file("routes.toml")).expect("removed");
        let written = File::create(file("routes.toml")).expect("created");
        std::fs::remove_file(file("another")).expect("removed");
        assert_eq!(heard(&watcher), Heard::Other);
        drop(written);
        assert_eq!(heard(&watcher), Heard::Complete);
    }

    #[test]
    fn links_may_be_swapped_anywhere_on_the_way() {
        let folder = tempfile::tempdir().expect("folder");
        let file = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            std::fs::create_dir(file(version)).expect("folder");
            std::fs::write(file(version).join("routes.toml"), version).expect("written");
        }
        symlink("v1", file("current")).expect("linked");
        symlink("current/routes.toml", file("routes.toml")).expect("linked");
        let mut watcher = Watcher::new(file("routes.toml"), mpsc::channel(1).0);
        symlink("v2", file("next")).expect("linked");
        assert_eq!(heard(&watcher), Heard::Other);
        std::fs::rename(file("next"), file("current")).expect("swapped");
        assert_eq!(heard(&watcher), Heard::Complete);
        watcher.seen = fingerprint(&watcher.path);

        std::fs::remove_file(file("routes.toml")).expect("removed");
        assert_eq!(heard(&watcher), Heard::Complete);
        symlink("v1/routes.toml", file("routes.toml")).expect("linked");
        assert_eq!(heard(&watcher), Heard::Complete);
        watcher.seen = fingerprint(&watcher.path);

        // The file that a link leads to, in the same folder.
        std::fs::write(file("real.toml"), "1").expect("written");
        symlink("real.toml", file("staged")).expect("linked");
        std::fs::rename(file("staged"), file("routes.toml")).expect("swapped");
        assert_eq!(heard(&watcher), Heard::Complete);
        watcher.seen = fingerprint(&watcher.path);
        let written = File::create(file("real.toml")).expect("truncated");
        assert_eq!(heard(&watcher), Heard::Nothing);
        drop(written);
        assert_eq!(heard(&watcher), Heard::Complete);
    }
}
