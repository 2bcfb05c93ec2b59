//! The PROXY protocol, version 2: who connected, said in a header before the first byte.
//!
//! The specification is `doc/proxy-protocol.txt` of HAProxy, section 2.2. Version 1 is neither
//! written nor read. A header is read only where a listener is told to expect one from trusted
//! peers: it is never guessed.

mod crc32c;
mod decode;
mod encode;
mod refused;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use crate::hello;

pub use decode::{Decoder, MAX_LENGTH};
pub use encode::{Header, encode, encode_local};
pub use refused::{Part, Refused};

/// Where a [`Decoder`] stands.
pub type Progress = hello::Progress<Decoded, Refused>;

/// What a good header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The ends of the connection that is forwarded. `None`: those of the connection itself, which
    /// the sender opened for its own purposes (`LOCAL`) or for an unknown family (`UNSPEC`).
    pub addresses: Option<Addresses>,
    /// Length of the header in bytes: what was fed beyond it is the client's.
    pub consumed: usize,
}

/// The ends of a connection. IPv4 addresses are plain, never mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// What every header begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Length of the part that every header has.
const FIXED: usize = 16;
/// Version 2 in the upper half, the command in the lower.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Family in the upper half, transport in the lower.
const UNSPEC: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// Two addresses, two ports.
const IPV4_LENGTH: u8 = 12;
const IPV6_LENGTH: u8 = 36;
