//! When each peer was last heard: the first look at which WireGuard had counted more bytes from it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sextant_model::PublicKey;

use crate::wireguard::Observation;

/// What was counted, and when that had last grown.
#[derive(Debug, Default)]
pub struct Heard {
    peers: BTreeMap<PublicKey, (u64, Duration)>,
    /// When the first look was.
    start: Option<Instant>,
    /// When the last one was, since then.
    looked: Duration,
}

impl Heard {
    /// Looks at the counters.
    pub fn look(&mut self, observation: &Observation, now: Instant) {
        let start = *self.start.get_or_insert(now);
        self.looked = now.saturating_duration_since(start);
        self.peers.retain(|key, _| observation.traffic.contains_key(key));
        for (key, traffic) in &observation.traffic {
            let bytes = traffic.rx_bytes;
            let peer = self.peers.entry(*key).or_insert((0, self.looked));
            // A smaller count is that of another interface.
            if peer.0 != bytes {
                *peer = (bytes, self.looked);
            }
        }
    }

    /// Seconds between the last look and the one at which the peer had last been heard; `None` if it
    /// never was.
    pub fn age_s(&self, peer: PublicKey) -> Option<u64> {
        let (bytes, at) = self.peers.get(&peer)?;
        (*bytes > 0).then(|| (self.looked.saturating_sub(*at)).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::tests::observation, state::tests::member, wireguard::Traffic};

    #[test]
    fn a_peer_is_as_old_as_its_last_byte() {
        let (mut heard, mut found) = (Heard::default(), observation());
        let (start, key) = (Instant::now(), member(2).public_key);
        let mut look = |seconds, rx_bytes| {
            found.traffic.insert(key, Traffic { rx_bytes, tx_bytes: 9 });
            heard.look(&found, start + Duration::from_secs(seconds));
            heard.age_s(key)
        };
        assert_eq!(look(0, 0), None);
        assert_eq!(look(5, 100), Some(0));
        assert_eq!(look(9, 100), Some(4));
        assert_eq!(look(12, 101), Some(0));
        assert_eq!(look(13, 7), Some(0), "a new interface");
        assert_eq!(heard.age_s(member(3).public_key), None);
    }
}
