//! A namespace at one moment: its interfaces, addresses, routes and fixed neighbours, and what the
//! links of workloads are made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use futures_util::TryStreamExt;
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteMessage},
    },
};
use sextant_model::Prefix;

use super::{Link, Netlink, NetlinkError, described, destination, link};

/// A link-layer address.
pub type Mac = [u8; 6];

/// A namespace at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Interfaces by name.
    pub links: BTreeMap<String, Link>,
    /// Link-layer addresses of interfaces.
    pub macs: BTreeSet<(u32, Mac)>,
    /// Addresses with the interface they are on.
    pub addresses: BTreeSet<(u32, IpAddr)>,
    /// Destinations of IPv6 with the interface, and the gateway if there is one.
    pub routes: BTreeSet<(u32, Prefix, Option<Ipv6Addr>)>,
    /// Neighbours that are never asked for.
    pub neighbours: BTreeSet<(u32, Ipv6Addr, Mac)>,
}

/// One end of a link that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Name of the interface.
    pub name: &'a str,
    /// Its link-layer address.
    pub mac: Mac,
}

impl Netlink {
    /// The namespace as it is.
    pub async fn view(&self) -> Result<View, NetlinkError> {
        let links = self.handle.link().get().execute().try_collect::<Vec<_>>().await;
        let links = described(links, || "list interfaces".into())?;
        let request = self.handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build());
        let routes = request.execute().try_collect::<Vec<_>>().await;
        let routes = described(routes, || "list routes".into())?;
        let request = self.handle.neighbours().get().set_address_family(AddressFamily::Inet6);
        let neighbours = request.execute().try_collect::<Vec<_>>().await;
        let neighbours = described(neighbours, || "list neighbours".into())?;
        Ok(View {
            links: links.iter().filter_map(|m| Some((name(m)?, link(m)))).collect(),
            macs: links.iter().filter_map(|m| Some((m.header.index, mac(m)?))).collect(),
            addresses: self.all_addresses().await?.into_iter().collect(),
            routes: routes.iter().filter_map(leads).collect(),
            neighbours: neighbours.iter().filter_map(fixed).collect(),
        })
    }

    /// Makes a veth pair: `host` here, `inside` in the other namespace. Both or neither come to be.
    pub async fn create_veth(
        &self,
        host: End<'_>,
        inside: End<'_>,
        namespace: BorrowedFd<'_>,
        mtu: u32,
    ) -> Result<(), NetlinkError> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(inside.name)
            .address(inside.mac.to_vec())
            .mtu(mtu)
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(host.name, inside.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .address(host.mac.to_vec())
            .mtu(mtu)
            .build();
        let result = self.handle.link().add(message).execute().await;
        described(result, || format!("make the link \"{}\"", host.name))
    }

    /// Fixes where a neighbour is, so that nobody asks for it.
    pub async fn set_neighbour(
        &self,
        index: u32,
        address: Ipv6Addr,
        mac: Mac,
    ) -> Result<(), NetlinkError> {
        let request = self.handle.neighbours().add(index, IpAddr::V6(address));
        let result = request.link_layer_address(&mac).replace().execute().await;
        described(result, || format!("fix neighbour {address} at interface {index}"))
    }

    /// Sends everything without another route through a gateway.
    pub async fn set_default_route(
        &self,
        index: u32,
        gateway: Ipv6Addr,
    ) -> Result<(), NetlinkError> {
        let route = RouteMessageBuilder::<Ipv6Addr>::new();
        let route = route.output_interface(index).gateway(gateway).build();
        let result = self.handle.route().add(route).replace().execute().await;
        described(result, || format!("set the default route via {gateway}"))
    }
}

fn name(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn mac(message: &LinkMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    })
}

fn leads(message: &RouteMessage) -> Option<(u32, Prefix, Option<Ipv6Addr>)> {
    let find = |pick: fn(&RouteAttribute) -> Option<u32>| message.attributes.iter().find_map(pick);
    let index = find(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })?;
    let gateway = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(*address),
        _ => None,
    });
    Some((index, destination(message)?, gateway))
}

fn fixed(message: &NeighbourMessage) -> Option<(u32, Ipv6Addr, Mac)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(*address),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    })?;
    let permanent = message.header.state == NeighbourState::Permanent;
    permanent.then_some((message.header.ifindex, address, mac))
}
