//! One echo of a chosen size to each of some peers, for a diagnosis.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sextant_daemon::clock::Entropy;
use sextant_model::NodeId;
use tokio::time::{Instant, timeout_at};

use super::{HEADER, IPV6_HEADER, PACKET, Targets, reply, request, socket};

/// Which of the targets answer an echo in a packet of `size` bytes (at least the smallest that
/// can hold one) within `limit`.
pub async fn answers(
    targets: &Targets,
    size: usize,
    limit: Duration,
    entropy: &dyn Entropy,
) -> io::Result<BTreeSet<NodeId>> {
    let socket = socket::open()?;
    let mut waiting = BTreeMap::new();
    let identifier = socket::identifier();
    for (sequence, (id, address)) in (1..).zip(targets) {
        let nonce = socket::random(entropy);
        let mut message = request(identifier, sequence, nonce).to_vec();
        message.resize(size.saturating_sub(IPV6_HEADER).max(PACKET), 0);
        waiting.insert((IpAddr::V6(*address), sequence, nonce), *id);
        // One that cannot be sent is one that is not answered.
        let _ = socket.send_to(&message, SocketAddr::from((*address, 0))).await;
    }
    let (mut answered, deadline) = (BTreeSet::new(), Instant::now() + limit);
    let mut buffer = [0; HEADER + PACKET];
    while !waiting.is_empty() {
        match timeout_at(deadline, socket.recv_from(&mut buffer)).await {
            Ok(Ok((length, from))) => {
                let answer = reply(&buffer[..length]);
                let answer = answer
                    .and_then(|(sequence, nonce)| waiting.remove(&(from.ip(), sequence, nonce)));
                answered.extend(answer);
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => break,
        }
    }
    Ok(answered)
}
