//! Sockets that were open before this process began.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;

use crate::listen::Socket;

/// Listening sockets that nobody has asked for yet, known by where they are bound.
#[derive(Debug, Default)]
pub struct Inherited(BTreeMap<Socket, TcpListener>);

impl Inherited {
    /// Takes what `LISTEN_FDS` announces. What is no listening TCP socket is left alone.
    pub fn from_environment() -> Self {
        let mut passed = ListenFd::from_env();
        let mut sockets = BTreeMap::new();
        for index in 0..passed.len() {
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
                Ok(socket) => drop(sockets.entry(socket).or_insert(listener)),
                Err(error) => {
                    tracing::warn!(%error, "a socket that was passed is of no use");
                }
            }
        }
        if !sockets.is_empty() {
            let sockets: Vec<String> = sockets.keys().map(ToString::to_string).collect();
            tracing::info!(sockets = sockets.join(" "), "took over listening sockets");
        }
        Self(sockets)
    }

    /// Takes the socket, if it is there.
    pub fn take(&mut self, socket: &Socket) -> Option<TcpListener> {
        self.0.remove(socket)
    }

    /// Takes the socket bound to `address`, if it is there.
    pub fn take_address(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let socket = *self.0.keys().find(|socket| socket.address == address)?;
        self.0.remove(&socket)
    }

    /// What nobody has asked for yet.
    pub fn rest(&self) -> impl Iterator<Item = (&Socket, &TcpListener)> {
        self.0.iter()
    }
}
