//! The clients' connections.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpStream},
    ops::Range,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    backend::{PING, is_cut},
    error::{EdgeBenchError, Result},
    proxy::Targets,
    reactor::{Load, Role},
};

/// Connections being established at a time.
const AT_ONCE: usize = 64;
/// How long the kernel may take for a handshake, and a proxy for a first answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// One turn of waiting.
pub(super) const TURN: Duration = Duration::from_millis(20);

/// Who connects from where to where.
#[derive(Debug)]
pub(super) struct Dialer {
    targets: Targets,
    /// Addresses of the clients, used in turn.
    sources: Vec<Ipv6Addr>,
    dialed: usize,
}

/// Ports of a client's address, used one after the other: the kernel need not look for a free one.
const PORTS: Range<u16> = 10_000..60_000;

impl Dialer {
    /// With no target yet.
    pub(super) fn new(sources: impl Iterator<Item = Ipv6Addr>) -> Self {
        let targets = Targets::Servers(Vec::new());
        Self { targets, sources: sources.collect(), dialed: 0 }
    }

    /// Connects to others from now on.
    pub(super) fn aim(&mut self, targets: &Targets) {
        self.targets = targets.clone();
    }

    /// Connects and sends `first`. The proxy's kernel answers, so this does not wait for the proxy
    /// unless its queue of new connections is full.
    pub(super) fn dial(&mut self, first: &[u8]) -> Result<TcpStream> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::TCP));
        let socket = socket.map_err(EdgeBenchError::load("make a socket"))?;
        self.bind(&socket)?;
        match socket.connect(&self.targets.of(self.dialed).into()) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
            Err(source) => return Err(EdgeBenchError::load("connect")(source)),
            Ok(()) => {}
        }
        let mut stream = TcpStream::from(socket);
        // On a loopback interface the connection is there by now, as a rule.
        match stream.write(first) {
            Ok(count) if count == first.len() => return Ok(stream),
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                return Err(EdgeBenchError::load("connect")(error));
            }
            _ => {}
        }
        let mut ready = [PollFd::new(&stream, PollFlags::OUT)];
        let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut ready, Some(&patience))
            .map_err(|errno| EdgeBenchError::load("connect")(errno.into()))?;
        stream.write_all(first).map_err(EdgeBenchError::load("connect"))?;
        Ok(stream)
    }

    /// Takes the next source address, and a port of it that has rested for a while.
    fn bind(&mut self, socket: &Socket) -> Result<()> {
        let failed = EdgeBenchError::load("bind a socket");
        let bound = socket.set_reuse_address(true).and_then(|()| {
            // Other connections may still be using a port; they are few.
            for _ in 0..PORTS.len() {
                self.dialed += 1;
                let (round, source) =
                    (self.dialed / self.sources.len(), self.dialed % self.sources.len());
                let offset = u16::try_from(round % PORTS.len()).unwrap_or(0);
                let source = SocketAddr::from((self.sources[source], PORTS.start + offset));
                match socket.bind(&source.into()) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                    bound => return bound,
                }
            }
            Err(ErrorKind::AddrInUse.into())
        });
        bound.map_err(failed)
    }
}

/// Connections that ping, by number.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    /// Bytes of an answer that is not complete.
    part: usize,
}

impl Clients {
    /// Connects `count` times, says `hello`, and waits until each has had the answer to a first
    /// ping.
    pub(super) fn establish(
        load: &mut Load,
        dialer: &mut Dialer,
        count: usize,
        hello: &[u8],
    ) -> Result<Self> {
        let greeting = [hello, &[0; PING]].concat();
        let mut clients = Self { clients: Vec::with_capacity(count), buffer: vec![0; 64 * PING] };
        let mut answered = 0;
        let mut deadline = Instant::now() + PATIENCE;
        while answered < count {
            while clients.clients.len() < count.min(answered + AT_ONCE) {
                let number = clients.clients.len();
                let stream = dialer.dial(&greeting)?;
                // A ping must not wait for the hello's acknowledgement.
                stream.set_nodelay(true).map_err(EdgeBenchError::load("set up a socket"))?;
                load.epoll.add(&stream, Role::Client, number)?;
                clients.clients.push(Client { stream, part: 0 });
            }
            let before = answered;
            load.turn(TURN, |_, number| {
                answered += clients.answers(number)?;
                Ok(())
            })?;
            if answered > before {
                deadline = Instant::now() + PATIENCE;
            } else if Instant::now() > deadline {
                return Err(EdgeBenchError::load("have a ping answered")(
                    ErrorKind::TimedOut.into(),
                ));
            }
        }
        Ok(clients)
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Sends a ping on one connection.
    pub(super) fn ping(&mut self, number: usize) -> Result<()> {
        let sent = self.clients[number].stream.write_all(&[0; PING]);
        sent.map_err(EdgeBenchError::load("send a ping"))
    }

    /// Reads what has come, and returns how many answers are complete with it.
    pub(super) fn answers(&mut self, number: usize) -> Result<usize> {
        let Some(client) = self.clients.get_mut(number) else { return Ok(0) };
        match client.stream.read(&mut self.buffer) {
            Ok(0) => Err(EdgeBenchError::Cut { how: "closed" }),
            Ok(count) => {
                let bytes = client.part + count;
                client.part = bytes % PING;
                Ok(bytes / PING)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) if is_cut(&error) => Err(EdgeBenchError::Cut { how: "reset" }),
            Err(source) => Err(EdgeBenchError::load("read an answer")(source)),
        }
    }
}
