//! The header of a trusted proxy before this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    Addresses, Decoded, FIXED, IPV4_LENGTH, IPV6_LENGTH, LOCAL, PROXY, Part, Progress, Refused,
    SIGNATURE, TCP_OVER_IPV4, TCP_OVER_IPV6, UNSPEC, crc32c::Crc32c,
};

/// Most bytes that may follow the fixed part. Certificates in extensions stay below.
pub const MAX_LENGTH: u16 = 4096;

/// Type of the extension with the checksum of the whole header.
const CRC32C: u8 = 0x03;

/// Reads one header from the start of a connection.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes read.
    read: usize,
    command: u8,
    family: u8,
    /// Bytes after the fixed part.
    length: u16,
    addresses: [u8; IPV6_LENGTH as usize],
    extension: Extension,
    /// Over all bytes so far, those of the checksum taken for zero.
    computed: Crc32c,
    received: Option<u32>,
    verdict: Option<Result<Decoded, Refused>>,
}

/// Where in an extension the next byte lies: type, two bytes of length, value.
#[derive(Debug, Default)]
struct Extension {
    header: u8,
    kind: u8,
    left: u16,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            read: 0,
            command: 0,
            family: 0,
            length: 0,
            addresses: [0; IPV6_LENGTH as usize],
            extension: Extension::default(),
            computed: Crc32c::default(),
            received: None,
            verdict: None,
        }
    }
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes that follow those of the call before. Looks at none beyond the header;
    /// [`Decoded::consumed`] counts from the first byte ever fed.
    pub fn feed(&mut self, new: &[u8]) -> Progress {
        for byte in new {
            if self.verdict.is_some() {
                break;
            }
            self.verdict = self.byte(*byte).transpose();
        }
        self.verdict.map_or(Progress::NeedMore, Progress::Done)
    }

    /// Whether any byte has been fed. A client that closes before it sends one is no error.
    pub fn has_begun(&self) -> bool {
        self.read > 0
    }

    fn byte(&mut self, byte: u8) -> Result<Option<Decoded>, Refused> {
        let at = self.read;
        self.read += 1;
        let mut summed = byte;
        match at {
            0..12 if byte != SIGNATURE[at] => return Err(Refused::NotProxy),
            0..12 => {}
            12 => self.command(byte)?,
            13 => self.family(byte)?,
            14 | 15 => self.length = self.length << 8 | u16::from(byte),
            _ if at < FIXED + self.addresses_length() => self.addresses[at - FIXED] = byte,
            _ if self.addresses_length() > 0 => summed = self.extension(byte)?,
            // Without addresses, nobody knows what the rest is.
            _ => {}
        }
        self.computed.push(summed);
        if at == FIXED - 1 {
            self.check_length()?;
        }
        let complete = self.read >= FIXED && self.read == FIXED + usize::from(self.length);
        if complete { self.end().map(Some) } else { Ok(None) }
    }

    fn command(&mut self, byte: u8) -> Result<(), Refused> {
        self.command = byte;
        match byte {
            LOCAL | PROXY => Ok(()),
            0x22..=0x2f => Err(Refused::Malformed(Part::Command)),
            _ => Err(Refused::Malformed(Part::Version)),
        }
    }

    fn family(&mut self, byte: u8) -> Result<(), Refused> {
        self.family = byte;
        match byte {
            // What `LOCAL` says beyond its command is to be ignored.
            _ if self.command == LOCAL => Ok(()),
            UNSPEC | TCP_OVER_IPV4 | TCP_OVER_IPV6 => Ok(()),
            // UDP over both, and Unix sockets.
            0x12 | 0x22 | 0x31 | 0x32 => Err(Refused::Unsupported(byte)),
            _ => Err(Refused::Malformed(Part::Family)),
        }
    }

    /// Bytes that the addresses of this family take; 0 if there are none to be had.
    fn addresses_length(&self) -> usize {
        usize::from(match (self.command, self.family) {
            (PROXY, TCP_OVER_IPV4) => IPV4_LENGTH,
            (PROXY, TCP_OVER_IPV6) => IPV6_LENGTH,
            _ => 0,
        })
    }

    fn check_length(&self) -> Result<(), Refused> {
        if self.length > MAX_LENGTH {
            Err(Refused::TooLarge(self.length))
        } else if usize::from(self.length) < self.addresses_length() {
            Err(Refused::Malformed(Part::Length))
        } else {
            Ok(())
        }
    }

    /// Takes a byte of the extensions and returns what the checksum is to see of it.
    fn extension(&mut self, byte: u8) -> Result<u8, Refused> {
        let malformed = Refused::Malformed(Part::Extension);
        let extension = &mut self.extension;
        match extension.header {
            0 => extension.kind = byte,
            1 | 2 => extension.left = extension.left << 8 | u16::from(byte),
            _ => {
                extension.left -= 1;
                if extension.left == 0 {
                    extension.header = 0;
                }
                if extension.kind != CRC32C {
                    return Ok(byte);
                }
                self.received = self.received.map(|sum| sum << 8 | u32::from(byte));
                return Ok(0);
            }
        }
        extension.header += 1;
        if extension.header < 3 {
            return Ok(byte);
        }
        if self.read + usize::from(extension.left) > FIXED + usize::from(self.length) {
            return Err(malformed);
        }
        if extension.kind == CRC32C {
            if extension.left != 4 || self.received.is_some() {
                return Err(malformed);
            }
            self.received = Some(0);
        }
        if extension.left == 0 {
            extension.header = 0;
        }
        Ok(byte)
    }

    fn end(&self) -> Result<Decoded, Refused> {
        if self.extension.header != 0 {
            return Err(Refused::Malformed(Part::Extension));
        }
        if self.received.is_some_and(|sum| sum != self.computed.sum()) {
            return Err(Refused::Checksum);
        }
        Ok(Decoded { addresses: self.addresses(), consumed: self.read })
    }

    fn addresses(&self) -> Option<Addresses> {
        let length = self.addresses_length();
        let (from, rest) = self.addresses[..length].split_at(length.saturating_sub(4) / 2);
        let (to, ports) = rest.split_at(from.len());
        let &[a, b, c, d] = ports else { return None };
        Some(Addresses {
            source: SocketAddr::new(address(from)?, u16::from_be_bytes([a, b])),
            destination: SocketAddr::new(address(to)?, u16::from_be_bytes([c, d])),
        })
    }
}

/// An address of either family, plain.
fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(Ipv6Addr::from(octets).to_canonical())
}
