//! The listening sockets that are open, those that should be, and those that cannot be yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    handover::{Inherited, Store},
    listen::Socket,
    worker::Settings,
};

/// An address that has just been let go is free again within a moment.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A socket that is wanted and not open.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the operating system says.
    pub reason: String,
    pause: Duration,
    again_at: Instant,
}

#[derive(Debug)]
pub struct Sockets {
    wanted: BTreeSet<Socket>,
    open: BTreeMap<Socket, Arc<OwnedFd>>,
    failed: BTreeMap<Socket, Failure>,
    inherited: Inherited,
    store: Store,
    settings: Settings,
}

impl Sockets {
    pub fn new(inherited: Inherited, store: Store, settings: Settings) -> Self {
        Self {
            wanted: BTreeSet::new(),
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            inherited,
            store,
            settings,
        }
    }

    /// Says which sockets are wanted from now on.
    pub fn aim(&mut self, wanted: BTreeSet<Socket>) {
        self.failed.retain(|socket, _| wanted.contains(socket));
        self.wanted = wanted;
    }

    /// Opens what is wanted and can be opened now. Whether something was.
    pub fn open_wanted(&mut self, now: Instant) -> bool {
        let mut opened = false;
        let missing = self.wanted.iter().filter(|socket| !self.open.contains_key(socket));
        for socket in missing.copied().collect::<Vec<_>>() {
            if self.failed.get(&socket).is_some_and(|failure| failure.again_at > now) {
                continue;
            }
            let found = match self.inherited.take(&socket) {
                Some(listener) => Socket::adopt(listener, &self.settings),
                None => socket.open(&self.settings),
            };
            match found {
                Ok(fd) => {
                    self.store.keep(&socket, fd.as_fd());
                    if self.failed.remove(&socket).is_some() {
                        tracing::info!(%socket, "listening at last");
                    }
                    self.open.insert(socket, Arc::new(fd));
                    opened = true;
                }
                Err(error) => self.note_failure(socket, &error, now),
            }
        }
        opened
    }

    fn note_failure(&mut self, socket: Socket, error: &std::io::Error, now: Instant) {
        let before = self.failed.get(&socket);
        let pause = before.map_or(FIRST_PAUSE, |failure| (failure.pause * 2).min(LONGEST_PAUSE));
        // The first attempts may only be too early.
        if pause >= FIRST_PAUSE * 8 && pause < FIRST_PAUSE * 16 {
            tracing::error!(%socket, %error, "cannot listen; the routes there are not served, trying again");
        }
        let reason = error.to_string();
        self.failed.insert(socket, Failure { reason, pause, again_at: now + pause });
    }

    /// Lets go of what is not wanted. Whether there was something. Workers may hold a socket a
    /// little longer.
    pub fn close_unwanted(&mut self) -> bool {
        let unwanted = self.open.extract_if(.., |socket, _| !self.wanted.contains(socket));
        let mut closed = false;
        for (socket, _) in unwanted {
            self.store.forget(&socket);
            tracing::info!(%socket, "no longer listening");
            closed = true;
        }
        closed
    }

    /// Lets go of what was inherited and nobody has asked for.
    pub fn close_inherited(&mut self) {
        for socket in self.inherited.close_rest() {
            self.store.forget(&socket);
            tracing::info!(%socket, "a socket that was taken over is not needed; closed");
        }
    }

    /// What is open.
    pub fn open(&self) -> &BTreeMap<Socket, Arc<OwnedFd>> {
        &self.open
    }

    /// What is wanted and not open.
    pub fn failed(&self) -> &BTreeMap<Socket, Failure> {
        &self.failed
    }

    /// When to try again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.failed.values().map(|failure| failure.again_at).min()
    }
}
