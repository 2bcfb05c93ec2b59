//! Who is in a network, as a node needs to know it: the fold of membership events, the snapshot
//! form, and what one node must make true from it.

mod sound;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    address::PeerAddresses,
    event::{Event, EventBody, Skipped},
    id::{NetworkId, NodeId, WorkloadId},
    key::PublicKey,
    name::DnsLabel,
    prefix::Prefix,
    role::NodeRole,
};

pub use sound::Fault;

/// One active node of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Which node.
    pub node_id: NodeId,
    /// Its name in the network.
    pub name: DnsLabel,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// Its WireGuard public key.
    pub public_key: PublicKey,
    /// Its WireGuard on the underlay.
    #[schema(value_type = String)]
    pub endpoint: SocketAddr,
    /// Its own addresses inside the network.
    pub addresses: PeerAddresses,
    /// The prefix its workloads live in.
    pub prefix: Prefix,
}

/// The members of one network at one point of the log. Also the snapshot a node bootstraps from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    /// Which network.
    pub network_id: NetworkId,
    /// Its name.
    pub name: DnsLabel,
    /// Its prefix; every address inside it is reached through the mesh.
    pub prefix: Prefix,
    /// Its active nodes, by id.
    #[serde(with = "by_id")]
    #[schema(value_type = Vec<Member>)]
    pub members: BTreeMap<NodeId, Member>,
    /// Nodes that left. A member missing here and above was not removed on purpose.
    pub departed: BTreeSet<NodeId>,
    /// The addresses of the workloads on the node that asks; those of others are no concern of it.
    #[schema(value_type = BTreeMap<uuid::Uuid, String>)]
    pub workloads: BTreeMap<WorkloadId, Ipv6Addr>,
    /// Workloads on it that were released lately. One missing here and above was not taken away on
    /// purpose.
    pub released: BTreeSet<WorkloadId>,
    /// Events since the snapshot that this version cannot read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

/// Members travel as a list; the map is an index over it.
mod by_id {
    use super::{BTreeMap, Member, NodeId};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(
        members: &BTreeMap<NodeId, Member>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(members.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<NodeId, Member>, D::Error> {
        let members = Vec::<Member>::deserialize(deserializer)?;
        Ok(members.into_iter().map(|member| (member.node_id, member)).collect())
    }
}

/// What an event did to the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node is new.
    Joined(NodeId),
    /// A node is reached differently.
    Moved(NodeId),
    /// A node is gone.
    Left(NodeId),
    /// A workload runs here.
    WorkloadPlaced(WorkloadId),
    /// A workload has no address here any more.
    WorkloadReleased(WorkloadId),
}

/// What one node must make true: its interface and its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredMesh {
    /// Its own addresses and those of its workloads, as host prefixes.
    pub addresses: BTreeSet<Prefix>,
    /// Prefixes routed into the interface.
    pub routes: BTreeSet<Prefix>,
    /// Its own prefix: what is not one of its addresses is nowhere, and whoever sends there is told
    /// at once. WireGuard itself would be silent, or send it round.
    pub unreachable: BTreeSet<Prefix>,
    /// Every other member.
    pub peers: BTreeMap<PublicKey, DesiredPeer>,
}

/// One peer of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPeer {
    /// Its WireGuard on the underlay.
    pub endpoint: SocketAddr,
    /// What may come from it and goes to it.
    pub allowed_ips: BTreeSet<Prefix>,
}

/// A snapshot that would take away most of what runs without saying that this is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuspiciousShrink {
    /// Most members.
    #[error(
        "the snapshot drops {vanished} of {current} members without naming them as departed; keeping the last good state"
    )]
    Members {
        /// Members that would vanish.
        vanished: usize,
        /// Members now.
        current: usize,
    },
    /// Most workloads of the node.
    #[error(
        "the snapshot drops {vanished} of {current} workloads of this node without naming them as released; keeping the last good state. If it is right, stop the agent, remove its state.json and start it again"
    )]
    Workloads {
        /// Workloads that would vanish.
        vanished: usize,
        /// Workloads now.
        current: usize,
    },
}

impl Membership {
    /// Takes in the next event; `None` if it changes nothing here. Idempotent.
    pub fn apply(&mut self, event: &Event) -> Option<Change> {
        Skipped::note(&mut self.skipped, event);
        let node_id = NodeId(event.aggregate_id);
        match &event.body {
            EventBody::NodeEnrolled(enrolled) if enrolled.network_id == self.network_id => {
                if !self.may_join(node_id, enrolled.prefix) {
                    return None;
                }
                let member = Member {
                    node_id,
                    name: enrolled.name.clone(),
                    roles: enrolled.roles.clone(),
                    public_key: enrolled.public_key,
                    endpoint: enrolled.endpoint,
                    addresses: enrolled.addresses,
                    prefix: enrolled.prefix,
                };
                self.members.insert(node_id, member);
                Some(Change::Joined(node_id))
            }
            EventBody::NodeEndpointChanged(changed) => {
                let member = self.members.get_mut(&node_id)?;
                member.endpoint = changed.endpoint;
                Some(Change::Moved(node_id))
            }
            EventBody::NodeWithdrawn(_) => {
                self.members.remove(&node_id)?;
                self.departed.insert(node_id);
                Some(Change::Left(node_id))
            }
            // The stream brings a node the workloads on itself, and no others.
            EventBody::WorkloadPlaced(placed) if placed.network_id == self.network_id => {
                let workload_id = WorkloadId(event.aggregate_id);
                let before = self.workloads.insert(workload_id, placed.address);
                (before != Some(placed.address)).then_some(Change::WorkloadPlaced(workload_id))
            }
            // A withdrawn workload keeps its address: connections to it may end in peace. Nobody
            // else can be given it meanwhile.
            EventBody::WorkloadReleased(_) => {
                let workload_id = WorkloadId(event.aggregate_id);
                self.workloads.remove(&workload_id)?;
                Some(Change::WorkloadReleased(workload_id))
            }
            EventBody::NetworkRenamed(renamed) if event.aggregate_id == self.network_id.0 => {
                self.name = renamed.name.clone();
                None
            }
            _ => None,
        }
    }

    /// Ids are never used twice, and a prefix has one owner: traffic to it would go to whoever was
    /// taken in last.
    fn may_join(&self, node_id: NodeId, prefix: Prefix) -> bool {
        let others = self.members.values().filter(|member| member.node_id != node_id);
        !self.departed.contains(&node_id)
            && !others.map(|member| member.prefix).any(|other| other.overlaps(prefix))
    }

    /// What node `me` must make true; `None` if it is no member (any more).
    pub fn desired(&self, me: NodeId) -> Option<DesiredMesh> {
        let own = self.members.get(&me)?;
        let peers = self.members.values().filter(|member| member.node_id != me).map(|member| {
            let allowed_ips = allowed_ips(member);
            (member.public_key, DesiredPeer { endpoint: member.endpoint, allowed_ips })
        });
        let workloads = self.workloads.values().map(|address| IpAddr::V6(*address));
        Some(DesiredMesh {
            addresses: own.addresses.iter().chain(workloads).map(Prefix::host).collect(),
            routes: BTreeSet::from([self.prefix]),
            unreachable: BTreeSet::from([own.prefix]),
            peers: peers.collect(),
        })
    }

    /// Refuses `next` if most members vanish in it without having departed (a map that failed to load
    /// must never wipe the network).
    pub fn check_shrink(&self, next: &Self) -> Result<(), SuspiciousShrink> {
        let gone = |id: &&NodeId| !next.members.contains_key(id) && !next.departed.contains(id);
        let (vanished, current) = (self.members.keys().filter(gone).count(), self.members.len());
        if vanished * 2 > current {
            return Err(SuspiciousShrink::Members { vanished, current });
        }
        Ok(())
    }

    /// Refuses `next`, which is of the same log, if most workloads vanish in it without having been
    /// released. Another log, restored from a backup, may never have known them.
    pub fn check_workloads(&self, next: &Self) -> Result<(), SuspiciousShrink> {
        let gone =
            |id: &&WorkloadId| !next.workloads.contains_key(id) && !next.released.contains(id);
        let (vanished, current) =
            (self.workloads.keys().filter(gone).count(), self.workloads.len());
        if vanished * 2 > current {
            return Err(SuspiciousShrink::Workloads { vanished, current });
        }
        Ok(())
    }
}

/// A peer owns its prefix, and its own addresses where they lie outside it.
fn allowed_ips(member: &Member) -> BTreeSet<Prefix> {
    let outside = member.addresses.iter().filter(|address| !member.prefix.contains(*address));
    outside.map(Prefix::host).chain([member.prefix]).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        aggregate::node::tests::enrolled,
        event::{
            AggregateKind, NodeEndpointChanged, NodeWithdrawn, WorkloadPlaced, WorkloadReleased,
            WorkloadWithdrawn,
        },
        id::{ActorId, EnvironmentId, OrgId},
        timestamp::Timestamp,
    };
    use proptest::prelude::*;
    use uuid::Uuid;

    pub(crate) fn node_id(n: u16) -> NodeId {
        NodeId(Uuid::from_u128(1000 + u128::from(n)))
    }

    fn event(n: u16, body: EventBody) -> Event {
        Event {
            event_id: 1,
            occurred_at: Timestamp::from_unix_seconds(0).expect("time"),
            aggregate_type: AggregateKind::Node,
            aggregate_id: node_id(n).0,
            aggregate_seq: 1,
            actor_id: ActorId::SYSTEM,
            body,
        }
    }

    fn joined(n: u16) -> Event {
        event(n, EventBody::NodeEnrolled(enrolled(n)))
    }

    fn left(n: u16) -> Event {
        event(n, EventBody::NodeWithdrawn(NodeWithdrawn { network_id: enrolled(n).network_id }))
    }

    pub(crate) fn mesh(nodes: impl IntoIterator<Item = u16>) -> Membership {
        let mut membership = Membership {
            network_id: enrolled(1).network_id,
            name: DnsLabel::new("mesh").expect("label"),
            prefix: "fd00::/48".parse().expect("prefix"),
            members: BTreeMap::new(),
            departed: BTreeSet::new(),
            workloads: BTreeMap::new(),
            released: BTreeSet::new(),
            skipped: None,
        };
        for n in nodes {
            membership.apply(&joined(n));
        }
        membership
    }

    #[test]
    fn every_member_is_a_peer_of_every_other_with_its_prefix() {
        let membership = mesh([1, 2, 3]);
        let desired = membership.desired(node_id(1)).expect("member");
        assert_eq!(desired.peers.len(), 2);
        assert_eq!(
            desired.addresses,
            BTreeSet::from(["fd00::1:0:0:0:1/128".parse().expect("prefix")])
        );
        assert_eq!(desired.routes, BTreeSet::from([membership.prefix]));
        assert_eq!(desired.unreachable, BTreeSet::from([enrolled(1).prefix]));
        let peer = &desired.peers[&enrolled(2).public_key];
        assert_eq!(peer.allowed_ips, BTreeSet::from([enrolled(2).prefix]));
        assert_eq!(membership.desired(node_id(9)), None);
    }

    #[test]
    fn a_withdrawn_node_is_no_longer_a_peer_and_is_told_so_itself() {
        let mut membership = mesh([1, 2]);
        assert_eq!(membership.apply(&left(2)), Some(Change::Left(node_id(2))));
        assert_eq!(membership.apply(&left(2)), None, "leaving twice changes nothing");
        assert!(membership.desired(node_id(1)).expect("member").peers.is_empty());
        assert_eq!(membership.desired(node_id(2)), None);
    }

    #[test]
    fn a_moved_node_keeps_its_key_and_addresses() {
        let mut membership = mesh([1, 2]);
        let endpoint = "[2001:db8::ff]:7".parse().expect("endpoint");
        let network_id = membership.network_id;
        let moved = EventBody::NodeEndpointChanged(NodeEndpointChanged { network_id, endpoint });
        assert_eq!(membership.apply(&event(2, moved)), Some(Change::Moved(node_id(2))));
        let desired = membership.desired(node_id(1)).expect("member");
        assert_eq!(desired.peers[&enrolled(2).public_key].endpoint, endpoint);
    }

    #[test]
    fn a_withdrawn_workload_keeps_its_address_until_it_is_released() {
        let mut membership = mesh([1]);
        let (org_id, environment_id) = (OrgId(Uuid::nil()), EnvironmentId(Uuid::nil()));
        let (network_id, node_id) = (membership.network_id, node_id(1));
        let address = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 9);
        let has_it = |membership: &Membership| {
            let desired = membership.desired(node_id).expect("member");
            desired.addresses.contains(&Prefix::host(address.into()))
        };
        let placed = EventBody::WorkloadPlaced(WorkloadPlaced {
            org_id,
            environment_id,
            release_id: None,
            process_type: DnsLabel::new("web").expect("label"),
            network_id,
            node_id,
            address,
        });
        let withdrawn = WorkloadWithdrawn { org_id, environment_id, network_id, node_id };
        let released = WorkloadReleased { org_id, environment_id, network_id, node_id };
        for (body, there) in [
            (placed, true),
            (EventBody::WorkloadWithdrawn(withdrawn), true),
            (EventBody::WorkloadReleased(released), false),
        ] {
            membership.apply(&event(9, body));
            assert_eq!(has_it(&membership), there);
        }
    }

    #[test]
    fn events_of_other_networks_change_nothing() {
        let mut membership = mesh([1]);
        let mut foreign = enrolled(2);
        foreign.network_id = NetworkId(Uuid::from_u128(77));
        assert_eq!(membership.apply(&event(2, EventBody::NodeEnrolled(foreign))), None);
        assert_eq!(membership, mesh([1]));
    }

    #[test]
    fn a_node_that_departed_or_has_the_prefix_of_another_is_not_taken_in() {
        let mut membership = mesh([1, 2]);
        membership.apply(&left(2));
        let before = membership.clone();
        assert_eq!(membership.apply(&joined(2)), None, "it has departed");
        let same_prefix = event(8, EventBody::NodeEnrolled(enrolled(1)));
        assert_eq!(membership.apply(&same_prefix), None, "it is node 1's");
        assert_eq!(membership, before);
        let change = membership.apply(&joined(3));
        assert_eq!(change, Some(Change::Joined(node_id(3))));
    }

    #[test]
    fn what_cannot_be_read_changes_nothing_and_is_counted() {
        let mut membership = mesh([1, 2]);
        for word in ["comet-landed", "comet-left"] {
            let unknown = EventBody::from_columns(word, serde_json::json!({}));
            assert_eq!(membership.apply(&event(2, unknown)), None);
        }
        let skipped = Skipped { count: 2, first_type: "comet-landed".into() };
        assert_eq!(membership, Membership { skipped: Some(skipped), ..mesh([1, 2]) });
    }

    #[test]
    fn an_empty_snapshot_is_refused_unless_the_members_departed() {
        let (current, mut empty) = (mesh([1, 2, 3, 4]), mesh([]));
        let error = current.check_shrink(&empty).expect_err("suspicious");
        assert_eq!(error, SuspiciousShrink::Members { vanished: 4, current: 4 });
        assert!(current.check_shrink(&mesh([1, 2])).is_ok(), "half may go");
        empty.departed = [1, 2, 3, 4].map(node_id).into();
        assert!(current.check_shrink(&empty).is_ok());
    }

    #[test]
    fn a_snapshot_without_workloads_is_refused_unless_they_were_released() {
        let workload = |n: u8| (WorkloadId(Uuid::from_u128(n.into())), Ipv6Addr::from([n; 16]));
        let (mut current, mut empty) = (mesh([1, 2]), mesh([1, 2]));
        current.workloads = [1, 2, 3].map(workload).into();
        let error = current.check_workloads(&empty).expect_err("suspicious");
        assert_eq!(error, SuspiciousShrink::Workloads { vanished: 3, current: 3 });
        empty.released = [1, 2].map(|n| workload(n).0).into();
        assert!(current.check_workloads(&empty).is_ok());
        assert!(empty.check_workloads(&mesh([1, 2])).is_ok(), "there were none");
    }

    proptest! {
        #[test]
        fn a_snapshot_survives_its_json(nodes in prop::collection::btree_set(1u16..50, 0..10)) {
            let membership = mesh(nodes);
            let json = serde_json::to_string(&membership).expect("json");
            prop_assert_eq!(serde_json::from_str::<Membership>(&json).expect("membership"), membership);
        }

        #[test]
        fn applying_an_event_twice_is_applying_it_once(steps in prop::collection::vec((1u16..6, any::<bool>()), 0..20)) {
            let (mut once, mut twice) = (mesh([]), mesh([]));
            for (n, join) in steps {
                let event = if join { joined(n) } else { left(n) };
                once.apply(&event);
                twice.apply(&event);
                twice.apply(&event);
            }
            prop_assert_eq!(once, twice);
        }
    }
}
