//! What a node must not believe of its network, whoever says it: the control plane, or a file. The
//! control plane checks the same when it is asked; a replica that is not itself any more, or a file
//! that was written by somebody else, does not.
//!
//! Whatever passes here can touch nothing but the mesh: its prefixes lie within the network's, its
//! addresses within their node's, its endpoints are unicast addresses outside of it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use super::{Member, Membership};
use crate::{
    address::{UnusableMeshPrefix, check_mesh_prefix},
    aggregate::node::check_endpoint,
    event::{Event, EventBody},
    id::{NodeId, WorkloadId},
    key::PublicKey,
    prefix::Prefix,
};

/// Something that the rules forbid, and that is left out for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The network's prefix can be no mesh.
    #[error("the network cannot be believed: {0}")]
    Network(UnusableMeshPrefix),
    /// The network's prefix covers an address of the underlay.
    #[error(
        "the network cannot be believed: its prefix {prefix} covers the endpoint {endpoint} of node \"{name}\""
    )]
    CoversUnderlay {
        /// The network's.
        prefix: Prefix,
        /// Which node.
        name: String,
        /// Its endpoint.
        endpoint: SocketAddr,
    },
    /// A node's prefix or address is not its own.
    #[error("node \"{name}\" is left out: {reason}")]
    Member {
        /// Which node.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A node's new endpoint can be none.
    #[error(
        "the endpoint {endpoint} of node \"{name}\" is not used: it is no unicast IPv6 address of the underlay"
    )]
    Endpoint {
        /// Which node.
        name: String,
        /// What was said.
        endpoint: SocketAddr,
    },
    /// A workload's address is not one of its node's.
    #[error(
        "workload {id} is left out: its address {address} is not within this node's prefix {prefix}, or is the node's own"
    )]
    Workload {
        /// Which workload.
        id: WorkloadId,
        /// Its address.
        address: Ipv6Addr,
        /// The node's prefix.
        prefix: Prefix,
    },
}

impl Fault {
    /// Whether nothing at all can be believed.
    pub fn is_total(&self) -> bool {
        matches!(self, Self::Network(_) | Self::CoversUnderlay { .. })
    }
}

impl Membership {
    /// What of it may be believed by node `me`, and what was left out. An error if nothing can be: then
    /// what was believed before stays.
    pub fn sound(&self, me: NodeId) -> Result<(Cow<'_, Self>, Vec<Fault>), Fault> {
        check_mesh_prefix(self.prefix).map_err(Fault::Network)?;
        let own = self.members.get(&me);
        if let Some(own) = own {
            if self.prefix.contains(own.endpoint.ip()) {
                let (name, endpoint) = (own.name.to_string(), own.endpoint);
                return Err(Fault::CoversUnderlay { prefix: self.prefix, name, endpoint });
            }
            // A node without a place of its own has nothing to make true.
            check_place(own, self.prefix).map_err(|reason| member_fault(own, reason))?;
        }
        let mut taken = Taken::default();
        let mut faults = Vec::new();
        let mut out = BTreeSet::new();
        // Its own place first, then the oldest: ids grow with time.
        let others = self.members.values().filter(|member| member.node_id != me);
        for member in own.into_iter().chain(others) {
            let checked = check_place(member, self.prefix).and_then(|()| taken.take(member));
            let checked = checked.and_then(|()| {
                let usable = is_endpoint(member.endpoint, self.prefix) || member.node_id == me;
                let endpoint = member.endpoint;
                if usable { Ok(()) } else { Err(format!("{endpoint} can be no endpoint")) }
            });
            if let Err(reason) = checked {
                faults.push(member_fault(member, reason));
                out.insert(member.node_id);
            }
        }
        let mut foreign = BTreeSet::new();
        if let Some(own) = own {
            for (id, address) in &self.workloads {
                if !is_of(own, *address) {
                    faults.push(workload_fault(*id, *address, own.prefix));
                    foreign.insert(*id);
                }
            }
        }
        if faults.is_empty() {
            return Ok((Cow::Borrowed(self), faults));
        }
        let mut sound = self.clone();
        sound.members.retain(|id, _| !out.contains(id));
        sound.workloads.retain(|id, _| !foreign.contains(id));
        Ok((Cow::Owned(sound), faults))
    }

    /// Whether node `me` may take in `event`. One that it may not changes nothing: a pair of nodes goes
    /// on with what it had.
    pub fn check_event(&self, me: NodeId, event: &Event) -> Result<(), Fault> {
        match &event.body {
            EventBody::NodeEnrolled(enrolled) if enrolled.network_id == self.network_id => {
                let member = Member {
                    node_id: NodeId(event.aggregate_id),
                    name: enrolled.name.clone(),
                    roles: Vec::new(),
                    public_key: enrolled.public_key,
                    endpoint: enrolled.endpoint,
                    addresses: enrolled.addresses,
                    prefix: enrolled.prefix,
                };
                self.check_newcomer(&member).map_err(|reason| member_fault(&member, reason))
            }
            EventBody::NodeEndpointChanged(changed) => {
                let Some(member) = self.members.get(&NodeId(event.aggregate_id)) else {
                    return Ok(());
                };
                if is_endpoint(changed.endpoint, self.prefix) {
                    return Ok(());
                }
                let (name, endpoint) = (member.name.to_string(), changed.endpoint);
                Err(Fault::Endpoint { name, endpoint })
            }
            EventBody::WorkloadPlaced(placed) if placed.node_id == me => {
                match self.members.get(&me) {
                    Some(own) if !is_of(own, placed.address) => {
                        let id = WorkloadId(event.aggregate_id);
                        Err(workload_fault(id, placed.address, own.prefix))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn check_newcomer(&self, member: &Member) -> Result<(), String> {
        check_place(member, self.prefix)?;
        if !is_endpoint(member.endpoint, self.prefix) {
            return Err(format!("{} can be no endpoint", member.endpoint));
        }
        // The same node may be told of again.
        for other in self.members.values().filter(|other| other.node_id != member.node_id) {
            if let Some(reason) = conflict(member, other) {
                return Err(reason);
            }
        }
        Ok(())
    }
}

/// What members have so far.
#[derive(Default)]
struct Taken<'m> {
    keys: BTreeMap<PublicKey, &'m Member>,
    /// By first address: prefixes that do not overlap have an order.
    prefixes: BTreeMap<IpAddr, &'m Member>,
}

impl<'m> Taken<'m> {
    fn take(&mut self, member: &'m Member) -> Result<(), String> {
        let first = member.prefix.net().network();
        let last = member.prefix.net().broadcast();
        let before = self.prefixes.range(..=first).next_back();
        let after = self.prefixes.range(first..=last).next();
        let others = [before, after].into_iter().flatten().map(|(_, other)| *other);
        for other in others.chain(self.keys.get(&member.public_key).copied()) {
            if let Some(reason) = conflict(member, other) {
                return Err(reason);
            }
        }
        self.keys.insert(member.public_key, member);
        self.prefixes.insert(first, member);
        Ok(())
    }
}

fn conflict(member: &Member, other: &Member) -> Option<String> {
    if member.public_key == other.public_key {
        return Some(format!("it has the key of node \"{}\"", other.name));
    }
    let (ours, theirs) = (member.prefix.net(), other.prefix.net());
    if ours.contains(&theirs) || theirs.contains(&ours) {
        let prefix = member.prefix;
        return Some(format!("its prefix {prefix} overlaps that of node \"{}\"", other.name));
    }
    None
}

/// A member's prefix lies within the mesh, and its one address, IPv6, within its prefix.
fn check_place(member: &Member, mesh: Prefix) -> Result<(), String> {
    let prefix = member.prefix;
    let within = mesh.net().contains(&prefix.net()) && prefix.length() > mesh.length();
    if !within {
        return Err(format!("its prefix {prefix} is not within the network's, {mesh}"));
    }
    match (member.addresses.ipv6(), member.addresses.ipv4()) {
        (_, Some(address)) => Err(format!("its address {address} is IPv4, and the mesh is IPv6")),
        (Some(address), None) if prefix.contains(address.into()) => Ok(()),
        (address, None) => {
            let address = address.map_or_else(|| "none".to_owned(), |address| address.to_string());
            Err(format!("its address {address} is not within its prefix {prefix}"))
        }
    }
}

fn is_endpoint(endpoint: SocketAddr, mesh: Prefix) -> bool {
    check_endpoint(endpoint).is_ok() && !mesh.contains(endpoint.ip())
}

fn is_of(own: &Member, address: Ipv6Addr) -> bool {
    own.prefix.contains(address.into()) && own.addresses.ipv6() != Some(address)
}

fn member_fault(member: &Member, reason: String) -> Fault {
    Fault::Member { name: member.name.to_string(), reason }
}

fn workload_fault(id: WorkloadId, address: Ipv6Addr, prefix: Prefix) -> Fault {
    Fault::Workload { id, address, prefix }
}

#[cfg(test)]
mod tests;
