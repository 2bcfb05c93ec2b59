//! One workload's namespace and the link to it: looked at, and put right where it is not as it
//! should be.
//!
//! ```text
//! host                                    namespace sextant-<workload>
//! sxw…  fe80::1, route to the workload == eth0  the workload's address, default via fe80::1
//! ```
//!
//! Both ends know each other's link-layer address, so that no neighbour is ever asked for.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::AsFd,
    path::Path,
};

use sextant_model::Prefix;

use super::{WorkloadError, namespace};
use crate::netlink::{
    Link, Netlink,
    view::{End, Mac, View},
};

/// The interface inside, and the link-layer addresses of both ends. Links share nothing, so they
/// are the same for all.
const INSIDE: &str = "eth0";
const HOST_MAC: Mac = [0x02, 0x53, 0x58, 0, 0, 1];
const INSIDE_MAC: Mac = [0x02, 0x53, 0x58, 0, 0, 2];
/// The host as workloads see it.
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What has to be.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The file of the namespace.
    pub path: &'a Path,
    /// The host's end.
    pub name: String,
    /// The workload's address.
    pub address: Ipv6Addr,
    /// MTU, in bytes.
    pub mtu: u32,
}

/// Makes it so; returns what was done.
pub async fn ensure(
    host: &Netlink,
    view: &mut View,
    wanted: &Wanted<'_>,
) -> Result<Vec<&'static str>, WorkloadError> {
    let failed = |action| {
        let path = wanted.path.display().to_string();
        move |source| WorkloadError::File { action, path, source }
    };
    let mut done = Vec::new();
    if namespace::make(wanted.path).map_err(failed("make the namespace"))? {
        done.push("namespace-made");
    }
    let file = File::open(wanted.path).map_err(failed("open the namespace"))?;
    let enter = || namespace::inside(&file, || Netlink::open().map_err(io::Error::other));
    let inside = enter().map_err(failed("enter the namespace"))?;
    let mut within = inside.view().await?;
    let is_end = |view: &View, name: &str, mac| {
        view.links.get(name).is_some_and(|link| view.macs.contains(&(link.index, mac)))
    };
    let paired = is_end(view, &wanted.name, HOST_MAC) && is_end(&within, INSIDE, INSIDE_MAC);
    if !paired {
        for (netlink, link) in
            [(host, view.links.get(&wanted.name)), (&inside, within.links.get(INSIDE))]
        {
            if let Some(link) = link {
                netlink.delete_link(link.index).await?;
            }
        }
        let (name, mac) = (wanted.name.as_str(), HOST_MAC);
        let other = End { name: INSIDE, mac: INSIDE_MAC };
        host.create_veth(End { name, mac }, other, file.as_fd(), wanted.mtu).await?;
        done.push("link-made");
        within = inside.view().await?;
        let found = host.link(name).await?;
        let found = found.ok_or_else(|| WorkloadError::Vanished(wanted.name.clone()))?;
        view.links.insert(wanted.name.clone(), found);
        // What the old link had went with it.
        view.addresses.retain(|(index, _)| *index != found.index);
        view.routes.retain(|(index, ..)| *index != found.index);
        view.neighbours.retain(|(index, ..)| *index != found.index);
        set(&wanted.name, "addr_gen_mode", "1").map_err(failed("set up the link of"))?;
        set(&wanted.name, "accept_ra", "0").map_err(failed("set up the link of"))?;
    }
    let lost = || WorkloadError::Vanished(wanted.name.clone());
    let own = *view.links.get(&wanted.name).ok_or_else(lost)?;
    let there = *within.links.get(INSIDE).ok_or_else(lost)?;
    if let_forward(&wanted.name)? {
        done.push("forwarding-set");
    }
    repair_inside(&inside, &within, there, wanted, &mut done).await?;
    repair_host(host, view, own, wanted, &mut done).await?;
    Ok(done)
}

async fn repair_inside(
    netlink: &Netlink,
    view: &View,
    link: Link,
    wanted: &Wanted<'_>,
    done: &mut Vec<&'static str>,
) -> Result<(), WorkloadError> {
    let index = link.index;
    if let Some(lo) = view.links.get("lo").filter(|lo| !lo.up) {
        netlink.bring_up(lo.index).await?;
    }
    if link.mtu != wanted.mtu {
        netlink.set_mtu(index, wanted.mtu).await?;
        done.push("link-mtu-set");
    }
    if !view.addresses.contains(&(index, IpAddr::V6(wanted.address))) {
        netlink.add_address(index, Prefix::host(IpAddr::V6(wanted.address))).await?;
        done.push("workload-address-added");
    }
    if !link.up {
        netlink.bring_up(index).await?;
        done.push("link-brought-up");
    }
    if !view.neighbours.contains(&(index, GATEWAY, HOST_MAC)) {
        netlink.set_neighbour(index, GATEWAY, HOST_MAC).await?;
        done.push("neighbour-set");
    }
    let default = |(at, prefix, via): &(u32, Prefix, Option<Ipv6Addr>)| {
        *at == index && prefix.length() == 0 && *via == Some(GATEWAY)
    };
    if !view.routes.iter().any(default) {
        netlink.set_default_route(index, GATEWAY).await?;
        done.push("default-route-set");
    }
    Ok(())
}

async fn repair_host(
    netlink: &Netlink,
    view: &View,
    link: Link,
    wanted: &Wanted<'_>,
    done: &mut Vec<&'static str>,
) -> Result<(), WorkloadError> {
    let index = link.index;
    if link.mtu != wanted.mtu {
        netlink.set_mtu(index, wanted.mtu).await?;
        done.push("link-mtu-set");
    }
    if !view.addresses.contains(&(index, IpAddr::V6(GATEWAY))) {
        netlink.add_address(index, Prefix::host(IpAddr::V6(GATEWAY))).await?;
        done.push("gateway-added");
    }
    if !link.up {
        netlink.bring_up(index).await?;
        done.push("link-brought-up");
    }
    if !view.neighbours.contains(&(index, wanted.address, INSIDE_MAC)) {
        netlink.set_neighbour(index, wanted.address, INSIDE_MAC).await?;
        done.push("neighbour-set");
    }
    let route = Prefix::host(IpAddr::V6(wanted.address));
    if !view.routes.contains(&(index, route, None)) {
        netlink.add_route(index, route).await?;
        done.push("workload-route-added");
    }
    Ok(())
}

/// Has the kernel forward what arrives at an interface, and at no other; whether that was new.
/// Kernels before 6.17 can only forward at all interfaces at once, which is for the operator to say.
pub fn let_forward(interface: &str) -> Result<bool, WorkloadError> {
    let own = setting(interface, "force_forwarding");
    match fs::read_to_string(&own) {
        Ok(value) if value.trim() == "1" => Ok(false),
        Ok(_) => match set(interface, "force_forwarding", "1") {
            Ok(()) => Ok(true),
            Err(source) => Err(WorkloadError::File { action: "write", path: own, source }),
        },
        Err(_) => {
            let all = fs::read_to_string(setting("all", "forwarding")).unwrap_or_default();
            if all.trim() == "1" { Ok(false) } else { Err(WorkloadError::NoForwarding) }
        }
    }
}

fn set(interface: &str, name: &str, value: &str) -> io::Result<()> {
    fs::write(setting(interface, name), value)
}

fn setting(interface: &str, name: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{interface}/{name}")
}
