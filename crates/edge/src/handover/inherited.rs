//! Sockets that were open before this process began.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;

use super::store;
use crate::listen::Socket;

/// Listening sockets that nobody has asked for yet, known by where they are bound.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: BTreeMap<Socket, TcpListener>,
    units: BTreeSet<Socket>,
}

impl Inherited {
    /// Takes what `LISTEN_FDS` announces. What is no listening TCP socket is left alone.
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut passed = ListenFd::from_env();
        let (mut sockets, mut units) = (BTreeMap::new(), BTreeSet::new());
        for index in 0..passed.len() {
            let name = names.next();
            let listener = match passed.take_tcp_listener(index) {
                Ok(Some(listener)) => listener,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a file descriptor that was passed is of no use");
                    continue;
                }
            };
            match Socket::of(&listener) {
                // The same socket may come from a socket unit and from the store.
                Ok(socket) => {
                    if name.is_some_and(|name| name != store::name(&socket)) {
                        units.insert(socket);
                    }
                    sockets.entry(socket).or_insert(listener);
                }
                Err(error) => {
                    tracing::warn!(%error, "a socket that was passed is of no use");
                }
            }
        }
        if !sockets.is_empty() {
            let sockets: Vec<String> = sockets.keys().map(ToString::to_string).collect();
            tracing::info!(sockets = sockets.join(" "), "took over listening sockets");
        }
        Self { sockets, units }
    }

    /// Which ones are of socket units: whatever happens here, they listen.
    pub fn units(&self) -> &BTreeSet<Socket> {
        &self.units
    }

    /// Takes the socket, if it is there.
    pub fn take(&mut self, socket: &Socket) -> Option<TcpListener> {
        self.sockets.remove(socket)
    }

    /// Takes the socket bound to `address`, if it is there.
    pub fn take_address(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let socket = *self.sockets.keys().find(|socket| socket.address == address)?;
        self.sockets.remove(&socket)
    }

    /// What nobody has asked for yet.
    pub fn rest(&self) -> impl Iterator<Item = (&Socket, &TcpListener)> {
        self.sockets.iter()
    }
}
