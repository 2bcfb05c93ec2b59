//! What workloads' namespaces are called: by the workload's id, and beside it by names that units
//! can refer to and that outlive a deploy.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use sextant_model::{DnsLabel, NodeId, WorkloadId, boundary::Boundary};

/// What the names of namespaces begin with that are the agent's own.
const OWN: &str = "sextant-";
/// The longest name of a file, in bytes.
const LONGEST: usize = 255;

/// The namespace of a workload.
pub fn namespace(workload: WorkloadId) -> String {
    format!("{OWN}{workload}")
}

/// The workload of a namespace, if it is one of the agent's.
pub fn workload(name: &str) -> Option<WorkloadId> {
    name.strip_prefix(OWN)?.parse().ok()
}

/// Whether a symbolic link leads to a namespace of the agent's.
pub fn is_own_link(target: Option<PathBuf>) -> bool {
    target.is_some_and(|target| target.to_str().is_some_and(|name| workload(name).is_some()))
}

/// Names for units: `PROCESS-N.ENVIRONMENT.APP.ORG` leads to workload number N, from 0 and by age,
/// of those of that process type that run here and have not been withdrawn.
pub fn links(boundary: &Boundary, me: NodeId) -> BTreeMap<String, WorkloadId> {
    let mut links = BTreeMap::new();
    for environment in boundary.environments.values() {
        let mut here: BTreeMap<&DnsLabel, BTreeSet<WorkloadId>> = BTreeMap::new();
        for (id, workload) in &environment.workloads {
            if workload.node_id == me && !workload.withdrawn {
                here.entry(&workload.process_type).or_default().insert(*id);
            }
        }
        let path: Vec<&str> = environment.path.rsplit('/').collect();
        let path = path.join(".");
        for (process_type, workloads) in here {
            for (n, id) in workloads.into_iter().enumerate() {
                links.insert(format!("{process_type}-{n}.{path}"), id);
            }
        }
    }
    // Only with names of the greatest length does one not fit; the id's name is there all the same.
    links.retain(|name, _| name.len() <= LONGEST && !name.contains('/'));
    links
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use sextant_model::{
        EnvironmentId, NetworkId,
        boundary::{BoundaryWorkload, EnvironmentBoundary},
    };
    use uuid::Uuid;

    use super::*;

    #[test]
    fn units_name_the_living_workloads_of_a_process_type_by_age() {
        let id = |n: u128| WorkloadId(Uuid::from_u128(n));
        let node = |n: u128| NodeId(Uuid::from_u128(n));
        let workload = |on: u128, withdrawn| BoundaryWorkload {
            node_id: node(on),
            process_type: DnsLabel::new("web").expect("label"),
            address: Ipv6Addr::LOCALHOST,
            withdrawn,
        };
        let workloads = [(1, 1, true), (2, 1, false), (3, 2, false), (4, 1, false)];
        let workloads = workloads.map(|(n, on, withdrawn)| (id(n), workload(on, withdrawn)));
        let path = "acme/shop/prod".to_owned();
        let environment =
            EnvironmentBoundary { path, workloads: workloads.into(), routes: BTreeMap::new() };
        let boundary = Boundary {
            node_id: node(1),
            network_id: NetworkId(Uuid::from_u128(1)),
            environments: BTreeMap::from([(EnvironmentId(Uuid::from_u128(1)), environment)]),
            missing: BTreeSet::new(),
        };
        let expected = [("web-0.prod.shop.acme", id(2)), ("web-1.prod.shop.acme", id(4))];
        let expected = expected.map(|(name, id)| (name.to_owned(), id));
        assert_eq!(links(&boundary, node(1)), BTreeMap::from(expected));
    }

    #[test]
    fn only_the_agents_own_names_are_recognised() {
        let id = WorkloadId(Uuid::from_u128(7));
        assert_eq!(workload(&namespace(id)), Some(id));
        assert_eq!(workload("sextant-lab"), None);
        assert_eq!(workload("blue"), None);
        assert!(is_own_link(Some(namespace(id).into())));
        assert!(!is_own_link(Some("/proc/1/ns/net".into())) && !is_own_link(None));
    }
}
