//! From what the kernel has to what it must have: a pure diff, in an order that never cuts a pair
//! of nodes that are members before and after (invariant 4).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use crate::{
    key::PublicKey,
    membership::{DesiredMesh, DesiredPeer},
    prefix::Prefix,
};

/// A session older than this is dead (WireGuard's REJECT_AFTER_TIME), so its endpoint may be reset.
const SESSION_LIFETIME: Duration = Duration::from_secs(180);

/// Everything the node's interface must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredInterface {
    /// Own public key; the shell holds the private half.
    pub public_key: PublicKey,
    /// UDP port of WireGuard.
    pub listen_port: u16,
    /// MTU inside the overlay.
    pub mtu: u32,
    /// Addresses, routes and peers.
    pub mesh: DesiredMesh,
}

/// What the kernel says of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInterface {
    /// Administratively up.
    pub up: bool,
    /// MTU.
    pub mtu: u32,
    /// Own key, if one is set.
    pub public_key: Option<PublicKey>,
    /// UDP port, if one is set.
    pub listen_port: Option<u16>,
    /// Addresses on it, as host prefixes, without link-local ones.
    pub addresses: BTreeSet<Prefix>,
    /// Routes into it, without those the kernel makes for addresses.
    pub routes: BTreeSet<Prefix>,
    /// Prefixes that an agent has made unreachable on this host.
    pub unreachable: BTreeSet<Prefix>,
    /// Its peers.
    pub peers: BTreeMap<PublicKey, ObservedPeer>,
}

/// What the kernel says of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPeer {
    /// Where packets to it go; WireGuard itself changes this when the peer roams.
    pub endpoint: Option<SocketAddr>,
    /// What may come from it and goes to it.
    pub allowed_ips: BTreeSet<Prefix>,
    /// Time since the last handshake, if there was one.
    pub handshake_age: Option<Duration>,
}

/// One change to the kernel. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the interface.
    CreateLink,
    /// Set the private key and the port.
    SetDevice {
        /// UDP port of WireGuard.
        listen_port: u16,
    },
    /// Set the MTU.
    SetMtu(u32),
    /// Add an address.
    AddAddress(Prefix),
    /// Bring the interface up.
    BringUp,
    /// Remove a peer.
    RemovePeer(PublicKey),
    /// Add a peer, or set what differs of it.
    SetPeer {
        /// Which peer.
        public_key: PublicKey,
        /// Set the endpoint, or leave it where WireGuard has it.
        endpoint: Option<SocketAddr>,
        /// Exactly these, replacing others.
        allowed_ips: BTreeSet<Prefix>,
    },
    /// Route a prefix into the interface.
    AddRoute(Prefix),
    /// Stop routing a prefix into the interface.
    RemoveRoute(Prefix),
    /// Remove an address.
    RemoveAddress(Prefix),
    /// Make a prefix unreachable, but for the more specific routes and addresses in it.
    AddUnreachable(Prefix),
    /// Leave a prefix to the other routes again.
    RemoveUnreachable(Prefix),
}

/// The steps from `observed` (`None`: no interface) to `desired`.
///
/// `announced` is what was desired before: an endpoint is reset only if the log changed it or if
/// no session is alive, because a live session knows better where the peer has roamed to.
pub fn plan(
    desired: &DesiredInterface,
    observed: Option<&ObservedInterface>,
    announced: Option<&DesiredMesh>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let nothing = ObservedInterface {
        up: false,
        mtu: 0,
        public_key: None,
        listen_port: None,
        addresses: BTreeSet::new(),
        routes: BTreeSet::new(),
        unreachable: BTreeSet::new(),
        peers: BTreeMap::new(),
    };
    if observed.is_none() {
        steps.push(Step::CreateLink);
    }
    let observed = observed.unwrap_or(&nothing);
    if observed.public_key != Some(desired.public_key)
        || observed.listen_port != Some(desired.listen_port)
    {
        steps.push(Step::SetDevice { listen_port: desired.listen_port });
    }
    if observed.mtu != desired.mtu {
        steps.push(Step::SetMtu(desired.mtu));
    }
    let mesh = &desired.mesh;
    steps.extend(mesh.addresses.difference(&observed.addresses).copied().map(Step::AddAddress));
    if !observed.up {
        steps.push(Step::BringUp);
    }
    // Removals first: an allowed IP belongs to one peer, and a new owner must not lose it again.
    let surplus = observed.peers.keys().filter(|key| !mesh.peers.contains_key(key));
    steps.extend(surplus.copied().map(Step::RemovePeer));
    for (public_key, peer) in &mesh.peers {
        let before = announced.and_then(|announced| announced.peers.get(public_key));
        steps.extend(set_peer(*public_key, peer, observed.peers.get(public_key), before));
    }
    steps.extend(mesh.routes.difference(&observed.routes).copied().map(Step::AddRoute));
    steps.extend(observed.routes.difference(&mesh.routes).copied().map(Step::RemoveRoute));
    steps.extend(observed.addresses.difference(&mesh.addresses).copied().map(Step::RemoveAddress));
    steps.extend(
        mesh.unreachable.difference(&observed.unreachable).map(|p| Step::AddUnreachable(*p)),
    );
    // Those of another network on the same host are another agent's.
    let within = |prefix: &&Prefix| mesh.routes.iter().any(|route| route.overlaps(**prefix));
    let surplus = observed.unreachable.difference(&mesh.unreachable).filter(within);
    steps.extend(surplus.copied().map(Step::RemoveUnreachable));
    steps
}

fn set_peer(
    public_key: PublicKey,
    desired: &DesiredPeer,
    observed: Option<&ObservedPeer>,
    announced: Option<&DesiredPeer>,
) -> Option<Step> {
    let endpoint = match observed {
        None => Some(desired.endpoint),
        Some(peer) if peer.endpoint == Some(desired.endpoint) => None,
        Some(peer) => {
            let moved = announced.is_some_and(|before| before.endpoint != desired.endpoint);
            let alive = peer.handshake_age.is_some_and(|age| age < SESSION_LIFETIME);
            (moved || !alive || peer.endpoint.is_none()).then_some(desired.endpoint)
        }
    };
    let same_ips = observed.is_some_and(|peer| peer.allowed_ips == desired.allowed_ips);
    (endpoint.is_some() || !same_ips).then(|| Step::SetPeer {
        public_key,
        endpoint,
        allowed_ips: desired.allowed_ips.clone(),
    })
}

#[cfg(test)]
mod tests;
