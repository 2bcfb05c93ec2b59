//! Which address families a network speaks, how its peers connect, and the addresses of a peer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::prefix::Prefix;

/// The address families of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IpStackMode {
    /// IPv6 only, the default everywhere.
    #[default]
    Ipv6,
    /// IPv4 only.
    Ipv4,
    /// Both families.
    Dual,
}

/// How the peers of a network connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Every pair of peers connects directly.
    #[default]
    FullMesh,
    /// Peers connect through jump peers.
    Hub,
}

/// The addresses of a peer: one of either family, or one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "OptionalAddresses")]
pub struct PeerAddresses {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Ipv6)]
    ipv6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Ipv4)]
    ipv4: Option<Ipv4Addr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionalAddresses {
    ipv6: Option<Ipv6Addr>,
    ipv4: Option<Ipv4Addr>,
}

/// A peer without any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer needs at least one address, IPv6 or IPv4")]
pub struct NoAddress;

impl PeerAddresses {
    /// Both optional, at least one present.
    pub fn new(ipv6: Option<Ipv6Addr>, ipv4: Option<Ipv4Addr>) -> Result<Self, NoAddress> {
        if ipv6.is_none() && ipv4.is_none() { Err(NoAddress) } else { Ok(Self { ipv6, ipv4 }) }
    }

    /// An IPv6-only peer.
    pub fn v6(address: Ipv6Addr) -> Self {
        Self { ipv6: Some(address), ipv4: None }
    }

    /// The IPv6 address, if it has one.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.ipv6
    }

    /// The IPv4 address, if it has one.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.ipv4
    }

    /// All addresses, IPv6 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.ipv6.map(IpAddr::V6).into_iter().chain(self.ipv4.map(IpAddr::V4))
    }
}

impl TryFrom<OptionalAddresses> for PeerAddresses {
    type Error = NoAddress;

    fn try_from(given: OptionalAddresses) -> Result<Self, Self::Error> {
        Self::new(given.ipv6, given.ipv4)
    }
}

/// Why a prefix cannot be the mesh prefix of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableMeshPrefix {
    /// The mesh is IPv6 only.
    #[error("mesh prefix \"{0}\" is IPv4; the mesh is IPv6 only, give a ULA or a GUA prefix")]
    NotIpv6(Prefix),
    /// Neither ULA (RFC 4193) nor global unicast (RFC 4291).
    #[error("mesh prefix \"{0}\" is neither inside fd00::/8 nor inside 2000::/3")]
    NotUnicast(Prefix),
    /// No room for nodes, or wider than any site is given.
    #[error("mesh prefix \"{0}\" has length {1}; use /{shortest} to /{longest}", shortest = MESH_LENGTHS.0, longest = MESH_LENGTHS.1)]
    Length(Prefix, u8),
}

/// Shortest and longest mesh prefix: room for 16 to 2^44 nodes with a /64 each.
pub const MESH_LENGTHS: (u8, u8) = (20, 60);

/// Length of the prefix each node owns for its workloads.
pub const NODE_PREFIX_LENGTH: u8 = 64;

/// Checks that `prefix` can be a mesh prefix.
pub fn check_mesh_prefix(prefix: Prefix) -> Result<(), UnusableMeshPrefix> {
    let Some(net) = prefix.v6() else {
        return Err(UnusableMeshPrefix::NotIpv6(prefix));
    };
    let first = net.addr().segments()[0];
    let (ula, gua) = (first & 0xff00 == 0xfd00, first & 0xe000 == 0x2000);
    // A prefix shorter than /8 could start inside and still reach outside.
    if !(ula || gua) || prefix.length() < 8 {
        return Err(UnusableMeshPrefix::NotUnicast(prefix));
    }
    if !(MESH_LENGTHS.0..=MESH_LENGTHS.1).contains(&prefix.length()) {
        return Err(UnusableMeshPrefix::Length(prefix, prefix.length()));
    }
    Ok(())
}

/// The ULA /48 with this global id (RFC 4193 section 3.2: the 40 bits must be random).
pub fn ula_prefix(global_id: [u8; 5]) -> Prefix {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&global_id);
    Prefix::containing(IpAddr::from(octets), 48)
        .unwrap_or_else(|| Prefix::host(IpAddr::from(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_at_least_one_address() {
        assert_eq!(PeerAddresses::new(None, None), Err(NoAddress));
        assert!(serde_json::from_str::<PeerAddresses>("{}").is_err());
        let both: PeerAddresses =
            serde_json::from_str(r#"{"ipv6":"fd00::1","ipv4":"10.0.0.1"}"#).expect("both");
        assert_eq!(both.iter().count(), 2);
    }

    #[test]
    fn only_unicast_prefixes_with_room_can_be_a_mesh() {
        let check = |text: &str| check_mesh_prefix(text.parse().expect(text));
        for good in ["fd00:1:2::/48", "2001:db8::/32", "fd12:3456:789a:10::/60"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in
            ["fe80::/10", "ff00::/8", "fc00::/48", "10.0.0.0/8", "fd00::/64", "fd00::/8", "::/0"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(check_mesh_prefix(ula_prefix([1, 2, 3, 4, 5])), Ok(()));
    }
}
