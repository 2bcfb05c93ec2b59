//! A connection and the stages of its life.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::Cache;
use rustix::fd::OwnedFd;
use sextant_model::routing::table::ListenerKind;

use super::{
    Settings,
    accept::Place,
    dial::Dialling,
    flow::Flow,
    pipe::Pipes,
    preread::Preread,
    slab::{Key, Token},
    socket::Socket,
};
use crate::{
    access::{AccessRecord, AccessSender},
    balance::BackendLease,
    counters::Counters,
    hello::ServerName,
    limits::{Admission, Limits},
    outcome::Outcome,
    proxy_protocol::Addresses,
    table::{Published, RouteLease, Snapshot},
    timer::{Moment, Wheel},
};

/// A connection, from accept to close.
#[derive(Debug)]
pub struct Connection {
    pub client: Socket,
    pub backend: Option<Socket>,
    pub stage: Stage,
    pub place: Arc<Place>,
    pub kind: ListenerKind,
    /// The two ends of the accepted socket.
    pub peer: SocketAddr,
    pub arrived: SocketAddr,
    /// What a trusted proxy says of them.
    pub proxied: Option<Box<Addresses>>,
    pub admission: Admission,
    pub name: Option<ServerName>,
    pub route: Option<RouteLease>,
    pub lease: Option<BackendLease>,
    /// Backends that were tried.
    pub attempts: u8,
    pub accepted: Moment,
    pub routed: Option<Moment>,
    /// When something was last sent in either direction.
    pub active: Moment,
    /// It has a place in [`Context::again`].
    pub queued: bool,
    /// When it is cut because its route is gone.
    pub cut_at: Option<Moment>,
    /// From the client to the backend.
    pub up: Flow,
    /// From the backend to the client.
    pub down: Flow,
}

/// Where a connection stands.
#[derive(Debug)]
pub enum Stage {
    /// Nothing was decided yet; only while it is being worked on.
    Fresh,
    /// It has to say where to.
    Preread(Box<Waiting>),
    /// A backend is being connected to.
    Dialling(Box<Dialling>),
    /// Bytes are forwarded. `settled`: it has lasted, and has the options of one that lasts.
    Relaying { settled: bool },
    /// It is over, and the client has to hear of it first, or to have the rest of its answer. So many
    /// bytes may it still say for nothing.
    Farewell { outcome: Outcome, discardable: usize },
}

/// A connection that has not said enough yet.
#[derive(Debug)]
pub struct Waiting {
    pub preread: Preread,
    /// What it said, to be replayed.
    pub kept: Vec<u8>,
}

/// What becomes of a connection after some work on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// It goes on.
    Stay,
    /// It ends so.
    End(Outcome),
}

/// What all connections of a worker share.
#[derive(Debug)]
pub struct Context {
    pub settings: Settings,
    pub epoll: OwnedFd,
    /// Read once for each round of events.
    pub now: Moment,
    /// Where bytes are read to that are written at once.
    pub buffer: Box<[u8]>,
    /// Where bytes are read to that say where a connection goes. Taken out while they are used.
    pub first_bytes: Box<[u8]>,
    pub pipes: Pipes,
    pub wheel: Wheel,
    pub counters: Arc<Counters>,
    pub limits: Arc<Limits>,
    pub published: Cache<Arc<Published>, Arc<Snapshot>>,
    /// Connections that have more to do but had their share of this round.
    pub again: Vec<Key>,
    /// What this round may be, and was, spent on.
    pub round: Round,
    /// Where the search for a backend begins.
    pub rotation: usize,
    pub access: Option<AccessSender>,
    pub records: Vec<AccessRecord>,
}

impl Context {
    /// Comes back to a connection once others had their turn.
    pub fn come_back(&mut self, key: Key, queued: &mut bool) {
        if !std::mem::replace(queued, true) {
            self.again.push(key);
        }
    }
}

/// What a round of events may be, and was, spent on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Most bytes that one direction may read.
    pub share: usize,
    /// A busy flow moved bytes.
    pub busy: bool,
    /// Somebody had less than there is.
    pub hungry: bool,
    /// Something else happened, and whoever it concerns may be waiting for it.
    pub prompt: bool,
}

impl Connection {
    /// Who connected: as a trusted proxy says, or the socket.
    pub fn source(&self) -> SocketAddr {
        self.proxied.as_ref().map_or(self.peer, |addresses| addresses.source)
    }

    /// What the client connected to, from the same source.
    pub fn local(&self) -> SocketAddr {
        self.proxied.as_ref().map_or(self.arrived, |addresses| addresses.destination)
    }

    /// Events of the present backend come with this.
    pub fn backend_token(&self, key: Key) -> Token {
        Token::Backend(key, self.attempts.saturating_sub(1))
    }

    /// How it ends if what it was routed by has gone: its route, or its backend from the route.
    pub fn removal(&self) -> Option<Outcome> {
        let route = self.route.as_ref()?.route();
        if route.is_removed() {
            return Some(Outcome::RouteRemoved);
        }
        let backend = self.lease.as_ref()?.backend().address();
        (!route.still_has(backend)).then_some(Outcome::BackendRemoved)
    }

    /// What is said of it in the access log.
    pub fn record(&self, outcome: Outcome, now: Moment) -> AccessRecord {
        let route = self.route.as_ref().map(RouteLease::route);
        AccessRecord {
            client: self.source(),
            local: self.local(),
            listener: self.place.address,
            name: self.name.clone(),
            route: route.map(|route| route.served().key.clone()),
            backend: self.lease.as_ref().map(|lease| lease.backend().address()),
            attempts: self.attempts,
            bytes_up: self.up.moved,
            bytes_down: self.down.moved,
            duration: now.since(self.accepted),
            time_to_route: self.routed.map(|routed| routed.since(self.accepted)),
            outcome,
        }
    }
}
