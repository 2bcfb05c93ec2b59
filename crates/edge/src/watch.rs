//! Notices when a file becomes another one: written in place, replaced by a rename, or reached
//! through a symbolic link that was swapped.

use std::{
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, Reader, WatchFlags},
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
    let folder = match watched_folder(&path) {
        Ok(folder) => Some(folder),
        Err(error) => {
            tracing::warn!(%error, "the route file's folder cannot be watched; looking every few seconds");
            None
        }
    };
    let seen = fingerprint(&path);
    let watcher = Watcher { path, folder, seen, sender };
    std::thread::Builder::new().name("route-file".into()).spawn(move || watcher.run())?;
    Ok(receiver)
}

struct Watcher {
    path: PathBuf,
    folder: Option<OwnedFd>,
    seen: Option<Fingerprint>,
    sender: mpsc::Sender<()>,
}

impl Watcher {
    fn run(mut self) {
        let mut polled = self.seen;
        while !self.sender.is_closed() {
            if self.something_happens(POLL_INTERVAL) {
                self.settle();
            } else {
                let now = fingerprint(&self.path);
                // Only what stands still is read: it may be being written.
                if std::mem::replace(&mut polled, now) != now {
                    continue;
                }
            }
            let now = fingerprint(&self.path);
            polled = now;
            if std::mem::replace(&mut self.seen, now) != now
                && self.sender.blocking_send(()).is_err()
            {
                return;
            }
        }
    }

    /// Waits until the folder is quiet for a moment.
    fn settle(&self) {
        let limit = Instant::now() + DEBOUNCE * 10;
        while Instant::now() < limit && self.something_happens(DEBOUNCE) {}
    }

    /// Waits for an event in the folder, at most `within`, and takes all that are there.
    fn something_happens(&self, within: Duration) -> bool {
        let Some(folder) = &self.folder else {
            std::thread::sleep(within);
            return false;
        };
        let mut waiting = [PollFd::new(folder, PollFlags::IN)];
        let within = Timespec::try_from(within).ok();
        matches!(poll(&mut waiting, within.as_ref()), Ok(1..)) && take_events(folder)
    }
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

fn watched_folder(path: &Path) -> std::io::Result<OwnedFd> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let events = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::CREATE
        | WatchFlags::DELETE;
    inotify::add_watch(&inotify, folder.unwrap_or(Path::new(".")), events)?;
    Ok(inotify)
}

/// Whether there was one.
fn take_events(inotify: &OwnedFd) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(inotify, &mut buffer);
    let mut any = false;
    loop {
        match events.next() {
            Ok(_) => any = true,
            Err(Errno::INTR) => {}
            Err(_) => return any,
        }
    }
}

#[cfg(test)]
mod tests {
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
        std::os::unix::fs::symlink(file("target"), file("link")).expect("linked");
        std::fs::rename(file("link"), file("routes.toml")).expect("renamed");
        notices(&mut changes, "a link").await;
        std::fs::remove_file(file("routes.toml")).expect("removed");
        notices(&mut changes, "its end").await;
    }
}
