//! The MTU of the underlay: the least of the ways that packets to the peers take.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
};

use crate::netlink::{Netlink, NetlinkError};

/// What the underlay offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// The least MTU of all ways, in bytes.
    pub mtu: u32,
    /// Peers that no route leads to; they do not count.
    pub unreachable: BTreeSet<IpAddr>,
}

/// Looks at the ways to `endpoints` and at the interface that holds `own`; `None` if neither
/// leads anywhere, as before the underlay is up. Ways through `overlay` itself do not count.
pub async fn underlay(
    netlink: &Netlink,
    own: IpAddr,
    endpoints: impl IntoIterator<Item = SocketAddr>,
    overlay: Option<u32>,
) -> Result<Option<Underlay>, NetlinkError> {
    let mut links = Links { netlink, mtus: BTreeMap::new() };
    let mut least = match netlink.holder(own).await? {
        Some(index) => links.mtu(index).await?,
        None => None,
    };
    let mut unreachable = BTreeSet::new();
    let addresses: BTreeSet<IpAddr> = endpoints.into_iter().map(|endpoint| endpoint.ip()).collect();
    for address in addresses {
        match links.way(address, overlay).await {
            Some(mtu) => least = Some(least.map_or(mtu, |least| least.min(mtu))),
            None => drop(unreachable.insert(address)),
        }
    }
    Ok(least.map(|mtu| Underlay { mtu, unreachable }))
}

/// Whether this machine has the address; `None` if that cannot be told.
pub fn is_local(address: IpAddr) -> Option<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Some(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Some(false),
        Err(_) => None,
    }
}

struct Links<'a> {
    netlink: &'a Netlink,
    mtus: BTreeMap<u32, Option<u32>>,
}

impl Links<'_> {
    async fn way(&mut self, address: IpAddr, overlay: Option<u32>) -> Option<u32> {
        let IpAddr::V6(destination) = address else { return None };
        let egress = self.netlink.egress(destination).await.ok()?;
        if Some(egress.index) == overlay {
            return None;
        }
        let mtu = self.mtu(egress.index).await.ok()??;
        Some(egress.path_mtu.map_or(mtu, |path| path.min(mtu)))
    }

    async fn mtu(&mut self, index: u32) -> Result<Option<u32>, NetlinkError> {
        if let Some(mtu) = self.mtus.get(&index) {
            return Ok(*mtu);
        }
        let mtu = self.netlink.link_by_index(index).await?.map(|link| link.mtu);
        self.mtus.insert(index, mtu);
        Ok(mtu)
    }
}

/// The address from which this machine reaches `destination`.
pub async fn source_address(destination: SocketAddr) -> io::Result<IpAddr> {
    let socket = tokio::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?;
    // Nothing is sent: connecting a datagram socket only makes the kernel choose.
    socket.connect(destination).await?;
    Ok(socket.local_addr()?.ip())
}
