//! Listening sockets: which ones serve a set of routes, and how they are opened.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Type};

use crate::worker::{Settings, prepare_listener};

/// The kernel takes less where `net.core.somaxconn` says so.
const BACKLOG: i32 = 65_535;

/// One listening socket of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// Where it is bound.
    pub address: SocketAddr,
    /// Whether a socket on `[::]` accepts IPv4 too.
    pub dual: bool,
}

/// The sockets that serve routes on `listens`. A socket on every address serves particular ones of
/// its port too: the kernel refuses to have both.
///
/// With `dual`, `[::]` accepts IPv4 unless somebody asks for `0.0.0.0` on the same port.
pub fn wanted(listens: &BTreeSet<SocketAddr>, dual: bool) -> BTreeSet<Socket> {
    let sockets = sockets(listens, dual);
    sockets.iter().filter(|socket| !is_covered(socket, &sockets)).copied().collect()
}

/// The sockets on particular addresses that can serve routes there while the general one, which
/// should, cannot be opened.
pub fn stand_ins(listens: &BTreeSet<SocketAddr>, dual: bool) -> BTreeSet<Socket> {
    let sockets = sockets(listens, dual);
    sockets.iter().filter(|socket| is_covered(socket, &sockets)).copied().collect()
}

fn sockets(listens: &BTreeSet<SocketAddr>, dual: bool) -> BTreeSet<Socket> {
    let v4 = |port| listens.contains(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    let socket = |&address: &SocketAddr| Socket {
        address,
        dual: dual && address.ip() == Ipv6Addr::UNSPECIFIED && !v4(address.port()),
    };
    listens.iter().map(socket).collect()
}

fn is_covered(socket: &Socket, sockets: &BTreeSet<Socket>) -> bool {
    let general = |ip: IpAddr, dual| Socket { address: (ip, socket.address.port()).into(), dual };
    let v6 = Ipv6Addr::UNSPECIFIED.into();
    let general =
        [general(Ipv4Addr::UNSPECIFIED.into(), false), general(v6, false), general(v6, true)];
    general.iter().any(|general| general.covers(socket) && sockets.contains(general))
}

impl Socket {
    /// Whether what arrives at `other` would arrive here if that was not open.
    pub fn covers(&self, other: &Self) -> bool {
        let families = match (self.address.ip(), other.address.ip()) {
            (IpAddr::V6(_), IpAddr::V4(_)) => self.dual,
            (ours, theirs) => ours.is_ipv6() == theirs.is_ipv6(),
        };
        self != other
            && self.address.port() == other.address.port()
            && self.address.ip().is_unspecified()
            && families
    }

    /// Whether the kernel refuses to have both, unless it is told otherwise.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Opens it.
    pub fn open(&self, settings: &Settings) -> io::Result<OwnedFd> {
        self.open_with(false, settings)
    }

    /// Opens it while `others`, which overlap it, still listen (ADR 0008).
    pub fn open_beside(&self, others: &[&OwnedFd], settings: &Settings) -> io::Result<OwnedFd> {
        let tolerate = |tolerated| {
            let mut others = others.iter();
            others.try_for_each(|other| SockRef::from(*other).set_reuse_port(tolerated))
        };
        let opened = tolerate(true).and_then(|()| self.open_with(true, settings));
        // From here on they are as exclusive as any.
        tolerate(false)?;
        let opened = opened?;
        SockRef::from(&opened).set_reuse_port(false)?;
        Ok(opened)
    }

    fn open_with(&self, reuse_port: bool, settings: &Settings) -> io::Result<OwnedFd> {
        let domain = Domain::for_address(self.address);
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new(domain, kind, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse_port)?;
        let particular = !self.address.ip().is_unspecified();
        // An address may come to the machine after the route that names it.
        if self.address.is_ipv6() {
            socket.set_only_v6(!self.dual)?;
            socket.set_freebind_v6(particular)?;
        } else {
            socket.set_freebind_v4(particular)?;
        }
        socket.bind(&self.address.into())?;
        let socket = OwnedFd::from(socket);
        prepare_listener(&socket, settings)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// What an open socket is; an error if it does not listen.
    pub fn of(listener: &TcpListener) -> io::Result<Self> {
        if !sockopt::socket_acceptconn(listener)? {
            return Err(io::Error::other("the socket does not listen"));
        }
        let address = listener.local_addr()?;
        let dual = address.ip() == Ipv6Addr::UNSPECIFIED && !sockopt::ipv6_v6only(listener)?;
        Ok(Self { address, dual })
    }

    /// Prepares a socket that somebody else opened.
    pub fn adopt(listener: TcpListener, settings: &Settings) -> io::Result<OwnedFd> {
        let socket = OwnedFd::from(listener);
        prepare_listener(&socket, settings)?;
        Ok(socket)
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(listens: &[&str], dual: bool) -> Vec<(String, bool)> {
        let listens = listens.iter().map(|text| text.parse().expect("address")).collect();
        let wanted = wanted(&listens, dual);
        wanted.into_iter().map(|socket| (socket.to_string(), socket.dual)).collect()
    }

    #[test]
    fn a_general_socket_serves_particular_addresses_of_its_port() {
        let all = ["[::]:443", "[2001:db8::1]:443", "192.0.2.1:443", "[2001:db8::1]:80"];
        assert_eq!(
            sockets(&all, true),
            [("[::]:443".into(), true), ("[2001:db8::1]:80".into(), false)]
        );
        assert_eq!(
            sockets(&all, false),
            [
                ("192.0.2.1:443".into(), false),
                ("[::]:443".into(), false),
                ("[2001:db8::1]:80".into(), false)
            ]
        );
    }

    #[test]
    fn who_asks_for_all_of_ipv4_gets_a_socket_for_it() {
        let both = [("0.0.0.0:443".into(), false), ("[::]:443".into(), false)];
        assert_eq!(sockets(&["[::]:443", "0.0.0.0:443", "192.0.2.1:443"], true), both);
    }

    #[test]
    fn particular_sockets_stand_in_for_a_general_one() {
        let listens = ["[::]:443", "[2001:db8::1]:443", "192.0.2.1:443", "[2001:db8::1]:80"];
        let listens = listens.iter().map(|text| text.parse().expect("address")).collect();
        let addresses = |dual| {
            let found = stand_ins(&listens, dual).into_iter();
            found.map(|socket| socket.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(addresses(true), ["192.0.2.1:443", "[2001:db8::1]:443"]);
        assert_eq!(addresses(false), ["[2001:db8::1]:443"]);
    }

    #[test]
    fn sockets_that_overlap_can_be_exchanged_without_a_pause() {
        let at = |address: SocketAddr, dual| Socket { address, dual };
        let settings = Settings::default();
        let any = at("[::1]:0".parse().expect("address"), false);
        let particular = TcpListener::from(any.open(&settings).expect("opened"));
        let address = particular.local_addr().expect("address");
        let particular = (at(address, false), OwnedFd::from(particular));
        let unspecified = |dual| at((Ipv6Addr::UNSPECIFIED, address.port()).into(), dual);
        let v4 = at((Ipv4Addr::UNSPECIFIED, address.port()).into(), false);
        let exchange = |old: &(Socket, OwnedFd), new: Socket| {
            assert!(old.0.overlaps(&new) && new.overlaps(&old.0));
            assert!(new.open(&settings).is_err(), "{new} overlaps {}", old.0);
            (new, new.open_beside(&[&old.1], &settings).expect("opened"))
        };
        let dual = exchange(&particular, unspecified(true));
        drop(particular);
        let v4 = exchange(&dual, v4);
        let v6 = exchange(&dual, unspecified(false));
        drop(dual);
        assert!(!v4.0.overlaps(&v6.0));
        let _particular = exchange(&v6, at(address, false));
    }

    #[test]
    fn every_set_of_wanted_sockets_can_be_open_at_once() {
        let open = |address: &str, dual| {
            let socket = Socket { address: address.parse().expect("address"), dual };
            let fd = socket.open(&Settings::default()).expect("opened");
            let listener = TcpListener::from(fd);
            (Socket::of(&listener).expect("known"), listener)
        };
        let (dual, _first) = open("[::]:0", true);
        assert!(dual.dual);
        let (v6, _second) = open("[::]:0", false);
        assert!(!v6.dual);
        let (v4, _third) = open(&format!("0.0.0.0:{}", v6.address.port()), false);
        assert_eq!(v4.address.port(), v6.address.port());
    }
}
