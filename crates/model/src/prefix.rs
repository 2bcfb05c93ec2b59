//! Address prefixes whose host bits are zero. `10.0.0.1/8` is a typing error, not a prefix.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A prefix of either family with no host bit set.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, examples("fd5e:c7a1::/48"))]
pub struct Prefix(IpNet);

/// Why a text or a network is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// Not an address, a slash and a length.
    #[error("prefix \"{0}\" is not an address and a length; write it like \"fd5e:c7a1::/48\"")]
    Syntax(String),
    /// Bits set beyond the length.
    #[error("prefix \"{0}\" has host bits set; did you mean \"{1}\"?")]
    HostBits(IpNet, IpNet),
}

impl Prefix {
    /// Accepts `net` if it has no host bits.
    pub fn new(net: impl Into<IpNet>) -> Result<Self, InvalidPrefix> {
        let net = net.into();
        if net.trunc() == net {
            Ok(Self(net))
        } else {
            Err(InvalidPrefix::HostBits(net, net.trunc()))
        }
    }

    /// The smallest prefix length `length` that holds `address`; `None` if the length is impossible.
    pub fn containing(address: IpAddr, length: u8) -> Option<Self> {
        IpNet::new(address, length).ok().map(|net| Self(net.trunc()))
    }

    /// The single address as a prefix.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The network of either family.
    pub fn net(self) -> IpNet {
        self.0
    }

    /// The IPv6 network, if it is one.
    pub fn v6(self) -> Option<Ipv6Net> {
        match self.0 {
            IpNet::V6(net) => Some(net),
            IpNet::V4(_) => None,
        }
    }

    /// The IPv4 network, if it is one.
    pub fn v4(self) -> Option<Ipv4Net> {
        match self.0 {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        }
    }

    /// Number of leading bits that are fixed.
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether the two share an address. Prefixes either nest or are disjoint.
    pub fn overlaps(self, other: Self) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Prefix {
    type Error = InvalidPrefix;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::str::FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let quoted = || InvalidPrefix::Syntax(text.chars().take(60).collect());
        Self::new(text.parse::<IpNet>().map_err(|_| quoted())?)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_with_the_prefix_that_was_meant() {
        let error = "fd00::1/48".parse::<Prefix>().expect_err("host bits");
        assert_eq!(
            error.to_string(),
            "prefix \"fd00::1/48\" has host bits set; did you mean \"fd00::/48\"?"
        );
        assert!("fd00::/129".parse::<Prefix>().is_err());
        assert!("fd00::".parse::<Prefix>().is_err());
        assert_eq!("fd00::/48".parse::<Prefix>().expect("good").to_string(), "fd00::/48");
    }

    #[test]
    fn prefixes_overlap_only_when_one_holds_the_other() {
        let prefix = |text: &str| text.parse::<Prefix>().expect(text);
        assert!(prefix("fd00::/8").overlaps(prefix("fd00:1::/32")));
        assert!(prefix("fd00:1::/32").overlaps(prefix("fd00::/8")));
        assert!(!prefix("fd00:1::/32").overlaps(prefix("fd00:2::/32")));
        assert!(!prefix("10.0.0.0/8").overlaps(prefix("::/0")));
    }
}
