//! Where a connection comes from, as far as limits are concerned.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// One source: an IPv4 address, or a /64 of IPv6, which is what one customer of a provider has at
/// least (RFC 6177). The machine itself is one source of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The machine itself.
    Loopback,
    /// An address.
    V4(Ipv4Addr),
    /// The first half of an address.
    V6(u64),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Loopback,
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl Source {
    /// As a key of limits.
    pub fn key(self) -> u128 {
        match self {
            Self::Loopback => 1,
            Self::V4(address) => 0xffff_0000_0000 | u128::from(address.to_bits()),
            Self::V6(prefix) => u128::from(prefix) << 64,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::V4(address) => address.fmt(f),
            Self::V6(prefix) => {
                write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*prefix) << 64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_half_of_ipv6_a_whole_of_ipv4_or_the_machine_itself() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().expect("address"));
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("::1"), Source::Loopback);
        assert_eq!(source("127.0.0.2"), Source::Loopback);
        assert_eq!(source("::ffff:127.0.0.1"), Source::Loopback);
        assert_eq!(source("2001:db8:0:1::1").to_string(), "2001:db8:0:1::/64");
        assert_eq!(source("192.0.2.1").to_string(), "192.0.2.1");
    }
}
