//! `sextant-agent status`: what this machine knows of itself, without asking anybody.

use std::io::{self, Write};

use serde::Serialize;
use sextant_api::resource::report::WireGuardImplementation;
use sextant_model::{Cursor, NodeId, Prefix, PublicKey, Timestamp, plan::ObservedInterface};

use crate::{
    certificate::Validity,
    config::AgentConfig,
    netlink::Netlink,
    state::{LoadedState, NodeIdentity, SavedState, StateError, StateFolder},
    wireguard::{Observation, Traffic, WireGuard, word},
};

/// Everything there is to say.
#[derive(Clone, Debug, Serialize)]
pub struct LocalStatus {
    /// Who the node is; absent before it has enrolled.
    pub node: Option<NodeIdentity>,
    /// Whether it was told to leave.
    pub left: bool,
    /// End of validity of its client certificate.
    pub certificate_not_after: Option<Timestamp>,
    /// Where it stands in the stream.
    pub cursor: Option<Cursor>,
    /// The interface, if it exists and can be read.
    pub interface: Option<InterfaceStatus>,
    /// The other members, and peers that are no members.
    pub peers: Vec<PeerStatus>,
    /// What is wrong, a line each.
    pub problems: Vec<String>,
}

/// The interface.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Which WireGuard serves it.
    pub implementation: WireGuardImplementation,
    /// Administratively up.
    pub up: bool,
    /// MTU, in bytes.
    pub mtu: u32,
    /// Its public key.
    pub public_key: Option<PublicKey>,
    /// Its UDP port.
    pub listen_port: Option<u16>,
    /// Its addresses.
    pub addresses: Vec<Prefix>,
    /// What is routed into it.
    pub routes: Vec<Prefix>,
}

/// A peer, as the membership or the interface knows it.
#[derive(Clone, Debug, Serialize)]
pub struct PeerStatus {
    /// Its name; absent if it is no member.
    pub name: Option<String>,
    /// Which node; absent if it is no member.
    pub node_id: Option<NodeId>,
    /// Its public key.
    pub public_key: PublicKey,
    /// Whether the interface has it.
    pub configured: bool,
    /// Where packets to it go.
    pub endpoint: Option<String>,
    /// Seconds since the last handshake.
    pub handshake_age_s: Option<u64>,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
}

/// Reads the state folder and the interface.
pub async fn read(config: &AgentConfig) -> Result<LocalStatus, StateError> {
    let folder = StateFolder::new(&config.state_dir);
    let node = folder.node()?;
    let mut problems = Vec::new();
    let certificate = folder.certificate().ok().and_then(|pem| Validity::of(&pem).ok());
    if node.is_some() && certificate.is_none() {
        problems.push("the client certificate cannot be read".into());
    }
    let saved = match folder.state()? {
        LoadedState::Good(saved) => Some(*saved),
        LoadedState::Missing => None,
        LoadedState::Unreadable(damage) => {
            problems.push(format!("the saved state cannot be believed: {damage}"));
            None
        }
    };
    if let (Some(node), Some(saved), Ok(Some(key))) =
        (&node, &saved, folder.existing_wireguard_key())
        && let Err(swapped) =
            key.check(folder.wireguard_key_file(), &saved.membership, node.node_id)
    {
        problems.push(swapped.to_string());
    }
    let observation = match observe(config).await {
        Ok(Some(observation)) => Some(observation),
        Ok(None) => {
            problems.push(format!("there is no interface \"{}\"", config.wireguard.interface));
            None
        }
        Err(error) => {
            problems.push(error);
            None
        }
    };
    Ok(LocalStatus {
        left: folder.has_left(),
        certificate_not_after: certificate.map(|validity| validity.not_after),
        cursor: saved.as_ref().map(|saved| saved.cursor),
        peers: peers(node.as_ref(), saved.as_ref(), observation.as_ref()),
        interface: observation.map(|found| interface(&config.wireguard.interface, found)),
        node,
        problems,
    })
}

async fn observe(config: &AgentConfig) -> Result<Option<Observation>, String> {
    let wireguard = WireGuard::new(&config.wireguard).map_err(|error| error.to_string())?;
    let netlink = Netlink::open().map_err(|error| error.to_string())?;
    wireguard.observe(&netlink).await.map_err(|error| error.to_string())
}

fn interface(name: &str, observation: Observation) -> InterfaceStatus {
    let ObservedInterface { up, mtu, public_key, listen_port, addresses, routes, .. } =
        observation.interface;
    InterfaceStatus {
        name: name.to_owned(),
        implementation: observation.implementation,
        up,
        mtu,
        public_key,
        listen_port,
        addresses: addresses.into_iter().collect(),
        routes: routes.into_iter().collect(),
    }
}

fn peers(
    node: Option<&NodeIdentity>,
    saved: Option<&SavedState>,
    observation: Option<&Observation>,
) -> Vec<PeerStatus> {
    let me = node.map(|node| node.node_id);
    let members = saved.into_iter().flat_map(|saved| saved.membership.members.values());
    let mut peers: Vec<PeerStatus> = members
        .filter(|member| Some(member.node_id) != me)
        .map(|member| {
            let mut peer = peer(member.public_key, observation);
            peer.endpoint.get_or_insert_with(|| member.endpoint.to_string());
            PeerStatus {
                name: Some(member.name.to_string()),
                node_id: Some(member.node_id),
                ..peer
            }
        })
        .collect();
    let configured = observation.into_iter().flat_map(|found| found.interface.peers.keys());
    for key in configured {
        if !peers.iter().any(|peer| peer.public_key == *key) {
            peers.push(peer(*key, observation));
        }
    }
    peers
}

fn peer(public_key: PublicKey, observation: Option<&Observation>) -> PeerStatus {
    let observed = observation.and_then(|found| found.interface.peers.get(&public_key));
    let traffic = observation.and_then(|found| found.traffic.get(&public_key));
    let Traffic { rx_bytes, tx_bytes } = traffic.copied().unwrap_or_default();
    PeerStatus {
        name: None,
        node_id: None,
        public_key,
        configured: observed.is_some(),
        endpoint: observed.and_then(|peer| Some(peer.endpoint?.to_string())),
        handshake_age_s: observed.and_then(|peer| Some(peer.handshake_age?.as_secs())),
        rx_bytes,
        tx_bytes,
    }
}

impl LocalStatus {
    /// For people.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match &self.node {
            Some(node) => writeln!(out, "node       {} ({})", node.name, node.node_id)?,
            None => writeln!(out, "node       not enrolled")?,
        }
        if self.left {
            writeln!(out, "           has left its network")?;
        }
        if let Some(not_after) = self.certificate_not_after {
            writeln!(out, "certified  until {not_after}")?;
        }
        match self.cursor {
            Some(cursor) => writeln!(out, "revision   {}", cursor.event_id)?,
            None => writeln!(out, "revision   none saved")?,
        }
        if let Some(interface) = &self.interface {
            interface.write(out)?;
        }
        for peer in &self.peers {
            peer.write(out)?;
        }
        for problem in &self.problems {
            writeln!(out, "problem    {problem}")?;
        }
        Ok(())
    }
}

impl InterfaceStatus {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let implementation = word(self.implementation);
        let up = if self.up { "up" } else { "down" };
        writeln!(out, "interface  {} {up}, {implementation}, mtu {}", self.name, self.mtu)?;
        for address in &self.addresses {
            writeln!(out, "address    {address}")?;
        }
        for route in &self.routes {
            writeln!(out, "route      {route}")?;
        }
        Ok(())
    }
}

impl PeerStatus {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let key = self.public_key.to_string();
        let name = self.name.as_deref().unwrap_or(&key);
        let endpoint = self.endpoint.as_deref().unwrap_or("-");
        let handshake = match self.handshake_age_s {
            _ if !self.configured => "not configured".to_owned(),
            Some(age) => format!("handshake {age} s ago"),
            None => "no handshake".to_owned(),
        };
        let (rx, tx) = (self.rx_bytes, self.tx_bytes);
        writeln!(out, "peer       {name} at {endpoint}, {handshake}, {rx} B in, {tx} B out")
    }
}
