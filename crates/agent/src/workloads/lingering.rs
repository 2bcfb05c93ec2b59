//! Ports that no route names any more stay open for a while: an edge that hears of the change a
//! moment later would otherwise connect to where nobody answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    time::{Duration, Instant},
};

/// For how long.
const LINGER: Duration = Duration::from_secs(30);

/// An address here, and a TCP port of it.
pub type Published = (Ipv6Addr, u16);

/// What routes named a moment ago.
#[derive(Debug, Default)]
pub struct Lingering {
    named: BTreeSet<Published>,
    until: BTreeMap<Published, Instant>,
}

impl Lingering {
    /// Takes note of what routes name now; returns what they named lately.
    pub fn update(&mut self, named: &BTreeSet<Published>, now: Instant) -> BTreeSet<Published> {
        for gone in self.named.difference(named) {
            self.until.insert(*gone, now + LINGER);
        }
        self.until.retain(|published, until| *until > now && !named.contains(published));
        self.named.clone_from(named);
        self.until.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stays_open_for_a_while_after_its_route_and_then_closes() {
        let (start, port) = (Instant::now(), |n| (Ipv6Addr::LOCALHOST, n));
        let mut lingering = Lingering::default();
        let (one, other) = (BTreeSet::from([port(1)]), BTreeSet::from([port(2)]));
        assert_eq!(lingering.update(&one, start), BTreeSet::new());
        assert_eq!(lingering.update(&other, start), one);
        let almost = start + LINGER.mul_f32(0.9);
        assert_eq!(lingering.update(&other, almost), one, "however often it is looked at");
        assert_eq!(lingering.update(&one, almost), other, "it is named again");
        assert_eq!(lingering.update(&one, almost + LINGER), BTreeSet::new());
    }
}
