use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port of `[::1]` that nobody else gets as long as this lives. It is bound and does not listen, so
/// that another socket may.
pub struct Port {
    pub address: SocketAddr,
    _reserved: Socket,
}

impl Port {
    pub fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("socket");
        socket.set_reuse_address(true).expect("option");
        let any: SocketAddr = "[::1]:0".parse().expect("address");
        socket.bind(&any.into()).expect("bound");
        let address = socket.local_addr().expect("address").as_socket().expect("address");
        Self { address, _reserved: socket }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}
