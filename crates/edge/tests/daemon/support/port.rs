use std::{
    io,
    net::{Ipv6Addr, SocketAddr, TcpListener},
};

use socket2::{Domain, Socket, Type};

/// A port of `[::1]` that nobody else gets as long as this lives. It is bound and does not listen, so
/// that another socket may.
pub struct Port {
    pub address: SocketAddr,
    _reserved: Socket,
}

impl Port {
    pub fn reserve() -> Self {
        Self::reserve_number(0).expect("bound")
    }

    /// One on whose number somebody else listens for IPv4.
    pub fn beside_another() -> (Self, TcpListener) {
        loop {
            let other = TcpListener::bind("127.0.0.1:0").expect("bound");
            let number = other.local_addr().expect("address").port();
            if let Ok(port) = Self::reserve_number(number) {
                return (port, other);
            }
        }
    }

    fn reserve_number(number: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, number)).into())?;
        let address = socket.local_addr()?.as_socket().expect("address");
        Ok(Self { address, _reserved: socket })
    }

    /// Every address with the same number.
    pub fn everywhere(&self) -> SocketAddr {
        (Ipv6Addr::UNSPECIFIED, self.address.port()).into()
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}
