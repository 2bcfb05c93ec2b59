//! Round trips over the overlay, by ICMPv6 echo (RFC 4443 section 4). Besides measuring, the echo
//! is the traffic that makes WireGuard shake hands.
//!
//! ```text
//! waiting --due--> outstanding --reply--> waiting, 3 to 10 s (1 s after the first)
//!    ^                  |
//!    +----lost: 1, 2, 4 ... s, at most as long
//! ```
//!
//! Now and then an echo is as long as the interface allows ([`size`]).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use sextant_model::NodeId;

mod once;
mod size;
mod socket;

pub use once::answers;
use size::SizeSearch;
pub use socket::{ProbeHandle, start};

/// Longest time between two echoes to a peer that answers.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(10);
/// Shortest one.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(3);
/// Echoes in a second to all peers together, as long as the interval can grow.
const RATE: u32 = 20;
/// Between the first and the second echo to a peer that answers.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// After which an echo is lost.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// Losses in a row that are no accident.
const LOSSES: u32 = 2;
/// So long after its first loss a peer is news.
const FRESH: Duration = Duration::from_secs(30);

const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const HEADER: usize = 8;
const PACKET: usize = HEADER + 8;
/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// The peers to measure, by their address in the overlay.
pub type Targets = BTreeMap<NodeId, Ipv6Addr>;

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measurements {
    /// The last round trip to each peer that answered its last echo, in microseconds.
    pub rtts: BTreeMap<NodeId, u32>,
    /// Echoes lost in a row, for every other peer.
    pub lost: BTreeMap<NodeId, u32>,
    /// The largest packet that comes back, for peers to which the largest possible one is lost.
    pub largest: BTreeMap<NodeId, u32>,
    /// Whether a peer was lost a short while ago.
    pub is_news: bool,
}

impl Measurements {
    /// Which peers cannot be reached, and which not with long packets: what is worth telling at once.
    fn verdict(&self) -> (Vec<NodeId>, &BTreeMap<NodeId, u32>) {
        let dead = self.lost.iter().filter(|(_, lost)| **lost >= LOSSES);
        (dead.map(|(id, _)| *id).collect(), &self.largest)
    }
}

/// An echo request that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// To whom.
    pub to: Ipv6Addr,
    /// The ICMPv6 message; the kernel fills in the checksum.
    pub message: Vec<u8>,
}

/// Decides when to send what, and what a reply means. Knows no socket and no clock.
#[derive(Debug)]
pub struct Prober {
    identifier: u16,
    sequence: u16,
    /// MTU of the interface; 0 as long as it is not known.
    mtu: u32,
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug)]
struct Peer {
    address: Ipv6Addr,
    due_at: Instant,
    outstanding: Option<Outstanding>,
    /// In a row.
    losses: u32,
    lost_since: Option<Instant>,
    rtt: Option<Duration>,
    size: SizeSearch,
}

#[derive(Debug)]
struct Outstanding {
    sequence: u16,
    nonce: u64,
    sent_at: Instant,
}

impl Outstanding {
    fn is(&self, sequence: u16, nonce: u64) -> bool {
        self.sequence == sequence && self.nonce == nonce
    }

    fn is_late(&self, now: Instant) -> bool {
        now >= self.sent_at + DEADLINE
    }
}

impl Prober {
    /// Measures nobody yet. `identifier` tells this prober's echoes from others' on the machine.
    pub fn new(identifier: u16) -> Self {
        Self { identifier, sequence: 0, mtu: 0, peers: BTreeMap::new() }
    }

    /// Measures these from now on; who is new, or has a new address, at once.
    pub fn set_targets(&mut self, targets: &Targets, now: Instant) {
        self.peers.retain(|id, peer| targets.get(id) == Some(&peer.address));
        for (place, (id, address)) in (0..).zip(targets) {
            // Long echoes to many peers are spread.
            let first = now + SECOND_LOOK + size::SPREAD.saturating_mul(place);
            self.peers.entry(*id).or_insert(Peer {
                address: *address,
                due_at: now,
                outstanding: None,
                losses: 0,
                lost_since: None,
                rtt: None,
                size: SizeSearch::new(first),
            });
        }
    }

    /// The interface has this MTU now: packets of other sizes say nothing any more.
    pub fn set_mtu(&mut self, mtu: u32, now: Instant) {
        if std::mem::replace(&mut self.mtu, mtu) != mtu {
            for peer in self.peers.values_mut() {
                peer.size = SizeSearch::new(now + SECOND_LOOK);
            }
        }
    }

    /// Measures everybody at once: the interface is a new one, and its sessions are gone.
    pub fn hurry(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.outstanding = None;
            (peer.losses, peer.lost_since) = (0, None);
            peer.due_at = now;
        }
    }

    /// Time between two echoes to a peer that answers: in a small mesh a loss is noticed sooner, in
    /// a large one the echoes stay few.
    fn interval(&self) -> Duration {
        let peers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        (Duration::from_secs(1) * peers / RATE).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
    }

    /// What must be sent now. At most one short and one long echo to a peer are under way.
    pub fn due(&mut self, now: Instant, mut random: impl FnMut() -> u64) -> Vec<Echo> {
        let mut echoes = Vec::new();
        let (identifier, mtu) = (self.identifier, self.mtu);
        let mut next = |sequence: &mut u16| {
            *sequence = sequence.wrapping_add(1);
            Outstanding { sequence: *sequence, nonce: random(), sent_at: now }
        };
        for peer in self.peers.values_mut() {
            if peer.outstanding.is_none() && peer.due_at <= now {
                let sent = next(&mut self.sequence);
                let message = request(identifier, sent.sequence, sent.nonce).to_vec();
                peer.outstanding = Some(sent);
                echoes.push(Echo { to: peer.address, message });
            }
            // Only what passes at all can be too long.
            if peer.rtt.is_some()
                && let Some(bytes) = peer.size.due(mtu, now)
            {
                let sent = next(&mut self.sequence);
                let mut message = request(identifier, sent.sequence, sent.nonce).to_vec();
                message.resize(bytes.saturating_sub(IPV6_HEADER).max(PACKET), 0);
                peer.size.sent(sent);
                echoes.push(Echo { to: peer.address, message });
            }
        }
        echoes
    }

    /// Takes in an ICMPv6 message from `from`; anything but a reply that is waited for is ignored.
    pub fn receive(&mut self, from: IpAddr, message: &[u8], now: Instant) {
        let Some((sequence, nonce)) = reply(message) else { return };
        let (interval, pause) = (self.interval(), self.size_interval());
        let Some(peer) = self.peers.values_mut().find(|peer| IpAddr::V6(peer.address) == from)
        else {
            return;
        };
        if let Some(outstanding) = peer.outstanding.take_if(|sent| sent.is(sequence, nonce)) {
            // The first round trip includes a handshake; a truer one follows soon.
            let pause = if peer.rtt.is_none() { SECOND_LOOK } else { interval };
            peer.rtt = Some(now.saturating_duration_since(outstanding.sent_at));
            (peer.losses, peer.lost_since) = (0, None);
            peer.due_at = outstanding.sent_at + pause;
        } else {
            peer.size.receive(sequence, nonce, now, pause);
        }
    }

    /// Gives up what has waited too long.
    pub fn expire(&mut self, now: Instant) {
        let (interval, size_pause) = (self.interval(), self.size_interval());
        for peer in self.peers.values_mut() {
            if peer.outstanding.take_if(|sent| sent.is_late(now)).is_some() {
                peer.rtt = None;
                peer.lost_since.get_or_insert(now);
                peer.due_at = now + pause(peer.losses, interval);
                peer.losses = peer.losses.saturating_add(1);
            }
            // Where short ones are lost, a long one says nothing.
            let counts = peer.losses == 0;
            peer.size.expire(now, counts, size_pause);
        }
    }

    /// When there is something to do next.
    pub fn wake_at(&self) -> Option<Instant> {
        let at = |peer: &Peer| {
            let short = match &peer.outstanding {
                Some(outstanding) => outstanding.sent_at + DEADLINE,
                None => peer.due_at,
            };
            let long = peer.size.wake_at(self.mtu).filter(|_| peer.rtt.is_some());
            long.map_or(short, |long| long.min(short))
        };
        self.peers.values().map(at).min()
    }

    /// What is known at this moment.
    pub fn measurements(&self, now: Instant) -> Measurements {
        let micros = |rtt: Duration| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        let mut found = Measurements::default();
        for (id, peer) in &self.peers {
            match peer.rtt {
                Some(rtt) => drop(found.rtts.insert(*id, micros(rtt))),
                None => drop(found.lost.insert(*id, peer.losses)),
            }
            found.largest.extend(peer.size.largest().map(|bytes| (*id, bytes)));
            let fresh = |since: Instant| now.saturating_duration_since(since) < FRESH;
            found.is_news |= peer.lost_since.is_some_and(fresh);
        }
        found
    }

    /// Time between two looks at what size passes to a peer.
    fn size_interval(&self) -> Duration {
        size::interval(self.peers.len())
    }
}

/// A peer that comes up is found soon, one that stays away costs little.
fn pause(losses: u32, longest: Duration) -> Duration {
    Duration::from_secs(1 << losses.min(4)).min(longest)
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
