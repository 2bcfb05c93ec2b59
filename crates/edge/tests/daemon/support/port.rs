use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A port of `[::1]` that nobody else gets as long as this lives. It is bound and does not listen, so
/// that another socket may.
pub struct Port {
    pub address: SocketAddr,
    _reserved: Vec<Socket>,
}

impl Port {
    pub fn reserve() -> Self {
        let (reserved, address) = bound("[::1]:0").expect("bound");
        Self { address, _reserved: vec![reserved] }
    }

    /// The same port of `127.0.0.1` too.
    pub fn reserve_both() -> Self {
        loop {
            let (v6, address) = bound("[::1]:0").expect("bound");
            if let Ok((v4, _)) = bound(&format!("127.0.0.1:{}", address.port())) {
                return Self { address, _reserved: vec![v6, v4] };
            }
        }
    }

    /// One on whose number somebody else listens for IPv4.
    pub fn beside_another() -> (Self, TcpListener) {
        loop {
            let other = TcpListener::bind("127.0.0.1:0").expect("bound");
            let number = other.local_addr().expect("address").port();
            if let Ok((reserved, address)) = bound(&format!("[::1]:{number}")) {
                return (Self { address, _reserved: vec![reserved] }, other);
            }
        }
    }

    /// Every address with the same number.
    pub fn everywhere(&self) -> SocketAddr {
        self.at("::")
    }

    /// The port at another address.
    pub fn at(&self, address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("address"), self.address.port())
    }
}

fn bound(address: &str) -> std::io::Result<(Socket, SocketAddr)> {
    let address: SocketAddr = address.parse().expect("address");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket().expect("address");
    Ok((socket, address))
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}
