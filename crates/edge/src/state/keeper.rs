//! The thread that writes. What it has written may be acknowledged; what it has not, a restart would
//! forget.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use sextant_daemon::private_file;
use sextant_model::{Cursor, routing::desired::RoutingSnapshot};
use tokio::sync::watch;

use super::{
    FolderLock, NO_LINK, StateError, StateFolder,
    format::{Entry, encode_line, encode_snapshot},
};

/// A journal of so many bytes is replaced by a snapshot, if that is not larger still.
const JOURNAL_LIMIT: u64 = 8 * 1024 * 1024;
/// Before a failed write is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Writes what it is given, in order. Ends when dropped, after what it was given.
#[derive(Debug)]
pub struct Keeper {
    orders: Option<mpsc::Sender<Order>>,
    saved: watch::Receiver<Option<Cursor>>,
    wants_snapshot: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Append(Vec<Entry>),
    Replace(Cursor, Box<RoutingSnapshot>),
}

impl Keeper {
    /// Starts the thread. `saved` is what is on disk already. Without the lock it first waits for it,
    /// and then for a snapshot.
    pub fn start(
        folder: StateFolder,
        lock: Option<FolderLock>,
        on_disk: Option<Cursor>,
    ) -> Result<Self, StateError> {
        let (orders, receiver) = mpsc::channel();
        let (saved, receiver_of_saved) = watch::channel(on_disk.filter(|_| lock.is_some()));
        // Without a snapshot the lines of a journal mean nothing.
        let wants_snapshot = Arc::new(AtomicBool::new(lock.is_none() || on_disk.is_none()));
        let path = folder.path().to_owned();
        let mut writer = Writer {
            folder,
            journal: None,
            snapshot_size: 0,
            saved,
            wants_snapshot: wants_snapshot.clone(),
        };
        let thread = std::thread::Builder::new().name("state".into()).spawn(move || {
            let locked = lock.map_or_else(|| writer.folder.wait_for_lock(), Ok);
            match locked {
                Ok(lock) => {
                    writer.run(&receiver);
                    drop(lock);
                }
                Err(error) => {
                    tracing::error!(%error, "routes are not saved; nothing is acknowledged");
                }
            }
        });
        let thread = thread.map_err(|source| StateError::Io { path, source })?;
        Ok(Self {
            orders: Some(orders),
            saved: receiver_of_saved,
            wants_snapshot,
            thread: Some(thread),
        })
    }

    /// Whether the next order must be a snapshot.
    pub fn wants_snapshot(&self) -> bool {
        self.wants_snapshot.load(Relaxed)
    }

    /// Adds to what is on disk.
    pub fn append(&self, entries: Vec<Entry>) {
        self.order(Order::Append(entries));
    }

    /// Replaces what is on disk.
    pub fn replace(&self, cursor: Cursor, snapshot: RoutingSnapshot) {
        self.wants_snapshot.store(false, Relaxed);
        self.order(Order::Replace(cursor, Box::new(snapshot)));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that has ended has said so.
            let _ = orders.send(order);
        }
    }

    /// Up to where everything is on disk.
    pub fn saved(&self) -> watch::Receiver<Option<Cursor>> {
        self.saved.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        // One that waits for the lock has nothing to write.
        if let Some(thread) = self.thread.take()
            && self.saved.borrow().is_some()
        {
            let _ = thread.join();
        }
    }
}

struct Writer {
    folder: StateFolder,
    journal: Option<File>,
    snapshot_size: u64,
    saved: watch::Sender<Option<Cursor>>,
    wants_snapshot: Arc<AtomicBool>,
}

impl Writer {
    fn run(&mut self, orders: &mpsc::Receiver<Order>) {
        let mut lost = self.saved.borrow().is_none();
        while let Ok(first) = orders.recv() {
            let mut entries = Vec::new();
            let mut snapshot = None;
            for order in std::iter::once(first).chain(orders.try_iter()) {
                match order {
                    Order::Append(more) => entries.extend(more),
                    Order::Replace(cursor, replacement) => {
                        entries.clear();
                        snapshot = Some((cursor, replacement));
                    }
                }
            }
            // After a gap only a snapshot is believed.
            if snapshot.is_none() && lost {
                self.wants_snapshot.store(true, Relaxed);
                continue;
            }
            match self.write(snapshot, &entries) {
                Ok(()) => lost = false,
                Err(error) => {
                    tracing::error!(%error, "the routes cannot be saved; nothing is acknowledged");
                    lost = true;
                    std::thread::sleep(RETRY_PAUSE);
                    self.wants_snapshot.store(true, Relaxed);
                }
            }
        }
    }

    fn write(
        &mut self,
        snapshot: Option<(Cursor, Box<RoutingSnapshot>)>,
        entries: &[Entry],
    ) -> Result<(), StateError> {
        let mut on_disk = *self.saved.borrow();
        if let Some((cursor, snapshot)) = snapshot {
            self.write_snapshot(cursor, &snapshot)?;
            on_disk = Some(cursor);
        }
        if let (Some(before), Some(last)) = (on_disk, entries.last()) {
            let path = self.folder.journal_file();
            let size =
                self.append(before, entries).map_err(|source| StateError::Io { path, source })?;
            if size > JOURNAL_LIMIT.max(self.snapshot_size) {
                self.wants_snapshot.store(true, Relaxed);
            }
            on_disk = Some(last.cursor);
        }
        self.saved.send_replace(on_disk);
        Ok(())
    }

    fn write_snapshot(
        &mut self,
        cursor: Cursor,
        snapshot: &RoutingSnapshot,
    ) -> Result<(), StateError> {
        let path = self.folder.snapshot_file();
        let text = encode_snapshot(cursor, snapshot)
            .map_err(|error| StateError::Io { path: path.clone(), source: error.into() })?;
        private_file::write(&path, text.as_bytes())?;
        self.snapshot_size = text.len() as u64;
        // Should the process end here: lines of before the snapshot are skipped.
        let path = self.folder.journal_file();
        let journal = self.journal().and_then(|journal| journal.set_len(0));
        journal.map_err(|source| StateError::Io { path, source })
    }

    fn append(&mut self, mut before: Cursor, entries: &[Entry]) -> io::Result<u64> {
        let mut lines = String::new();
        for entry in entries {
            lines.push_str(&encode_line(before, entry)?);
            before = entry.cursor;
        }
        let journal = self.journal()?;
        journal.write_all(lines.as_bytes())?;
        journal.sync_data()?;
        Ok(journal.metadata()?.len())
    }

    fn journal(&mut self) -> io::Result<&mut File> {
        if self.journal.is_none() {
            let mut options = File::options();
            options.create(true).append(true).mode(0o600).custom_flags(NO_LINK);
            let journal = options.open(self.folder.journal_file())?;
            self.journal = Some(journal);
        }
        self.journal.as_mut().ok_or_else(|| io::Error::other("there is no journal"))
    }
}
