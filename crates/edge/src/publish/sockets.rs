//! The listening sockets that are open, those that should be, and those that cannot be yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
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
    /// Wanted as long as a general one, which covers them, cannot be opened.
    stand_ins: BTreeSet<Socket>,
    open: BTreeMap<Socket, Arc<OwnedFd>>,
    failed: BTreeMap<Socket, Failure>,
    inherited: Inherited,
    /// Sockets of socket units listen for ever: nothing can take their place.
    units: BTreeSet<Socket>,
    dual: bool,
    store: Store,
    /// What the store was given.
    kept: BTreeSet<Socket>,
    /// What the store has yet to forget.
    let_go: BTreeSet<Socket>,
    /// Another process of this edge has the sockets too. Which of the two will go on is not known:
    /// neither speaks to the store, or a socket would be kept that nobody accepts from.
    shared: bool,
    settings: Settings,
}

impl Sockets {
    pub fn new(inherited: Inherited, dual: bool, store: Store, settings: Settings) -> Self {
        Self {
            wanted: BTreeSet::new(),
            stand_ins: BTreeSet::new(),
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            units: inherited.units().clone(),
            inherited,
            dual,
            store,
            kept: BTreeSet::new(),
            let_go: BTreeSet::new(),
            shared: false,
            settings,
        }
    }

    /// Says which sockets are wanted from now on, and which ones where a general one cannot be had.
    pub fn aim(&mut self, wanted: BTreeSet<Socket>, stand_ins: BTreeSet<Socket>) {
        self.failed.retain(|socket, _| wanted.contains(socket) || stand_ins.contains(socket));
        self.wanted = wanted;
        self.stand_ins = stand_ins;
    }

    /// Says whether another process of this edge has the sockets too.
    pub fn share(&mut self, shared: bool, now: Instant) {
        self.shared = shared;
        self.tell_store();
        // What could not be opened beside the other process can be now.
        for failure in self.failed.values_mut() {
            failure.again_at = now;
            failure.pause = FIRST_PAUSE;
        }
    }

    /// Opens what is wanted and can be opened now. Whether something was.
    pub fn open_wanted(&mut self, now: Instant) -> bool {
        let mut opened = false;
        for socket in self.wanted.clone() {
            opened |= self.open_one(socket, now);
        }
        let missing = self.missing();
        for socket in self.stand_ins.clone() {
            if missing.iter().any(|missing| missing.covers(&socket)) {
                opened |= self.open_one(socket, now);
            } else {
                self.failed.remove(&socket);
            }
        }
        self.tell_store();
        opened
    }

    /// Whether it was opened.
    fn open_one(&mut self, socket: Socket, now: Instant) -> bool {
        let waits = self.failed.get(&socket).is_some_and(|failure| failure.again_at > now);
        if waits || self.open.contains_key(&socket) {
            return false;
        }
        let found = match self.inherited.take(&socket) {
            Some(listener) => Socket::adopt(listener, &self.settings),
            None => self.open_new(&socket),
        };
        match found {
            Ok(fd) => {
                if self.failed.remove(&socket).is_some() {
                    tracing::info!(%socket, "listening at last");
                }
                self.open.insert(socket, Arc::new(fd));
                true
            }
            Err(error) => {
                self.note_failure(socket, &error, now);
                false
            }
        }
    }

    fn open_new(&self, socket: &Socket) -> io::Result<OwnedFd> {
        let overlap = self.open.iter().filter(|(open, _)| open.overlaps(socket));
        let others: Vec<&OwnedFd> = overlap.map(|(_, fd)| &**fd).collect();
        if others.is_empty() || self.units.iter().any(|unit| unit.overlaps(socket)) {
            return socket.open(&self.settings);
        }
        if self.shared {
            // Both might, and clients of one of the two sockets would wait for ever.
            return Err(io::Error::other("waits for the end of the upgrade"));
        }
        socket.open_beside(&others, &self.settings)
    }

    fn note_failure(&mut self, socket: Socket, error: &io::Error, now: Instant) {
        let before = self.failed.get(&socket);
        let pause = before.map_or(FIRST_PAUSE, |failure| (failure.pause * 2).min(LONGEST_PAUSE));
        let mut reason = error.to_string();
        if error.kind() == io::ErrorKind::AddrInUse {
            reason.push_str(self.unit_in_the_way(&socket).unwrap_or_default());
        }
        // The first attempts may only be too early.
        if pause >= FIRST_PAUSE * 8 && pause < FIRST_PAUSE * 16 {
            tracing::error!(%socket, error = reason, "cannot listen; the routes there are not served, trying again");
        }
        self.failed.insert(socket, Failure { reason, pause, again_at: now + pause });
    }

    /// What a socket unit has to do with it that `socket` cannot be opened.
    fn unit_in_the_way(&self, socket: &Socket) -> Option<&'static str> {
        let unit = self.units.iter().find(|unit| unit.overlaps(socket))?;
        Some(if unit.address != socket.address {
            "; the socket unit listens on another address of the port: give it the one of the routes"
        } else if socket.dual {
            "; the socket unit accepts IPv6 alone: set BindIPv6Only=both there"
        } else {
            "; the socket unit accepts IPv4 too: set BindIPv6Only=ipv6-only there"
        })
    }

    /// Lets go of what is not wanted, unless something that is wanted cannot be opened and part of it
    /// arrives there. Workers may hold a socket a little longer.
    pub fn close_unwanted(&mut self) {
        let missing = self.missing();
        let stands_in = |socket: &Socket| missing.iter().any(|missing| missing.overlaps(socket));
        let unwanted = |socket: &Socket| !self.wanted.contains(socket) && !stands_in(socket);
        for (socket, _) in self.open.extract_if(.., |socket, _| unwanted(socket)) {
            self.let_go.insert(socket);
            tracing::info!(%socket, "no longer listening");
        }
        self.tell_store();
    }

    /// Lets go of what was inherited and nobody has asked for. Whether something of it is of use as
    /// long as what is wanted cannot be opened.
    pub fn close_inherited(&mut self) -> bool {
        let missing = self.missing();
        let mut adopted = false;
        let rest: Vec<Socket> = self.inherited.rest().map(|(socket, _)| *socket).collect();
        for socket in rest {
            let Some(listener) = self.inherited.take(&socket) else { continue };
            // IPv4 is accepted only where that is asked for.
            let of_use = missing.iter().any(|missing| missing.overlaps(&socket))
                && (self.dual || !socket.dual);
            if let Some(fd) = of_use.then(|| Socket::adopt(listener, &self.settings).ok()).flatten()
            {
                self.open.insert(socket, Arc::new(fd));
                adopted = true;
            } else {
                self.let_go.insert(socket);
                tracing::info!(%socket, "a socket that was taken over is not needed; closed");
            }
        }
        self.tell_store();
        adopted
    }

    fn tell_store(&mut self) {
        if self.shared {
            return;
        }
        for socket in std::mem::take(&mut self.let_go) {
            self.store.forget(&socket);
            self.kept.remove(&socket);
        }
        for (socket, fd) in &self.open {
            if self.kept.insert(*socket) {
                self.store.keep(socket, fd.as_fd());
            }
        }
    }

    /// What is wanted and not open.
    fn missing(&self) -> Vec<Socket> {
        self.wanted.iter().filter(|socket| !self.open.contains_key(socket)).copied().collect()
    }

    /// What is open.
    pub fn open(&self) -> &BTreeMap<Socket, Arc<OwnedFd>> {
        &self.open
    }

    /// What is open, each with the socket that it stands in for: itself, mostly.
    pub fn standing_in(&self) -> impl Iterator<Item = (&Socket, &Arc<OwnedFd>, Socket)> {
        let missing = self.missing();
        self.open.iter().map(move |(socket, fd)| {
            let general = missing.iter().find(|missing| missing.covers(socket));
            (socket, fd, *general.unwrap_or(socket))
        })
    }

    /// What is open here, used or not.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let inherited = self.inherited.rest().map(|(_, listener)| listener.as_fd());
        self.open.values().map(|fd| fd.as_fd()).chain(inherited)
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
