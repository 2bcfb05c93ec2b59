//! Listening sockets: which ones serve a set of routes, and how they are opened.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, Type};

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
    let has = |ip: IpAddr, port| listens.contains(&SocketAddr::new(ip, port));
    let v4 = |port| has(Ipv4Addr::UNSPECIFIED.into(), port);
    let v6 = |port| has(Ipv6Addr::UNSPECIFIED.into(), port);
    let covered = |listen: &SocketAddr| match listen.ip() {
        ip if ip.is_unspecified() => false,
        IpAddr::V4(_) => v4(listen.port()) || (dual && v6(listen.port())),
        IpAddr::V6(_) => v6(listen.port()),
    };
    let socket = |&address: &SocketAddr| Socket {
        address,
        dual: dual && address.ip() == Ipv6Addr::UNSPECIFIED && !v4(address.port()),
    };
    listens.iter().filter(|listen| !covered(listen)).map(socket).collect()
}

impl Socket {
    /// Opens it.
    pub fn open(&self, settings: &Settings) -> io::Result<OwnedFd> {
        let domain = Domain::for_address(self.address);
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new(domain, kind, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
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
