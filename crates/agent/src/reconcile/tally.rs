//! Steps by kind: what a pass says about them in the log.

use std::{collections::BTreeMap, fmt};

use sextant_model::plan::{ObservedInterface, Step};

/// A session ended after its peer had roamed, and the peer is looked for where the log says: part
/// of normal life.
const ENDPOINT_RESET: &str = "endpoint-reset";

/// How many steps of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    /// Counts `steps`, planned for what was `observed`.
    pub fn of(steps: &[Step], observed: Option<&ObservedInterface>) -> Self {
        let mut counts = BTreeMap::new();
        for step in steps {
            *counts.entry(kind(step, observed)).or_default() += 1;
        }
        Self(counts)
    }

    /// Counts one more.
    pub fn add(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// Counts what another one counted.
    pub fn merge(&mut self, other: Self) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// How many in all.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Whether somebody must have changed the interface behind the agent's back.
    pub fn is_drift(&self) -> bool {
        self.0.keys().any(|kind| *kind != ENDPOINT_RESET)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (kind, count)) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{kind}={count}")?;
        }
        Ok(())
    }
}

fn kind(step: &Step, observed: Option<&ObservedInterface>) -> &'static str {
    match step {
        Step::CreateLink => "interface-created",
        Step::SetDevice { .. } => "key-and-port-set",
        Step::SetMtu(_) => "mtu-set",
        Step::AddAddress(_) => "address-added",
        Step::BringUp => "brought-up",
        Step::RemovePeer(_) => "peer-removed",
        Step::SetPeer { public_key, allowed_ips, .. } => {
            match observed.and_then(|interface| interface.peers.get(public_key)) {
                None => "peer-added",
                Some(peer) if peer.allowed_ips == *allowed_ips && peer.endpoint.is_some() => {
                    ENDPOINT_RESET
                }
                Some(_) => "peer-set",
            }
        }
        Step::AddRoute(_) => "route-added",
        Step::RemoveRoute(_) => "route-removed",
        Step::RemoveAddress(_) => "address-removed",
        Step::AddUnreachable(_) => "unreachable-added",
        Step::RemoveUnreachable(_) => "unreachable-removed",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use sextant_model::plan::ObservedPeer;

    use super::*;
    use crate::state::tests::member;

    #[test]
    fn an_endpoint_that_is_reset_is_no_drift_and_other_changes_of_a_peer_are() {
        let (peer, prefix) = (member(2), BTreeSet::from([member(2).prefix]));
        let endpoint = Some(member(3).endpoint);
        let roamed = |allowed_ips| ObservedInterface {
            up: true,
            mtu: 1420,
            public_key: None,
            listen_port: None,
            addresses: BTreeSet::new(),
            routes: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            peers: BTreeMap::from([(
                peer.public_key,
                ObservedPeer { endpoint, allowed_ips, handshake_age: None },
            )]),
        };
        let (public_key, endpoint) = (peer.public_key, Some(peer.endpoint));
        let step = Step::SetPeer { public_key, endpoint, allowed_ips: prefix.clone() };
        let reset = Tally::of(std::slice::from_ref(&step), Some(&roamed(prefix)));
        assert_eq!((reset.to_string().as_str(), reset.is_drift()), ("endpoint-reset=1", false));
        let robbed = Tally::of(std::slice::from_ref(&step), Some(&roamed(BTreeSet::new())));
        assert_eq!((robbed.to_string().as_str(), robbed.is_drift()), ("peer-set=1", true));
        let both = Tally::of(&[step, Step::BringUp], None);
        assert_eq!(
            (both.to_string().as_str(), both.is_drift()),
            ("brought-up=1 peer-added=1", true)
        );
        assert!(!Tally::default().is_drift());
    }
}
