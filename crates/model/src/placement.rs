//! On which nodes workloads run.
//!
//! Nodes that are out of contact get none while there are others: what is placed on a dead node
//! never becomes healthy, and its release never goes live. Among the rest, a process type's instances are spread: each goes to the node with the fewest of the same
//! environment and process type, of these to the one with the fewest workloads in all, of these to
//! the one with the lowest id. The same question always has the same answer.

use std::{collections::BTreeMap, time::Duration};

use crate::{event::ProcessSpec, id::NodeId, name::DnsLabel, timestamp::Timestamp};

/// So long after its last report a node counts as out of contact.
pub const CONTACT_LIMIT: Duration = Duration::from_secs(30);

/// What the nodes carry that can be given workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers(BTreeMap<NodeId, Load>);

/// What one node carries, and when it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// When it last reported; before its first report, when it enrolled.
    pub last_contact: Timestamp,
    /// Workloads of everybody.
    pub total: u64,
    /// Workloads of the environment in question that stay, by process type. Those of releases that
    /// are about to be replaced do not count: they would push the new ones into a corner.
    pub own: BTreeMap<DnsLabel, u64>,
}

impl Workers {
    /// Those of these nodes that are in contact, with what they carry; all of them if none is.
    pub fn new(nodes: impl IntoIterator<Item = (NodeId, Load)>, now: Timestamp) -> Self {
        let mut workers: BTreeMap<NodeId, Load> = nodes.into_iter().collect();
        let in_contact = |load: &Load| now.since(load.last_contact) < CONTACT_LIMIT;
        if workers.values().any(in_contact) {
            workers.retain(|_, load| in_contact(load));
        }
        Self(workers)
    }

    /// Chooses the node for one more workload of `process_type`, which then carries it; `None` if
    /// there is no node at all.
    pub fn place(&mut self, process_type: &DnsLabel) -> Option<NodeId> {
        let burden = |load: &Load| (load.own.get(process_type).copied().unwrap_or(0), load.total);
        let (id, load) = self.0.iter_mut().min_by_key(|(id, load)| (burden(load), **id))?;
        load.total += 1;
        *load.own.entry(process_type.clone()).or_default() += 1;
        Some(*id)
    }

    /// Chooses a node for every instance of every process; `None` if there is no node at all.
    pub fn place_all(&mut self, processes: &[ProcessSpec]) -> Option<Vec<(DnsLabel, NodeId)>> {
        let instances = processes.iter().flat_map(|process| {
            std::iter::repeat_n(&process.process_type, usize::from(process.instances))
        });
        instances.map(|name| Some((name.clone(), self.place(name)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection, prelude::*};
    use uuid::Uuid;

    fn node(n: u128) -> NodeId {
        NodeId(Uuid::from_u128(n))
    }

    fn web() -> DnsLabel {
        DnsLabel::new("web").expect("label")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds).expect("time")
    }

    fn load(total: u64, web_workloads: u64) -> Load {
        Load { last_contact: at(0), total, own: BTreeMap::from([(web(), web_workloads)]) }
    }

    fn workers_of(loads: impl IntoIterator<Item = (u128, Load)>) -> Workers {
        Workers::new(loads.into_iter().map(|(n, load)| (node(n), load)), at(0))
    }

    #[test]
    fn fewest_of_the_same_then_fewest_in_all_then_the_lowest_id() {
        for (loads, expected) in [
            (vec![(2, load(0, 0)), (1, load(0, 0))], Some(1)),
            (vec![(1, load(5, 0)), (2, load(4, 0))], Some(2)),
            (vec![(1, load(1, 1)), (2, load(9, 0))], Some(2)),
            (vec![], None),
        ] {
            assert_eq!(workers_of(loads).place(&web()), expected.map(node));
        }
    }

    #[test]
    fn nodes_out_of_contact_get_something_only_where_all_are() {
        let limit = i64::try_from(CONTACT_LIMIT.as_secs()).expect("seconds");
        let now = 1000;
        // When nodes 1, 2, ... were last heard of, and which of them may be given workloads.
        for (last_contacts, expected) in [
            (vec![now, now - limit], vec![1]),
            (vec![now - limit + 1, now - limit], vec![1]),
            (vec![now - 500, now - 3, now + 5], vec![2, 3]),
            (vec![now - 500, now - limit], vec![1, 2]),
            (vec![], vec![]),
        ] {
            let loads = (1..)
                .zip(&last_contacts)
                .map(|(n, seconds)| (node(n), Load { last_contact: at(*seconds), ..load(0, 0) }));
            let workers = Workers::new(loads, at(now));
            let nodes: Vec<_> = workers.0.keys().copied().collect();
            assert_eq!(
                nodes,
                expected.into_iter().map(node).collect::<Vec<_>>(),
                "{last_contacts:?}"
            );
        }
    }

    prop_compose! {
        fn workers()(totals in collection::btree_map(0..50_u128, 0..20_u64, 1..12)) -> Workers {
            workers_of(totals.into_iter().map(|(n, total)| (n, load(total, 0))))
        }
    }

    fn processes(web_instances: u16, job_instances: u16) -> Vec<ProcessSpec> {
        let job = DnsLabel::new("job").expect("label");
        [(web(), web_instances), (job, job_instances)]
            .map(|(process_type, instances)| ProcessSpec { process_type, instances })
            .to_vec()
    }

    proptest! {
        #[test]
        fn a_process_type_is_spread_evenly_over_the_workers_and_nobody_else(
            workers in workers(), web_instances in 1..60_u16, job_instances in 1..60_u16,
        ) {
            let processes = processes(web_instances, job_instances);
            let placed = workers.clone().place_all(&processes).expect("there are nodes");
            prop_assert_eq!(placed.len(), usize::from(web_instances + job_instances));
            for process in &processes {
                let count = |id: &NodeId| placed.iter().filter(|(name, node)| {
                    *name == process.process_type && node == id
                }).count();
                let counts: Vec<usize> = workers.0.keys().map(count).collect();
                let (least, most) = (counts.iter().min(), counts.iter().max());
                prop_assert!(most.expect("nodes") - least.expect("nodes") <= 1, "{counts:?}");
                let sum: usize = counts.iter().sum();
                prop_assert_eq!(sum, usize::from(process.instances), "all are on known nodes");
            }
        }

        #[test]
        fn the_same_question_has_the_same_answer(workers in workers(), instances in 1..60_u16) {
            let processes = processes(instances, 3);
            let answer = workers.clone().place_all(&processes);
            prop_assert_eq!(workers.clone().place_all(&processes), answer);
        }

        #[test]
        fn what_is_there_already_is_evened_out(
            counts in collection::vec(0..5_u64, 2..8), instances in 1..40_u16,
        ) {
            let loads = (0..).zip(&counts).map(|(n, count)| (n, load(*count, *count)));
            let mut workers = workers_of(loads);
            let most_before = counts.iter().max().copied().unwrap_or(0);
            workers.place_all(&processes(instances, 1)).expect("there are nodes");
            let after: Vec<u64> = workers.0.values().map(|load| load.own[&web()]).collect();
            let (least, most) = (after.iter().min().expect("nodes"), after.iter().max().expect("nodes"));
            prop_assert!(*most <= most_before.max(least + 1), "{after:?}");
        }
    }
}
