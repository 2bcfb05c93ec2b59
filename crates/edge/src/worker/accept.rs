//! Accepts connections from the listening sockets.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustix::{
    event::epoll::{self, EventFlags},
    fd::{AsRawFd, OwnedFd},
    io::{Errno, Result, fcntl_dupfd_cloexec},
};
use sextant_model::Prefix;

use super::{Listening, slab::Token, socket};
use crate::timer::Moment;

/// Most connections that are accepted from one socket before others have their turn.
const LARGEST_BATCH: u32 = 32;
/// After so many a worker stands at the end of the queue of those who wait for the next. The kernel
/// asks them in the order of their coming, and on a quiet edge the first is always free.
const TURN: u32 = 16;
/// Descriptors that accepting leaves to everything else, such as what other workers accept meanwhile.
const SPARE_DESCRIPTORS: usize = 128;
/// Most connections that are accepted from a socket that is let go.
const LARGEST_REST: u32 = 4096;
/// Pauses when the system has no descriptor or memory left, doubled each time in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// At most one warning in this time.
const WARNING_EVERY: Duration = Duration::from_secs(10);

/// The listening sockets of one worker.
#[derive(Debug, Default)]
pub struct Acceptor {
    sockets: Vec<Accepting>,
    next_number: u32,
    warned: Option<Moment>,
}

/// Where connections arrive, apart from the socket: connections keep this, and a socket that is no
/// longer wanted must close although they go on.
#[derive(Debug)]
pub struct Place {
    /// The address that the socket is bound to.
    pub address: SocketAddr,
    proxy_header_from: Arc<[Prefix]>,
}

#[derive(Debug)]
struct Accepting {
    number: u32,
    socket: Arc<OwnedFd>,
    place: Arc<Place>,
    /// How many connections to expect. To find none costs half as much as to accept one.
    batch: u32,
    /// Accepted since the worker came to the end of the queue.
    turn: u32,
    /// The last connection got a descriptor that others will need.
    is_full: bool,
    pause: Duration,
    /// It is not watched before then.
    paused_until: Option<Moment>,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Batch {
    /// The socket is watched as before.
    Watched,
    /// It is not watched for a while; [`Acceptor::resume`] says until when.
    Paused,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    pub fd: OwnedFd,
    pub peer: SocketAddr,
    pub place: Arc<Place>,
}

impl Acceptor {
    /// Watches these sockets and no others. What waits in those that are let go is accepted first: of
    /// all processes and workers that have the socket, only this one may have been woken for it.
    pub fn set(&mut self, epoll: &OwnedFd, wanted: &[Listening], accepted: &mut Vec<Accepted>) {
        let same = |ours: &Accepting, theirs: &Listening| Arc::ptr_eq(&ours.socket, &theirs.socket);
        self.sockets.retain(|accepting| {
            let keep = wanted.iter().any(|theirs| same(accepting, theirs));
            if !keep && accepting.paused_until.is_none() {
                unwatch(epoll, accepting);
                accept_rest(accepting, accepted);
            }
            keep
        });
        for theirs in wanted {
            let known = self.sockets.iter_mut().find(|ours| same(ours, theirs));
            // Not shared with other workers, so that counting its users is cheap.
            let place = Arc::new(Place {
                address: theirs.address,
                proxy_header_from: Arc::clone(&theirs.proxy_header_from),
            });
            match known {
                Some(ours) => ours.place = place,
                None => self.add(epoll, Arc::clone(&theirs.socket), place),
            }
        }
    }

    fn add(&mut self, epoll: &OwnedFd, socket: Arc<OwnedFd>, place: Arc<Place>) {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1) % (u32::MAX - 1);
        let mut accepting = Accepting {
            number,
            socket,
            place,
            batch: 1,
            turn: 0,
            is_full: false,
            pause: FIRST_PAUSE,
            paused_until: None,
        };
        if let Err(error) = watch(epoll, &accepting) {
            let address = accepting.place.address;
            tracing::error!(%address, %error, "cannot watch a listening socket; trying again");
            accepting.paused_until = Some(Moment::default());
        }
        self.sockets.push(accepting);
    }

    /// Accepts a batch from one socket. If the system has nothing left, or a descriptor from
    /// `ceiling` on was given out, the socket is not watched for a while: connections wait in it,
    /// and workers do not spin.
    pub fn accept(
        &mut self,
        epoll: &OwnedFd,
        number: u32,
        ceiling: usize,
        now: Moment,
        accepted: &mut Vec<Accepted>,
    ) -> Batch {
        let Some(accepting) = self.sockets.iter_mut().find(|socket| socket.number == number) else {
            return Batch::Watched;
        };
        let before = accepted.len();
        let ended = if accepting.is_full && !has_room(&accepting.socket, ceiling) {
            Err(Errno::MFILE)
        } else {
            accept_batch(accepting, ceiling, accepted)
        };
        accepting.is_full = ended == Err(Errno::MFILE);
        let count = u32::try_from(accepted.len() - before).unwrap_or(u32::MAX);
        match ended {
            Ok(()) => accepting.batch = (accepting.batch + 1).min(LARGEST_BATCH),
            Err(Errno::AGAIN) => accepting.batch = (accepting.batch / 2).max(1),
            Err(error) => {
                let pause = if count > 0 { FIRST_PAUSE } else { accepting.pause };
                unwatch(epoll, accepting);
                accepting.paused_until = Some(now + pause);
                accepting.pause = (pause * 2).min(LONGEST_PAUSE);
                self.warn(number, now, error, pause);
                return Batch::Paused;
            }
        }
        accepting.turn += count;
        if count > 0 {
            accepting.pause = FIRST_PAUSE;
        }
        if accepting.turn >= TURN {
            accepting.turn = 0;
            unwatch(epoll, accepting);
            if let Err(error) = watch(epoll, accepting) {
                accepting.paused_until = Some(now + FIRST_PAUSE);
                self.warn(number, now, error, FIRST_PAUSE);
                return Batch::Paused;
            }
        }
        Batch::Watched
    }

    fn warn(&mut self, number: u32, now: Moment, error: Errno, pause: Duration) {
        if self.warned.is_some_and(|warned| now.since(warned) < WARNING_EVERY) {
            return;
        }
        self.warned = Some(now);
        let socket = self.sockets.iter().find(|socket| socket.number == number);
        let address = socket.map(|socket| socket.place.address);
        tracing::warn!(
            ?address,
            %error,
            ?pause,
            "cannot accept connections; they wait. Raise LimitNOFILE= or lower the limits of connections"
        );
    }

    /// Watches sockets again whose pause is over. Returns when the next pause ends.
    pub fn resume(&mut self, epoll: &OwnedFd, now: Moment) -> Option<Moment> {
        let mut next: Option<Moment> = None;
        for accepting in &mut self.sockets {
            let Some(until) = accepting.paused_until else { continue };
            if until <= now {
                let watched = watch(epoll, accepting).is_ok();
                accepting.paused_until = (!watched).then(|| now + LONGEST_PAUSE);
            }
            if let Some(until) = accepting.paused_until {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        next
    }
}

/// Accepts until the batch is full, nobody is left, or something is short.
fn accept_batch(accepting: &Accepting, ceiling: usize, accepted: &mut Vec<Accepted>) -> Result<()> {
    for _ in 0..accepting.batch {
        match socket::accept(&accepting.socket) {
            Ok((fd, peer)) => {
                let is_last = usize::try_from(fd.as_raw_fd()).is_ok_and(|number| number >= ceiling);
                if let Some(peer) = peer.map(unmapped) {
                    accepted.push(Accepted { fd, peer, place: Arc::clone(&accepting.place) });
                }
                if is_last {
                    return Err(Errno::MFILE);
                }
            }
            Err(error) if concerns_one_connection(error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the lowest descriptor that is free lies below `ceiling`.
fn has_room(any: &OwnedFd, ceiling: usize) -> bool {
    fcntl_dupfd_cloexec(any, 0)
        .is_ok_and(|free| usize::try_from(free.as_raw_fd()).is_ok_and(|number| number < ceiling))
}

/// The descriptor from which on a connection could not get the one for its backend: so many may
/// there be, and so many connections have one already and need another. The system gives out the
/// lowest that is free.
pub fn ceiling(descriptors: usize, waiting: usize) -> usize {
    descriptors.saturating_sub(waiting).saturating_sub(SPARE_DESCRIPTORS)
}

/// Accepts what waits now; who comes without a pause does not hold the worker up for ever.
fn accept_rest(accepting: &Accepting, accepted: &mut Vec<Accepted>) {
    for _ in 0..LARGEST_REST {
        match socket::accept(&accepting.socket) {
            Ok((fd, peer)) => {
                let Some(peer) = peer.map(unmapped) else { continue };
                accepted.push(Accepted { fd, peer, place: Arc::clone(&accepting.place) });
            }
            Err(error) if concerns_one_connection(error) => {}
            Err(_) => return,
        }
    }
}

/// Whether an error of accept is one of this one connection and not of the socket: accept(2) says to
/// go on.
fn concerns_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
}

/// Of the workers that wait, one is woken for a connection.
fn watch(epoll: &OwnedFd, accepting: &Accepting) -> Result<()> {
    let token = Token::Listener(accepting.number);
    let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
    epoll::add(epoll, &accepting.socket, token.into(), flags)
}

fn unwatch(epoll: &OwnedFd, accepting: &Accepting) {
    let _ = epoll::delete(epoll, &accepting.socket);
}

/// An IPv4 client of a socket that takes both families, as what it is.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Place {
    /// Whether a connection from `peer` must begin with a PROXY header.
    pub fn requires_header(&self, peer: SocketAddr) -> bool {
        self.proxy_header_from.iter().any(|prefix| prefix.net().contains(&peer.ip()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::event::epoll::CreateFlags;

    use super::*;

    #[test]
    fn what_waits_in_a_socket_that_is_let_go_is_accepted() {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
        let listener = TcpListener::bind("[::1]:0").expect("bound");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("address");
        let listening = Listening {
            socket: Arc::new(listener.into()),
            address,
            proxy_header_from: Arc::default(),
        };
        let (mut acceptor, mut accepted) = (Acceptor::default(), Vec::new());
        acceptor.set(&epoll, &[listening], &mut accepted);
        let clients: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(address).expect("connected")).collect();
        assert!(accepted.is_empty(), "that is left to whoever is woken");
        acceptor.set(&epoll, &[], &mut accepted);
        let peers: Vec<SocketAddr> = accepted.iter().map(|one| one.peer).collect();
        let expected: Vec<SocketAddr> =
            clients.iter().map(|client| client.local_addr().expect("address")).collect();
        assert_eq!(peers, expected);
        assert_eq!(accepted[0].place.address, address);
    }
}
