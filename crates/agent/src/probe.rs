//! Round trips over the overlay, by ICMPv6 echo (RFC 4443 section 4). Besides measuring, the echo
//! is the traffic that makes WireGuard shake hands.
//!
//! ```text
//! waiting --due--> outstanding --reply--> waiting, 10 s (1 s after the first)
//!    ^                  |
//!    +----lost: 1, 2, 4, 8, 10 s
//! ```

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use sextant_model::NodeId;

mod once;
mod socket;

pub use once::answers;
pub use socket::{ProbeHandle, start};

/// Between two echoes to a peer that answers.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Between the first and the second echo to a peer that answers.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// After which an echo is lost.
pub const DEADLINE: Duration = Duration::from_secs(1);

const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const HEADER: usize = 8;
const PACKET: usize = HEADER + 8;

/// The peers to measure, by their address in the overlay.
pub type Targets = BTreeMap<NodeId, Ipv6Addr>;

/// An echo request that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// To whom.
    pub to: Ipv6Addr,
    /// The ICMPv6 message; the kernel fills in the checksum.
    pub message: [u8; PACKET],
}

/// Decides when to send what, and what a reply means. Knows no socket and no clock.
#[derive(Debug)]
pub struct Prober {
    identifier: u16,
    sequence: u16,
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug)]
struct Peer {
    address: Ipv6Addr,
    due_at: Instant,
    outstanding: Option<Outstanding>,
    /// In a row.
    losses: u32,
    rtt: Option<Duration>,
}

#[derive(Debug)]
struct Outstanding {
    sequence: u16,
    nonce: u64,
    sent_at: Instant,
}

impl Prober {
    /// Measures nobody yet. `identifier` tells this prober's echoes from others' on the machine.
    pub fn new(identifier: u16) -> Self {
        Self { identifier, sequence: 0, peers: BTreeMap::new() }
    }

    /// Measures these from now on; who is new, or has a new address, at once.
    pub fn set_targets(&mut self, targets: &Targets, now: Instant) {
        self.peers.retain(|id, peer| targets.get(id) == Some(&peer.address));
        for (id, address) in targets {
            self.peers.entry(*id).or_insert(Peer {
                address: *address,
                due_at: now,
                outstanding: None,
                losses: 0,
                rtt: None,
            });
        }
    }

    /// Measures everybody at once: the interface is a new one, and its sessions are gone.
    pub fn hurry(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.outstanding = None;
            peer.losses = 0;
            peer.due_at = now;
        }
    }

    /// What must be sent now. At most one echo to a peer is under way.
    pub fn due(&mut self, now: Instant, mut random: impl FnMut() -> u64) -> Vec<Echo> {
        let mut echoes = Vec::new();
        for peer in self.peers.values_mut() {
            if peer.outstanding.is_some() || peer.due_at > now {
                continue;
            }
            self.sequence = self.sequence.wrapping_add(1);
            let (sequence, nonce) = (self.sequence, random());
            peer.outstanding = Some(Outstanding { sequence, nonce, sent_at: now });
            echoes.push(Echo {
                to: peer.address,
                message: request(self.identifier, sequence, nonce),
            });
        }
        echoes
    }

    /// Takes in an ICMPv6 message from `from`; anything but the reply that is waited for is ignored.
    pub fn receive(&mut self, from: IpAddr, message: &[u8], now: Instant) {
        let Some((sequence, nonce)) = reply(message) else { return };
        let expected = |peer: &&mut Peer| {
            IpAddr::V6(peer.address) == from
                && peer.outstanding.as_ref().is_some_and(|outstanding| {
                    outstanding.sequence == sequence && outstanding.nonce == nonce
                })
        };
        let Some(peer) = self.peers.values_mut().find(expected) else { return };
        if let Some(outstanding) = peer.outstanding.take() {
            // The first round trip includes a handshake; a truer one follows soon.
            let pause = if peer.rtt.is_none() { SECOND_LOOK } else { INTERVAL };
            peer.rtt = Some(now.saturating_duration_since(outstanding.sent_at));
            peer.losses = 0;
            peer.due_at = outstanding.sent_at + pause;
        }
    }

    /// Gives up what has waited too long.
    pub fn expire(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            let late = |outstanding: &mut Outstanding| now >= outstanding.sent_at + DEADLINE;
            if peer.outstanding.take_if(late).is_some() {
                peer.rtt = None;
                peer.due_at = now + pause(peer.losses);
                peer.losses = peer.losses.saturating_add(1);
            }
        }
    }

    /// When there is something to do next.
    pub fn wake_at(&self) -> Option<Instant> {
        let at = |peer: &Peer| match &peer.outstanding {
            Some(outstanding) => outstanding.sent_at + DEADLINE,
            None => peer.due_at,
        };
        self.peers.values().map(at).min()
    }

    /// The last round trip to each peer that answered its last echo, in microseconds.
    pub fn rtts(&self) -> BTreeMap<NodeId, u32> {
        let micros = |rtt: Duration| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        let measured = self.peers.iter().filter_map(|(id, peer)| Some((*id, micros(peer.rtt?))));
        measured.collect()
    }
}

/// A peer that comes up is found soon, one that stays away costs little.
fn pause(losses: u32) -> Duration {
    Duration::from_secs(1 << losses.min(4)).min(INTERVAL)
}

fn request(identifier: u16, sequence: u16, nonce: u64) -> [u8; PACKET] {
    let mut message = [0; PACKET];
    message[0] = ECHO_REQUEST;
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    message[HEADER..].copy_from_slice(&nonce.to_be_bytes());
    message
}

/// Sequence and nonce of an echo reply. The identifier is not compared: on a datagram socket the
/// kernel chooses it and sorts by it, and the nonce is stronger.
fn reply(message: &[u8]) -> Option<(u16, u64)> {
    let message: &[u8; PACKET] = message.first_chunk()?;
    if message[0] != ECHO_REPLY || message[1] != 0 {
        return None;
    }
    let sequence = u16::from_be_bytes([message[6], message[7]]);
    let nonce = message[HEADER..].try_into().ok()?;
    Some((sequence, u64::from_be_bytes(nonce)))
}

#[cfg(test)]
mod tests;
