//! What is killed when, and which nodes come and go: decided by a seed alone, so that a run can be
//! repeated.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::lab::Target;

/// A kill comes at most so long after the round's change has begun.
const LATEST: u64 = 300;
/// Of so many rounds, one has a node joining or leaving.
const CHURN: u32 = 3;
/// So many nodes, those between which pings run, never leave.
pub(super) const KEPT: usize = 2;

/// One round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// What else begins in it.
    pub(super) change: Option<Change>,
    /// From then to the kill.
    pub(super) moment: Duration,
    /// Who is killed.
    pub(super) victim: Target,
}

/// A node comes or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A new node of this name begins to join.
    Join(String),
    /// This node begins to leave.
    Leave(String),
}

/// The rounds, one after the other.
#[derive(Debug)]
pub(super) struct Plan {
    random: StdRng,
    replicas: u16,
    /// Nodes that are members or becoming members.
    nodes: Vec<String>,
    size: usize,
    last: usize,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Some(Change::Join(name)) => write!(f, "{name} joins, ")?,
            Some(Change::Leave(name)) => write!(f, "{name} leaves, ")?,
            None => {}
        }
        let victim = &self.victim;
        write!(f, "{victim} is killed after {} ms", self.moment.as_millis())
    }
}

impl Plan {
    /// Rounds for a lab that starts with nodes n1, n2 and so on, and replicas c1 and so on.
    pub(super) fn new(seed: u64, nodes: u16, replicas: u16) -> Self {
        let names: Vec<String> = (1..=nodes).map(|index| format!("n{index}")).collect();
        let random = StdRng::seed_from_u64(seed);
        Self { random, replicas, size: names.len(), last: names.len(), nodes: names }
    }

    /// The next round.
    pub(super) fn next(&mut self) -> Round {
        let change = self.random.random_ratio(1, CHURN).then(|| self.change()).flatten();
        let moment = Duration::from_millis(self.random.random_range(0..=LATEST));
        let victim = self.victim(change.as_ref());
        if let Some(Change::Leave(name)) = &change {
            self.nodes.retain(|node| node != name);
        }
        Round { change, moment, victim }
    }

    /// The mesh stays about as large as it was.
    fn change(&mut self) -> Option<Change> {
        let joins = self.nodes.len() < self.size
            || (self.nodes.len() == self.size && self.random.random_ratio(1, 2));
        if joins {
            self.last += 1;
            let name = format!("n{}", self.last);
            self.nodes.push(name.clone());
            return Some(Change::Join(name));
        }
        let may_leave = self.nodes.get(KEPT..).unwrap_or_default();
        Some(Change::Leave(may_leave.choose(&mut self.random)?.clone()))
    }

    /// Agents as often as replicas and Postgres together; half of the agents' kills hit the node
    /// that is just coming or going, if there is one.
    fn victim(&mut self, change: Option<&Change>) -> Target {
        match self.random.random_range(0..6) {
            0 => Target::Postgres,
            1 | 2 => Target::Host(format!("c{}", self.random.random_range(1..=self.replicas))),
            kind => Target::Host(match change {
                Some(Change::Join(name) | Change::Leave(name)) if kind > 4 => name.clone(),
                _ => self.nodes.choose(&mut self.random).expect("nodes that stay").clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rounds(seed: u64, count: usize) -> Vec<Round> {
        let mut plan = Plan::new(seed, 4, 2);
        (0..count).map(|_| plan.next()).collect()
    }

    #[test]
    fn a_seed_repeats_and_another_one_differs() {
        assert_eq!(rounds(7, 50), rounds(7, 50));
        assert_ne!(rounds(7, 50), rounds(8, 50));
    }

    #[test]
    fn everything_is_a_victim_and_only_nodes_that_are_there_leave() {
        let mut there: BTreeSet<String> = (1..=4).map(|index| format!("n{index}")).collect();
        let mut victims = BTreeSet::new();
        for round in rounds(1, 500) {
            if let Some(Change::Join(name)) = &round.change {
                assert!(there.insert(name.clone()), "{name} is new");
            }
            if let Target::Host(name) = &round.victim {
                assert!(name.starts_with('c') || there.contains(name), "{name} is there");
            }
            if let Some(Change::Leave(name)) = &round.change {
                assert!(!["n1", "n2"].contains(&name.as_str()), "the pinging nodes stay");
                assert!(there.remove(name), "{name} was there");
            }
            assert!((3..=5).contains(&there.len()), "{there:?}");
            assert!(round.moment <= Duration::from_millis(300));
            victims.insert(format!("{:?}", round.victim));
        }
        for expected in ["Postgres", "Host(\"c1\")", "Host(\"c2\")", "Host(\"n1\")"] {
            assert!(victims.contains(expected), "{expected} in {victims:?}");
        }
    }
}
