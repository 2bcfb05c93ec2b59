//! System calls on sockets, and what is known of a socket between them.

use std::{
    io::IoSlice,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::epoll::{self, EventFlags},
    io::{Errno, Result, ioctl_fionbio, retry_on_intr},
    net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, sockopt},
};

use super::slab::Token;

/// Silence after which the kernel asks whether the peer is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);
/// Between two such questions; one may get lost. The user timeout ends them.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// What a socket is watched for from the start. Writing is added when it is first waited for.
const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::PRI).union(EventFlags::ET);

/// One side of a connection, with what events said of it and system calls have not refuted.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Socket {
    fd: OwnedFd,
    /// A read may give bytes, the end or an error.
    pub readable: bool,
    /// A write may take bytes.
    pub writable: bool,
    /// The peer has ended its direction; what it sent before may still have to be read.
    ended: bool,
    /// Short reads no longer mean that nothing is left: a read ends at urgent data, which is data like
    /// any other here (RFC 6093 section 4), and at an error.
    interrupted: bool,
    /// How the connection with the peer broke, if it did.
    broken: Option<Loss>,
    registered: bool,
    watched_for_writing: bool,
    /// Nagle's algorithm is off.
    prompt: bool,
    written_once: bool,
}

/// How the connection with a peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The peer said so.
    Reset,
    /// It said nothing: the kernel gave up, for want of an answer or of a way.
    Gone,
}

impl From<Errno> for Loss {
    fn from(error: Errno) -> Self {
        match error {
            Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN => Self::Gone,
            _ => Self::Reset,
        }
    }
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    Later,
    /// The peer has ended its direction, and everything before was read.
    End,
    /// The peer reset the connection, or is gone.
    Broken,
}

/// What a write took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None now.
    Later,
    /// The connection is no more, or never came about.
    Broken(Errno),
}

impl Socket {
    /// An accepted socket, which has inherited the options of its listener.
    pub fn accepted(fd: OwnedFd) -> Self {
        Self::new(fd, true)
    }

    /// A socket that connects to a backend.
    pub fn connecting(fd: OwnedFd) -> Self {
        Self::new(fd, false)
    }

    fn new(fd: OwnedFd, prompt: bool) -> Self {
        Self {
            fd,
            readable: false,
            writable: true,
            ended: false,
            interrupted: false,
            broken: None,
            registered: false,
            watched_for_writing: false,
            prompt,
            written_once: false,
        }
    }

    /// Watches the socket from now on; whatever is true of it already comes as an event too.
    pub fn register(&mut self, epoll: &OwnedFd, token: Token, writing: bool) -> Result<()> {
        if self.registered {
            return Ok(());
        }
        let flags = if writing { WATCHED | EventFlags::OUT } else { WATCHED };
        epoll::add(epoll, &self.fd, token.into(), flags)?;
        self.registered = true;
        self.watched_for_writing = writing;
        Ok(())
    }

    /// Waits for room to write. Returns at once if there may be some already: then writing is to be
    /// tried again.
    pub fn watch_for_writing(&mut self, epoll: &OwnedFd, token: Token) -> Result<()> {
        if self.watched_for_writing {
            return Ok(());
        }
        // Changing the registration looks at the socket again, so nothing is missed.
        epoll::modify(epoll, &self.fd, token.into(), WATCHED | EventFlags::OUT)?;
        self.watched_for_writing = true;
        Ok(())
    }

    /// Takes note of an event.
    pub fn notice(&mut self, flags: EventFlags) {
        if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            self.writable = true;
        }
        if flags.intersects(WATCHED | EventFlags::ERR | EventFlags::HUP) {
            self.readable = true;
        }
        // A reset says "ended" too, and is told from an end only by reading up to its error.
        self.ended |= flags.contains(EventFlags::RDHUP) && !flags.contains(EventFlags::ERR);
        self.interrupted |= flags.intersects(EventFlags::PRI | EventFlags::ERR);
    }

    /// Whether bytes can be moved past this type: a splice never gets over urgent data, and the
    /// second of two reads does.
    pub fn can_splice(&self) -> bool {
        !self.interrupted
    }

    /// Reads into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Read {
        let room = buffer.len();
        match retry_on_intr(|| net::recv(&self.fd, &mut *buffer, RecvFlags::empty())) {
            Ok((0, _)) => self.read_end(),
            Ok((count, _)) => {
                // Edge-triggered: a read that leaves room has emptied the socket, and what comes
                // later is an event of its own. Only an interruption ends a read before that.
                if count < room && !self.interrupted {
                    self.readable = false;
                }
                Read::Bytes(count)
            }
            Err(error) => self.read_error(error),
        }
    }

    /// Whether the last read, which left room, was the last of all: the peer's end was known
    /// before it.
    pub fn is_drained(&self) -> bool {
        self.ended && !self.readable
    }

    fn read_end(&mut self) -> Read {
        self.readable = false;
        self.ended = true;
        Read::End
    }

    pub(super) fn read_error(&mut self, error: Errno) -> Read {
        if error == Errno::AGAIN {
            self.readable = false;
            return Read::Later;
        }
        self.readable = false;
        self.broken.get_or_insert(error.into());
        Read::Broken
    }

    /// Reports what a system call read past this type: from the socket to a pipe.
    pub fn note_read(&mut self, result: Result<usize>) -> Read {
        match result {
            Ok(0) => self.read_end(),
            Ok(count) => Read::Bytes(count),
            Err(error) => self.read_error(error),
        }
    }

    /// Writes as much of `bytes` as there is room for.
    pub fn write(&mut self, bytes: &[u8]) -> Written {
        self.make_prompt();
        let result = retry_on_intr(|| net::send(&self.fd, bytes, SendFlags::NOSIGNAL));
        self.note_written(result, bytes.len())
    }

    /// Writes as much of both parts as there is room for, in one call.
    pub fn write_both(&mut self, first: &[u8], second: &[u8]) -> Written {
        if first.is_empty() {
            return self.write(second);
        }
        self.make_prompt();
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        let result = retry_on_intr(|| {
            let mut control = SendAncillaryBuffer::default();
            net::sendmsg(&self.fd, &parts, &mut control, SendFlags::NOSIGNAL)
        });
        self.note_written(result, first.len() + second.len())
    }

    /// Reports what a pipe wrote to the socket. Taking less than offered may have other reasons than
    /// a full socket, so the next try shows.
    pub fn note_spliced(&mut self, result: Result<usize>) -> Written {
        let written = self.note_written(result, 0);
        self.writable |= matches!(written, Written::Bytes(_));
        written
    }

    fn note_written(&mut self, result: Result<usize>, offered: usize) -> Written {
        self.written_once = true;
        match result {
            Ok(count) => {
                self.writable = count == offered;
                Written::Bytes(count)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Written::Later
            }
            Err(error) => {
                self.writable = false;
                // The kernel says it once; whoever reads next sees an end.
                self.broken.get_or_insert(error.into());
                Written::Broken(error)
            }
        }
    }

    /// Turns Nagle's algorithm off before the second write. The first is sent at once anyway, and
    /// many connections have no other.
    pub fn make_prompt(&mut self) {
        if !self.prompt && self.written_once {
            self.prompt = true;
            let _ = sockopt::set_tcp_nodelay(&self.fd, true);
        }
    }

    /// Sets what an accepted socket inherits and a connection that lasts should have too.
    pub fn settle(&mut self, user_timeout: Duration) {
        // A socket that is closed already has no options; nothing depends on them.
        let _ = set_lasting_options(&self.fd, user_timeout);
    }

    /// Ends this direction.
    pub fn shut(&mut self) {
        // It fails if the peer is gone, and that shows in other ways.
        let _ = net::shutdown(&self.fd, Shutdown::Write);
    }

    /// Makes closing it reset the connection.
    pub fn reset_on_close(&self) {
        // If this fails, the peer sees the end instead.
        let _ = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO));
    }

    /// How the connection with the peer broke, as far as reads and writes have shown.
    pub fn broken(&self) -> Option<Loss> {
        self.broken
    }

    /// The same of a connection that an event says has broken.
    pub fn loss(&self) -> Loss {
        self.broken.unwrap_or_else(|| self.error().err().unwrap_or(Errno::CONNRESET).into())
    }

    /// Why connecting failed, if it did.
    pub fn error(&self) -> Result<()> {
        sockopt::socket_error(&self.fd)?
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Accepts one connection and says who it is, as the socket has it.
pub fn accept(listener: &OwnedFd) -> Result<(OwnedFd, Option<SocketAddr>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (fd, peer) = net::acceptfrom_with(listener, flags)?;
    Ok((fd, peer.and_then(|peer| peer.try_into().ok())))
}

/// Where an accepted connection arrived.
pub fn local_address(socket: &Socket) -> Option<SocketAddr> {
    net::getsockname(&socket.fd).ok()?.try_into().ok()
}

/// Begins to connect. The socket may be connected at once or be about to be: writing shows.
pub fn connect(address: SocketAddr) -> Result<Socket> {
    let family =
        if address.is_ipv6() { net::AddressFamily::INET6 } else { net::AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = net::socket_with(family, net::SocketType::STREAM, flags, Some(net::ipproto::TCP))?;
    sockopt::set_socket_oobinline(&fd, true)?;
    match net::connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(Socket::connecting(fd)),
        Err(error) => Err(error),
    }
}

/// What accepted sockets inherit from their listener.
pub fn prepare_listener(listener: &OwnedFd, user_timeout: Duration) -> Result<()> {
    ioctl_fionbio(listener, true)?;
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_oobinline(listener, true)?;
    set_lasting_options(listener, user_timeout)
}

fn set_lasting_options(socket: &OwnedFd, user_timeout: Duration) -> Result<()> {
    // The kernel takes a signed number.
    let most = i32::MAX.unsigned_abs();
    let millis = u32::try_from(user_timeout.as_millis()).unwrap_or(most).min(most);
    sockopt::set_tcp_user_timeout(socket, millis)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_EVERY)?;
    sockopt::set_socket_keepalive(socket, true)
}
