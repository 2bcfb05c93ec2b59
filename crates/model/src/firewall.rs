//! Who may send to the workloads of a node, and where they may send: what an agent keeps in an
//! nftables table of its own (ADR 0016).
//!
//! The table is always changed in one transaction, and its base chains are never taken away, so
//! that every packet meets either the old rules or the new ones.

mod script;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use crate::{
    id::{EnvironmentId, NodeId, WorkloadId},
    membership::{Member, Membership},
    prefix::Prefix,
    role::NodeRole,
};

pub use script::Present;

/// Name of the table, of family `inet`.
pub const TABLE: &str = "sextant";
/// What the names of the host's ends of workloads' links begin with. No other interface of the host
/// may have such a name.
pub const LINK_PREFIX: &str = "sxw";

/// The host's end of the link to a workload: a name that the kernel takes (15 bytes), from the
/// random part of the id.
pub fn link_name(workload: WorkloadId) -> String {
    let id = workload.0.simple().to_string();
    format!("{LINK_PREFIX}{}", &id[id.len() - 12..])
}

/// Where the addresses of workloads are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Each in a network namespace of its own.
    #[default]
    Namespace,
    /// On the host's own interface.
    Host,
}

/// What the operator of a host has settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The interface of the mesh.
    pub interface: String,
    /// Where the addresses of workloads are.
    pub placement: Placement,
    /// Whether workloads may send to where the host forwards them, outside of the mesh.
    pub egress: bool,
}

/// What the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    site: Site,
    /// The mesh.
    prefix: Prefix,
    /// The addresses that nodes have for themselves.
    nodes: BTreeSet<Ipv6Addr>,
    /// Those of them that are edges.
    edges: BTreeSet<Ipv6Addr>,
    /// The workloads here: address, and the host's end of its link.
    workloads: BTreeMap<Ipv6Addr, String>,
    /// All members of the environments that have a workload here.
    environments: BTreeMap<EnvironmentId, BTreeSet<Ipv6Addr>>,
    /// The environment of each workload here, as far as it is known.
    environment_of: BTreeMap<Ipv6Addr, EnvironmentId>,
    /// Addresses here with the TCP ports that edges may connect to.
    published: BTreeSet<(Ipv6Addr, u16)>,
    /// Nobody has said which ports routes name: edges may connect to all.
    unlisted: bool,
}

/// A packet that begins something, as far as the rules look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// From where.
    pub source: Ipv6Addr,
    /// To where.
    pub destination: Ipv6Addr,
    /// TCP port, if it is TCP.
    pub port: Option<u16>,
}

impl Firewall {
    /// What node `me` has to keep; `None` if it is no member.
    pub fn new(membership: &Membership, me: NodeId, site: Site) -> Option<Self> {
        membership.members.get(&me)?;
        let boundary = membership.boundary.as_ref();
        let mut firewall = Self {
            site,
            prefix: membership.prefix,
            nodes: addresses(membership.members.values()),
            edges: addresses(
                membership.members.values().filter(|member| member.roles.contains(&NodeRole::Edge)),
            ),
            workloads: membership
                .workloads
                .iter()
                .map(|(id, address)| (*address, link_name(*id)))
                .collect(),
            environments: BTreeMap::new(),
            environment_of: BTreeMap::new(),
            published: BTreeSet::new(),
            unlisted: boundary.is_none(),
        };
        for (id, environment) in boundary.iter().flat_map(|boundary| &boundary.environments) {
            // Nobody becomes a member by an address that is not one of its node's.
            let sound = environment.workloads.values().filter(|workload| {
                membership.members.get(&workload.node_id).is_some_and(|member| {
                    member.prefix.contains(workload.address.into())
                        && !firewall.nodes.contains(&workload.address)
                })
            });
            let members = sound.map(|workload| workload.address).collect();
            firewall.environments.insert(*id, members);
            for workload in environment.workloads.values().filter(|it| it.node_id == me) {
                // The list of workloads is what decides; a boundary of another moment adds none.
                if !firewall.workloads.contains_key(&workload.address) {
                    continue;
                }
                firewall.environment_of.insert(workload.address, *id);
                let here = environment.routes.values();
                let here = here.filter(|route| route.process_type == workload.process_type);
                let ports = here.flat_map(|route| route.ports.iter().copied());
                firewall.published.extend(ports.map(|port| (workload.address, port)));
            }
        }
        Some(firewall)
    }

    /// Addresses here with the TCP ports that routes name.
    pub fn published(&self) -> &BTreeSet<(Ipv6Addr, u16)> {
        &self.published
    }

    /// Leaves these open to edges too, as far as there are such workloads here: for edges that have
    /// not heard yet that no route names them any more.
    pub fn keep_open(&mut self, lately: impl IntoIterator<Item = (Ipv6Addr, u16)>) {
        let here = |(address, _): &(Ipv6Addr, u16)| self.workloads.contains_key(address);
        self.published.extend(lately.into_iter().filter(here));
    }

    /// Whether any workload depends on it.
    pub fn guards_any(&self) -> bool {
        !self.workloads.is_empty()
    }

    /// Whether a workload is known to it with its environment, so that whoever may reach it can.
    pub fn knows(&self, address: Ipv6Addr) -> bool {
        self.unlisted || self.environment_of.contains_key(&address)
    }

    /// Whether the control plane has not said which ports routes name.
    pub fn is_unlisted(&self) -> bool {
        self.unlisted
    }

    /// Whether it lets a packet through to a workload here.
    pub fn admits(&self, opening: &Opening) -> bool {
        let Opening { source, destination, port } = *opening;
        let from_edge = self.edges.contains(&source)
            && port
                .is_some_and(|port| self.unlisted || self.published.contains(&(destination, port)));
        self.workloads.contains_key(&destination)
            && (from_edge || self.are_together(source, destination))
    }

    /// Whether it lets a packet of a workload here out into the mesh.
    pub fn releases(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        self.workloads.contains_key(&source) && self.are_together(source, destination)
    }

    /// Whether both belong to one environment, one of them being here.
    fn are_together(&self, one: Ipv6Addr, other: Ipv6Addr) -> bool {
        [one, other].iter().filter_map(|address| self.environment_of.get(address)).any(|id| {
            let members = self.environments.get(id);
            members.is_some_and(|members| members.contains(&one) && members.contains(&other))
        })
    }
}

fn addresses<'a>(members: impl Iterator<Item = &'a Member>) -> BTreeSet<Ipv6Addr> {
    members.filter_map(|member| member.addresses.ipv6()).collect()
}

#[cfg(test)]
mod tests;
