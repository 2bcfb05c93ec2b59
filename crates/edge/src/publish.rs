//! Makes the workers serve what should be served: the table, the listening sockets and the checks of
//! backends follow each change together.
//!
//! ```text
//! change -> table of what can stand together -> open new sockets -> publish the snapshot
//!        -> workers accept on the new sockets -> old sockets closed, removed routes drained
//! ```

mod pool;
mod routes;
mod sockets;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use sextant_model::Prefix;

pub use routes::{Change, Refused, Routes, Served};
use sockets::Sockets;

use crate::{
    handover::{Inherited, Store},
    health::Watches,
    listen::{self, Socket},
    table::{Published, Snapshot},
    worker::{Listening, Settings, Workers},
};

/// What a publisher is made from.
#[derive(Debug)]
pub struct Parts {
    /// Where workers look.
    pub published: Arc<Published>,
    /// Who serves.
    pub workers: Arc<Workers>,
    /// Who checks backends.
    pub watches: Watches,
    /// Sockets of the process before.
    pub inherited: Inherited,
    /// Where sockets are kept for the process after.
    pub store: Store,
    /// Whether `[::]` accepts IPv4.
    pub dual: bool,
    /// Whose connections begin with a PROXY header, unless a listener has its own answer.
    pub proxy_protocol_from: Arc<[Prefix]>,
    /// What holds for the sockets.
    pub settings: Settings,
}

/// The one who changes what is served.
#[derive(Debug)]
pub struct Publisher {
    published: Arc<Published>,
    workers: Arc<Workers>,
    watches: Watches,
    routes: Routes,
    sockets: Sockets,
    dual: bool,
    proxy_protocol_from: Arc<[Prefix]>,
    accept_proxy_from: BTreeMap<SocketAddr, Arc<[Prefix]>>,
    /// Whether workers have yet to hear of that.
    listeners_changed: bool,
}

impl Publisher {
    /// Serves nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            published: parts.published,
            workers: parts.workers,
            watches: parts.watches,
            routes: Routes::default(),
            sockets: Sockets::new(parts.inherited, parts.dual, parts.store, parts.settings),
            dual: parts.dual,
            proxy_protocol_from: parts.proxy_protocol_from,
            accept_proxy_from: BTreeMap::new(),
            listeners_changed: false,
        }
    }

    /// What should be served.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Says whose connections begin with a PROXY header on particular listeners; counts from the
    /// next change on.
    pub fn set_accept_proxy_from(&mut self, prefixes: BTreeMap<SocketAddr, Vec<Prefix>>) {
        let shared = prefixes.into_iter().map(|(listen, prefixes)| (listen, prefixes.into()));
        self.accept_proxy_from = shared.collect();
        self.listeners_changed = true;
    }

    /// Makes everything follow `change`.
    pub fn apply(&mut self, change: Change, revision: u64) {
        let applied = self.routes.apply(change);
        for key in &applied.refused {
            if let Some(refused) = self.routes.refused().get(key) {
                tracing::warn!(route = %key, reason = %refused.conflict, "a route is not served");
            }
        }
        if applied.listens {
            let listens = self.routes.listens();
            let stand_ins = listen::stand_ins(&listens, self.dual);
            self.sockets.aim(listen::wanted(&listens, self.dual), stand_ins);
            self.sockets.open_wanted(Instant::now());
        }
        self.published.store(Arc::new(Snapshot { revision, table: self.routes.table() }));
        if applied.listens {
            self.sockets.close_unwanted();
        }
        if applied.listens || std::mem::take(&mut self.listeners_changed) {
            self.set_listeners();
        }
        if !applied.watch.is_empty() {
            // The checks end with the process.
            let _ = self.watches.send(applied.watch);
        }
        for route in &applied.removed {
            route.mark_removed();
        }
        if !applied.removed.is_empty() || applied.lost_backends {
            self.workers.routes_removed();
        }
    }

    /// Says that the routes are those of a later revision too.
    pub fn advance(&mut self, revision: u64) {
        self.published.store(Arc::new(Snapshot { revision, table: self.routes.table() }));
    }

    /// Closes what was inherited and is not needed. Call once the routes are known.
    pub fn close_inherited(&mut self) {
        if self.sockets.close_inherited() {
            self.set_listeners();
        }
    }

    /// Says whether another process of this edge has the sockets too, until it is clear which of the
    /// two goes on.
    pub fn share(&mut self, shared: bool) {
        self.sockets.share(shared, Instant::now());
        self.retry();
    }

    /// Tries again to open what could not be opened.
    pub fn retry(&mut self) {
        if self.sockets.open_wanted(Instant::now()) {
            self.sockets.close_unwanted();
            self.set_listeners();
        }
    }

    /// Whether routes need listening sockets, and not one is open.
    pub fn serves_nothing(&self) -> bool {
        self.sockets.open().is_empty() && !self.sockets.failed().is_empty()
    }

    /// When [`Self::retry`] is due.
    pub fn retry_at(&self) -> Option<Instant> {
        self.sockets.retry_at()
    }

    /// The listening sockets that are open.
    pub fn open_sockets(&self) -> impl Iterator<Item = (&Socket, &Arc<OwnedFd>)> {
        self.sockets.open().iter()
    }

    /// Every listening socket that there is, for the process after this one.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.descriptors()
    }

    /// The listening sockets that cannot be opened, and why.
    pub fn failed_sockets(&self) -> impl Iterator<Item = (&Socket, &str)> {
        self.sockets.failed().iter().map(|(socket, failure)| (socket, failure.reason.as_str()))
    }

    fn set_listeners(&self) {
        let listening = |(socket, fd, general): (&Socket, &Arc<OwnedFd>, Socket)| Listening {
            socket: fd.clone(),
            address: socket.address,
            proxy_header_from: self
                .accept_proxy_from
                .get(&general.address)
                .unwrap_or(&self.proxy_protocol_from)
                .clone(),
        };
        self.workers.set_listeners(self.sockets.standing_in().map(listening).collect());
    }
}
