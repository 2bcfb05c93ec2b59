//! Links, addresses and routes, by rtnetlink. One connection is opened for each pass over the
//! interface, so that nothing is left to heal when one breaks.

pub mod view;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, LinkUnspec, LinkWireguard, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
        link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
            RouteType,
        },
    },
};
use rustix::io::Errno;
use sextant_model::Prefix;

use crate::endpoint::HostAddress;

/// Marks routes that are not tied to the interface as an agent's. The number is free in iproute2's
/// `rt_protos`.
const OWN_PROTOCOL: RouteProtocol = RouteProtocol::Other(83);

/// A request that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {reason}")]
pub struct NetlinkError {
    action: String,
    reason: String,
    errno: Option<Errno>,
}

impl NetlinkError {
    /// What the kernel answered, if it did.
    pub fn errno(&self) -> Option<Errno> {
        self.errno
    }
}

/// What kind of interface has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// The kernel's WireGuard.
    WireGuard,
    /// A TUN device, as userspace WireGuard makes one.
    Tun,
    /// Anything else.
    Other,
}

/// An interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Number by which the kernel knows it.
    pub index: u32,
    /// What it is.
    pub kind: LinkKind,
    /// Administratively up.
    pub up: bool,
    /// MTU, in bytes.
    pub mtu: u32,
}

/// Which way packets to an address leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Through this interface.
    pub index: u32,
    /// MTU of this path where it is less than the interface's, in bytes.
    pub path_mtu: Option<u32>,
}

/// Routes of the main table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Prefixes routed into the interface, without the kernel's own, link-local and multicast ones.
    pub into: BTreeSet<Prefix>,
    /// Prefixes that an agent has made unreachable on this host.
    pub unreachable: BTreeSet<Prefix>,
}

/// A connection to rtnetlink.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Connects. Must be called inside a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        let failed = |error: std::io::Error| NetlinkError {
            action: "open a netlink socket".into(),
            reason: error.to_string(),
            errno: None,
        };
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
        // Ends by itself when the handle is dropped.
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// The interface `name`, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let request = self.handle.link().get().match_name(name.to_owned());
        found(request.execute().next().await, || format!("look up interface \"{name}\""))
    }

    /// The interface with this number, if there is one.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let request = self.handle.link().get().match_index(index);
        found(request.execute().next().await, || format!("look up interface {index}"))
    }

    /// Makes a kernel WireGuard interface. `false` if the kernel has no WireGuard.
    pub async fn create_wireguard(&self, name: &str) -> Result<bool, NetlinkError> {
        let result = self.handle.link().add(LinkWireguard::new(name).build()).execute().await;
        match described(result, || format!("create WireGuard interface \"{name}\"")) {
            Ok(()) => Ok(true),
            Err(error) if error.errno == Some(Errno::OPNOTSUPP) => Ok(false),
            Err(error) if error.errno == Some(Errno::EXIST) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Removes an interface.
    pub async fn delete_link(&self, index: u32) -> Result<(), NetlinkError> {
        let result = self.handle.link().del(index).execute().await;
        tolerate(described(result, || format!("remove interface {index}")), &[Errno::NODEV])
    }

    /// Sets the MTU.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        let result = self.handle.link().set(message).execute().await;
        described(result, || format!("set the MTU of interface {index} to {mtu}"))
    }

    /// Brings an interface up.
    pub async fn bring_up(&self, index: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let result = self.handle.link().set(message).execute().await;
        described(result, || format!("bring interface {index} up"))
    }

    /// The addresses of an interface as host prefixes, without link-local ones.
    pub async fn addresses(&self, index: u32) -> Result<BTreeSet<Prefix>, NetlinkError> {
        Ok(self
            .all_addresses()
            .await?
            .into_iter()
            .filter_map(|(i, a)| (i == index).then_some(a))
            .filter(|address| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()))
            .map(Prefix::host)
            .collect())
    }

    /// The interface that holds `address`.
    pub async fn holder(&self, address: IpAddr) -> Result<Option<u32>, NetlinkError> {
        let all = self.all_addresses().await?;
        Ok(all.into_iter().find_map(|(index, held)| (held == address).then_some(index)))
    }

    /// The IPv6 addresses of this machine, and which of them stay.
    pub async fn host_addresses(&self) -> Result<Vec<HostAddress>, NetlinkError> {
        let list = self.handle.address().get().execute().try_collect::<Vec<_>>().await;
        let list = described(list, || "list addresses".into())?;
        // For IPv6, secondary means temporary.
        let passing = AddressHeaderFlags::Secondary
            | AddressHeaderFlags::Deprecated
            | AddressHeaderFlags::Tentative
            | AddressHeaderFlags::Dadfailed;
        let addresses = list.iter().filter_map(|message| {
            let IpAddr::V6(held) = address(message)? else { return None };
            let is_stable = !message.header.flags.intersects(passing);
            Some(HostAddress { index: message.header.index, address: held, is_stable })
        });
        Ok(addresses.collect())
    }

    pub(crate) async fn all_addresses(&self) -> Result<Vec<(u32, IpAddr)>, NetlinkError> {
        let list = self.handle.address().get().execute().try_collect::<Vec<_>>().await;
        let list = described(list, || "list addresses".into())?;
        Ok(list
            .iter()
            .filter_map(|message| Some((message.header.index, address(message)?)))
            .collect())
    }

    /// Adds an address; nothing happens if it is there already. It can be used at once: it comes
    /// from the control plane, so nobody is asked whether it is taken (RFC 4862 section 5.4).
    pub async fn add_address(&self, index: u32, prefix: Prefix) -> Result<(), NetlinkError> {
        let (address, length) = (prefix.net().addr(), prefix.length());
        let mut request = self.handle.address().add(index, address, length).replace();
        if address.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        let result = request.execute().await;
        described(result, || format!("add address {prefix} to interface {index}"))
    }

    /// Removes an address; nothing happens if it is not there.
    pub async fn remove_address(&self, index: u32, prefix: Prefix) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = prefix.length();
        message.header.family = family(prefix);
        message.attributes.push(AddressAttribute::Local(prefix.net().addr()));
        message.attributes.push(AddressAttribute::Address(prefix.net().addr()));
        let result = self.handle.address().del(message).execute().await;
        let result = described(result, || format!("remove {prefix} from interface {index}"));
        tolerate(result, &[Errno::ADDRNOTAVAIL, Errno::NODEV])
    }

    /// What the main table says of an interface and of this host.
    pub async fn routes(&self, index: u32) -> Result<Routes, NetlinkError> {
        let request = self.handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build());
        let list = request.execute().try_collect::<Vec<_>>().await;
        let list = described(list, || "list routes".into())?;
        Ok(Routes {
            into: list.iter().filter_map(|message| route_into(message, index)).collect(),
            unreachable: list.iter().filter_map(made_unreachable).collect(),
        })
    }

    /// Routes a prefix into an interface. A route to the same prefix elsewhere is left alone and
    /// an error.
    pub async fn add_route(&self, index: u32, prefix: Prefix) -> Result<(), NetlinkError> {
        let result = self.handle.route().add(route(index, prefix)?).execute().await;
        match described(result, || format!("route {prefix} into interface {index}")) {
            Err(error) if error.errno == Some(Errno::EXIST) => {
                // A dump that was interrupted may have missed our own.
                if self.routes(index).await?.into.contains(&prefix) {
                    return Ok(());
                }
                Err(NetlinkError {
                    reason: "another interface has a route to this prefix; remove that route, or \
                             give the network another prefix"
                        .into(),
                    ..error
                })
            }
            result => result,
        }
    }

    /// Stops routing a prefix into an interface; nothing happens if it is not routed there.
    pub async fn remove_route(&self, index: u32, prefix: Prefix) -> Result<(), NetlinkError> {
        let mut message = route(index, prefix)?;
        // Whoever made it.
        message.header.protocol = RouteProtocol::Unspec;
        let result = self.handle.route().del(message).execute().await;
        let result = described(result, || format!("remove the route to {prefix}"));
        tolerate(result, &[Errno::SRCH, Errno::NODEV])
    }

    /// Makes a prefix unreachable, but for more specific routes and for addresses of this host;
    /// nothing happens if it is already.
    pub async fn add_unreachable(&self, prefix: Prefix) -> Result<(), NetlinkError> {
        let result = self.handle.route().add(unreachable(prefix)?).replace().execute().await;
        described(result, || format!("make {prefix} unreachable"))
    }

    /// Leaves a prefix to other routes again; nothing happens if it is already.
    pub async fn remove_unreachable(&self, prefix: Prefix) -> Result<(), NetlinkError> {
        let result = self.handle.route().del(unreachable(prefix)?).execute().await;
        let result = described(result, || format!("make {prefix} reachable again"));
        tolerate(result, &[Errno::SRCH])
    }

    /// Which way packets to `destination` leave.
    pub async fn egress(&self, destination: Ipv6Addr) -> Result<Egress, NetlinkError> {
        let action = || format!("find the way to {destination}");
        let message =
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(destination, 128).build();
        let answer = self.handle.route().get(message).execute().next().await;
        let none = || NetlinkError { action: action(), reason: "no route".into(), errno: None };
        let message = described(answer.transpose(), action)?.ok_or_else(none)?;
        let index = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        Ok(Egress { index: index.ok_or_else(none)?, path_mtu: path_mtu(&message) })
    }
}

fn route(index: u32, prefix: Prefix) -> Result<RouteMessage, NetlinkError> {
    Ok(route_to(prefix)?.output_interface(index).build())
}

fn unreachable(prefix: Prefix) -> Result<RouteMessage, NetlinkError> {
    Ok(route_to(prefix)?.kind(RouteType::Unreachable).protocol(OWN_PROTOCOL).build())
}

fn route_to(prefix: Prefix) -> Result<RouteMessageBuilder<Ipv6Addr>, NetlinkError> {
    let net = prefix.v6().ok_or_else(|| NetlinkError {
        action: format!("route {prefix}"),
        reason: "the mesh is IPv6 only".into(),
        errno: None,
    })?;
    let builder = RouteMessageBuilder::<Ipv6Addr>::new();
    Ok(builder.destination_prefix(net.addr(), net.prefix_len()))
}

fn route_into(message: &RouteMessage, index: u32) -> Option<Prefix> {
    let header = &message.header;
    let ours = header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
        && header.protocol != RouteProtocol::Kernel
        && message.attributes.contains(&RouteAttribute::Oif(index));
    let special = |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_multicast() || v6.is_unicast_link_local());
    destination(message).filter(|prefix| ours && !special(prefix.net().addr()))
}

fn made_unreachable(message: &RouteMessage) -> Option<Prefix> {
    let header = &message.header;
    let ours = header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unreachable
        && header.protocol == OWN_PROTOCOL;
    destination(message).filter(|_| ours)
}

fn destination(message: &RouteMessage) -> Option<Prefix> {
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(*address),
        _ => None,
    });
    // The default route has no destination attribute.
    let address = destination.unwrap_or(Ipv6Addr::UNSPECIFIED);
    Prefix::containing(address.into(), message.header.destination_prefix_length)
}

fn path_mtu(message: &RouteMessage) -> Option<u32> {
    let metrics = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    });
    metrics?.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

fn address(message: &AddressMessage) -> Option<IpAddr> {
    // On a point-to-point interface Address is the other end's.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn family(prefix: Prefix) -> AddressFamily {
    if prefix.v6().is_some() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

fn found(
    answer: Option<Result<LinkMessage, rtnetlink::Error>>,
    action: impl Fn() -> String,
) -> Result<Option<Link>, NetlinkError> {
    match described(answer.transpose(), action) {
        Ok(message) => Ok(message.as_ref().map(link)),
        Err(error) if error.errno == Some(Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn link(message: &LinkMessage) -> Link {
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Kind(InfoKind::Wireguard) => Some(LinkKind::WireGuard),
            LinkInfo::Kind(InfoKind::Tun) => Some(LinkKind::Tun),
            _ => None,
        }),
        _ => None,
    });
    let mtu = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    Link {
        index: message.header.index,
        kind: kind.unwrap_or(LinkKind::Other),
        up: message.header.flags.contains(LinkFlags::Up),
        mtu: mtu.unwrap_or(0),
    }
}

/// Says what was attempted, and keeps the kernel's reason.
fn described<T>(
    result: Result<T, rtnetlink::Error>,
    action: impl Fn() -> String,
) -> Result<T, NetlinkError> {
    result.map_err(|error| match error {
        rtnetlink::Error::NetlinkError(message) => {
            let errno = Errno::from_raw_os_error(message.raw_code().unsigned_abs().cast_signed());
            let mut reason = message.to_io().to_string();
            if errno == Errno::PERM {
                reason.push_str("; the agent needs CAP_NET_ADMIN");
            }
            NetlinkError { action: action(), reason, errno: Some(errno) }
        }
        other => NetlinkError { action: action(), reason: other.to_string(), errno: None },
    })
}

fn tolerate(result: Result<(), NetlinkError>, harmless: &[Errno]) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.errno.is_some_and(|errno| harmless.contains(&errno)) => Ok(()),
        result => result,
    }
}
