//! The servers behind the proxies.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream},
    os::fd::AsFd,
};

use rustix::net::RecvFlags;

use super::{
    error::{EdgeBenchError, Result},
    reactor::{Epoll, Role},
    slots::Slots,
};

/// Bytes of one ping and of its answer.
pub(super) const PING: usize = 1024;
/// The sink discards up to this much with one call.
const SINK: usize = 1 << 20;

/// What the servers do with what they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Discard everything and count it.
    Sink,
    /// Answer the first bytes with one byte.
    Greet,
    /// Skip a hello of this length, then answer every [`PING`] bytes with as many.
    Echo {
        /// Bytes of the hello.
        hello: usize,
    },
}

/// All servers and their connections.
#[derive(Debug)]
pub(super) struct Backends {
    listeners: Vec<TcpListener>,
    connections: Slots<Backend>,
    behaviour: Behaviour,
    buffer: Vec<u8>,
    /// Bytes the sink has discarded.
    pub(super) sunk: u64,
    /// Connections accepted.
    pub(super) accepted: u64,
}

#[derive(Debug)]
struct Backend {
    stream: TcpStream,
    /// Bytes seen that are not answered yet.
    pending: usize,
    /// Bytes of the hello still to come.
    hello: usize,
    greeted: bool,
}

impl Backends {
    /// Servers at free ports of `addresses`.
    pub(super) fn listen(epoll: &Epoll, addresses: &[Ipv6Addr]) -> Result<Self> {
        let mut listeners = Vec::new();
        for address in addresses {
            let listener = listen(*address).map_err(EdgeBenchError::load("listen"))?;
            epoll.add(&listener, Role::Listener, listeners.len())?;
            listeners.push(listener);
        }
        Ok(Self {
            listeners,
            connections: Slots::new(),
            behaviour: Behaviour::Sink,
            buffer: vec![0; SINK],
            sunk: 0,
            accepted: 0,
        })
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let addresses = self.listeners.iter().map(TcpListener::local_addr);
        addresses.collect::<Result<_, _>>().map_err(EdgeBenchError::load("read an address"))
    }

    /// Forgets all connections; new ones are treated like this.
    pub(super) fn reset(&mut self, behaviour: Behaviour) {
        self.connections.clear();
        self.behaviour = behaviour;
        self.sunk = 0;
        self.accepted = 0;
    }

    /// One connection may be waiting. Others are accepted on the next turn: one call less.
    pub(super) fn accept(&mut self, epoll: &Epoll, listener: usize) -> Result<()> {
        let accepted = rustix::net::accept_with(
            &self.listeners[listener],
            rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
        );
        let stream = match accepted {
            Ok(socket) => TcpStream::from(socket),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED) => return Ok(()),
            Err(errno) => return Err(EdgeBenchError::load("accept")(errno.into())),
        };
        self.accepted += 1;
        epoll.add(&stream, Role::Backend, self.connections.next())?;
        let hello = match self.behaviour {
            Behaviour::Echo { hello } => hello,
            Behaviour::Sink | Behaviour::Greet => 0,
        };
        self.connections.insert(Backend { stream, pending: 0, hello, greeted: false });
        Ok(())
    }

    /// Something has happened to a connection.
    pub(super) fn serve(&mut self, number: usize) -> Result<()> {
        let Some(backend) = self.connections.get_mut(number) else { return Ok(()) };
        let served = match self.behaviour {
            Behaviour::Sink => backend.sink(&mut self.buffer).inspect(|count| {
                self.sunk += *count as u64;
            }),
            Behaviour::Greet => backend.greet(&mut self.buffer),
            Behaviour::Echo { .. } => backend.echo(&mut self.buffer),
        };
        match served {
            Ok(0) => self.connections.remove(number),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Who measures notices what is missing.
            Err(error) if is_cut(&error) => self.connections.remove(number),
            Err(source) => return Err(EdgeBenchError::load("serve")(source)),
        }
        Ok(())
    }
}

/// The other side went away.
pub(super) fn is_cut(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn listen(address: Ipv6Addr) -> std::io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::TCP))?;
    // Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::V6(SocketAddrV6::new(address, 0, 0, 0)).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

impl Backend {
    /// Truncation spares the copy out of the kernel, which a proxy is not to be measured by.
    fn sink(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let (_, count) = rustix::net::recv(self.stream.as_fd(), buffer, RecvFlags::TRUNC)?;
        Ok(count)
    }

    fn greet(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(&mut buffer[..4 * PING])?;
        if count > 0 && !self.greeted {
            self.greeted = true;
            self.stream.write_all(b"!")?;
        }
        Ok(count)
    }

    fn echo(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(&mut buffer[..64 * PING])?;
        let hello = self.hello.min(count);
        self.hello -= hello;
        self.pending += count - hello;
        let answers = self.pending / PING;
        if answers > 0 {
            self.pending %= PING;
            // Pings are few and small: an answer that does not fit at once is an error.
            self.stream.write_all(&buffer[..answers * PING])?;
        }
        Ok(count)
    }
}
