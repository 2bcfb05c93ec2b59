//! The header towards a backend.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{
    FIXED, IPV4_LENGTH, IPV6_LENGTH, LOCAL, PROXY, SIGNATURE, TCP_OVER_IPV4, TCP_OVER_IPV6, UNSPEC,
};

const MAX_HEADER: usize = FIXED + IPV6_LENGTH as usize;

/// A header ready to be sent. It must leave in one write, together with the first bytes of the
/// client if there are any.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; MAX_HEADER],
    length: u8,
}

/// The header for a connection from `source` to `destination`, both as the accepted socket has
/// them. Mapped IPv4 addresses are taken for the IPv4 addresses they are. If only one of the two is
/// IPv4, it is mapped, because a header has one family.
pub fn encode(source: SocketAddr, destination: SocketAddr) -> Header {
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = Header::begin(PROXY, TCP_OVER_IPV4, IPV4_LENGTH);
            header.push(&from.octets());
            header.push(&to.octets());
            header.with_ports(source, destination)
        }
        (from, to) => {
            let mut header = Header::begin(PROXY, TCP_OVER_IPV6, IPV6_LENGTH);
            header.push(&mapped(from).octets());
            header.push(&mapped(to).octets());
            header.with_ports(source, destination)
        }
    }
}

/// The header for a connection that the edge opens for itself, to check the health of a backend.
pub fn encode_local() -> Header {
    Header::begin(LOCAL, UNSPEC, 0)
}

impl Header {
    /// The bytes to send: 16, 28 or 52.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn begin(command: u8, family: u8, length: u8) -> Self {
        let mut header = Self { bytes: [0; MAX_HEADER], length: 0 };
        header.push(&SIGNATURE);
        header.push(&[command, family, 0, length]);
        header
    }

    fn with_ports(mut self, source: SocketAddr, destination: SocketAddr) -> Self {
        self.push(&source.port().to_be_bytes());
        self.push(&destination.port().to_be_bytes());
        self
    }

    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.length);
        self.bytes[start..start + part.len()].copy_from_slice(part);
        self.length += u8::try_from(part.len()).expect("a part of a header of 52 bytes");
    }
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({:02x?})", self.as_bytes())
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
