//! What the workers route by: one immutable snapshot, swapped whole, and what lives longer than it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use arc_swap::ArcSwap;
use sextant_model::routing::{ServedRoute, Table};

use crate::balance::Backend;

/// The routes of one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Up to which event, or how many route files have been read.
    pub revision: u64,
    /// The routes.
    pub table: Table<Arc<Route>>,
}

/// Where workers find the snapshot of now. Storing another one changes where connections go that
/// are not routed yet, and no others.
pub type Published = ArcSwap<Snapshot>;

/// One route with its backends. A connection keeps the one it was routed by.
#[derive(Debug)]
pub struct Route {
    served: ServedRoute,
    backends: Arc<[Arc<Backend>]>,
    life: Arc<Life>,
}

/// What a route keeps through its changes.
#[derive(Debug, Default)]
struct Life {
    connections: AtomicU32,
    removed: AtomicBool,
    /// Where the last change sends connections.
    backends: ArcSwap<Vec<SocketAddr>>,
}

/// A connection of a route, counted as long as this lives.
#[derive(Debug)]
pub struct RouteLease(Arc<Route>);

/// A route has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteFull;

impl Route {
    /// A new route. `backends` stand for [`ServedRoute::backends`]: what is known of an address that
    /// other routes or the route before use too should be shared with them.
    pub fn new(served: ServedRoute, backends: Arc<[Arc<Backend>]>) -> Self {
        let life =
            Life { backends: ArcSwap::from_pointee(served.backends.clone()), ..Life::default() };
        Self { served, backends, life: Arc::new(life) }
    }

    /// The same route after a change: its connections are still counted together, and removing it
    /// ends those of both.
    #[must_use]
    pub fn changed(&self, served: ServedRoute, backends: Arc<[Arc<Backend>]>) -> Self {
        self.life.backends.store(Arc::new(served.backends.clone()));
        Self { served, backends, life: Arc::clone(&self.life) }
    }

    /// What it is.
    pub fn served(&self) -> &ServedRoute {
        &self.served
    }

    /// Where its connections go.
    pub fn backends(&self) -> &Arc<[Arc<Backend>]> {
        &self.backends
    }

    /// Its connections now, of all workers.
    pub fn connections(&self) -> u32 {
        self.life.connections.load(Relaxed)
    }

    /// Says that the route is gone and not just changed. Do so after the snapshot without it is
    /// published, and then tell the workers with [`crate::worker::Workers::routes_removed`].
    pub fn mark_removed(&self) {
        self.life.removed.store(true, Release);
    }

    /// Whether the route is gone.
    pub fn is_removed(&self) -> bool {
        self.life.removed.load(Acquire)
    }

    /// Whether the route, after all its changes, still sends connections to `backend`.
    pub fn still_has(&self, backend: SocketAddr) -> bool {
        self.life.backends.load().contains(&backend)
    }

    /// Counts a connection, unless there are as many as the route allows.
    pub fn enter(self: &Arc<Self>) -> Result<RouteLease, RouteFull> {
        let before = self.life.connections.fetch_add(1, AcqRel);
        let lease = RouteLease(Arc::clone(self));
        match self.served.max_connections {
            Some(most) if before >= most => Err(RouteFull),
            _ => Ok(lease),
        }
    }
}

impl RouteLease {
    /// Which route.
    pub fn route(&self) -> &Arc<Route> {
        &self.0
    }
}

impl Drop for RouteLease {
    fn drop(&mut self) {
        self.0.life.connections.fetch_sub(1, AcqRel);
    }
}
