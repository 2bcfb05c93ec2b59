//! What the kernel of every node has, as `wg` and `ip` say, against what the model derives from
//! the control plane's snapshot.

use std::{collections::BTreeSet, net::Ipv6Addr};

use sextant_api::{
    Frame,
    frame::SnapshotState,
    resource::node::{Node, NodePhase},
};
use sextant_model::{
    Prefix,
    membership::{DesiredPeer, Member, Membership},
};

use super::Comparison;
use crate::{
    command::run,
    description::{LabDescription, NodeDescription},
    error::{LabError, Result},
    node::INTERFACE,
    operator::Operator,
    wireguard,
};

/// Compares every node of the lab, all of which must be active members.
pub(in super::super) fn compare(lab: &LabDescription, operator: &Operator) -> Result<Comparison> {
    let membership = membership(lab, operator)?;
    let mut found = Vec::new();
    for node in &lab.nodes {
        found.extend(lines_of_kernel(lab, node)?);
    }
    let what = "keys, addresses, routes and peers in the kernels and in the model";
    Ok(Comparison::of_sets(what, lines_of_model(&membership), found))
}

/// The network of the lab, from the snapshot that an operator gets.
fn membership(lab: &LabDescription, operator: &Operator) -> Result<Membership> {
    let action = "read the snapshot";
    let missing = |what: &str| LabError::ControlPlane {
        action: action.to_owned(),
        reason: format!("{what} is not in it"),
    };
    let frame = operator.ask(action, operator.client().snapshot())?;
    let Frame::Snapshot { state: SnapshotState::Platform { networks, nodes }, .. } = frame else {
        return Err(missing("the platform"));
    };
    let network = networks.into_iter().find(|network| Some(network.id) == lab.network_id);
    let network = network.ok_or_else(|| missing("the lab's network"))?;
    let (active, gone): (Vec<Node>, Vec<Node>) = nodes
        .into_iter()
        .filter(|node| node.network_id == network.id)
        .partition(|node| node.phase == NodePhase::Active);
    Ok(Membership {
        network_id: network.id,
        name: network.name,
        prefix: network.ipv6_prefix.ok_or_else(|| missing("the network's prefix"))?,
        members: active.into_iter().map(|node| (node.id, member(node))).collect(),
        departed: gone.into_iter().map(|node| node.id).collect(),
        workloads: std::collections::BTreeMap::new(),
        released: BTreeSet::new(),
        skipped: None,
    })
}

fn member(node: Node) -> Member {
    Member {
        node_id: node.id,
        name: node.name,
        roles: node.roles,
        public_key: node.public_key,
        endpoint: node.endpoint,
        addresses: node.addresses,
        prefix: node.prefix,
    }
}

fn lines_of_model(membership: &Membership) -> Vec<String> {
    let mut lines = Vec::new();
    for member in membership.members.values() {
        let name = &member.name;
        lines.push(format!("{name} key {}", member.public_key));
        let Some(mesh) = membership.desired(member.node_id) else { continue };
        lines.extend(mesh.addresses.iter().map(|address| format!("{name} address {address}")));
        lines.extend(mesh.routes.iter().map(|route| format!("{name} route {route}")));
        let peer = |(key, peer): (&_, &DesiredPeer)| {
            peer_line(name.as_str(), key, &peer.endpoint.to_string(), &peer.allowed_ips)
        };
        lines.extend(mesh.peers.iter().map(peer));
    }
    lines
}

fn peer_line(
    name: &str,
    key: impl std::fmt::Display,
    endpoint: &str,
    allowed_ips: &BTreeSet<Prefix>,
) -> String {
    let allowed: Vec<String> = allowed_ips.iter().map(Prefix::to_string).collect();
    format!("{name} peer {key} at {endpoint} for {}", allowed.join(" "))
}

fn lines_of_kernel(lab: &LabDescription, node: &NodeDescription) -> Result<Vec<String>> {
    let name = &node.name;
    let device = wireguard::device(lab, node)?;
    let mut lines = vec![format!("{name} key {}", device.public_key)];
    lines.extend(device.peers.iter().map(|(key, peer)| {
        let endpoint = peer.endpoint.map_or_else(|| "nowhere".to_owned(), |at| at.to_string());
        let allowed = peer.allowed_ips.iter().filter_map(|text| text.parse().ok()).collect();
        peer_line(name, key, &endpoint, &allowed)
    }));
    let ip = |arguments: &[&str]| {
        let mut command = lab.host_of(node).command(&lab.lab_id, "ip");
        run(command.args(["-6", "-o"]).args(arguments).args(["dev", INTERFACE]))
    };
    lines.extend(
        addresses(&ip(&["address", "show"])?)
            .into_iter()
            .map(|address| format!("{name} address {address}")),
    );
    let found = routes(&ip(&["route", "show", "table", "main"])?);
    lines.extend(found.into_iter().map(|route| format!("{name} route {route}")));
    Ok(lines)
}

/// The addresses in what `ip -o address` writes, without link-local ones.
fn addresses(written: &str) -> Vec<String> {
    let address = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "inet6");
        words.nth(1).map(str::to_owned)
    };
    written.lines().filter_map(address).filter(|text| !is_link_local(text)).collect()
}

/// The routes in what `ip route` writes, without the kernel's own.
fn routes(written: &str) -> Vec<String> {
    let ours = written.lines().filter(|line| !line.contains(" proto kernel "));
    let destination = |line: &str| line.split_whitespace().next().map(str::to_owned);
    ours.filter_map(destination).filter(|text| !is_link_local(text)).collect()
}

fn is_link_local(prefix: &str) -> bool {
    let address = prefix.split('/').next().and_then(|text| text.parse::<Ipv6Addr>().ok());
    address.is_some_and(|address| address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ip_writes_is_understood() {
        let written = "7: sextant0    inet6 fd00::1/128 scope global \\       valid_lft forever\n\
                       7: sextant0    inet6 fe80::9/64 scope link stable-privacy \\  valid_lft\n";
        assert_eq!(addresses(written), ["fd00::1/128"]);
        let written = "fd00::1 proto kernel metric 256 pref medium\n\
                       fd00::/48 proto static metric 1024 pref medium\n\
                       fe80::/64 proto kernel metric 256 pref medium\n";
        assert_eq!(routes(written), ["fd00::/48"]);
    }
}
