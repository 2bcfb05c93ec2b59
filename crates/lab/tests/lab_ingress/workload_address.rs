//! The address of a workload: reachable from the whole mesh as long as the workload is there.

use sextant_api::resource::workload::WorkloadStatus;
use sextant_lab::{Target, operator::Operator, ping::ping};

use super::fixture::{LIMIT, Site, eventually};

#[test]
fn a_workloads_address_is_live_in_the_mesh_until_it_is_withdrawn() {
    let mut site = Site::new(2);
    let workload = site.workload();
    let node = workload.node_name.to_string();
    let pings = |site: &Site, from: &str| {
        let description = site.description();
        let from = description.node(from).expect("a node");
        ping(description, from, workload.address).expect("ping runs").is_some()
    };
    let all: Vec<String> = site.description().nodes.iter().map(|node| node.name.clone()).collect();
    assert!(all.len() == 4, "two nodes and two edges");
    for from in &all {
        assert!(pings(&site, from), "from {from}, as soon as it is healthy");
    }

    // Neither a restart of its agent nor the loss of the control plane takes it away.
    for daemon in ["c1", "c2", "postgres"] {
        site.lab.kill(&daemon.parse::<Target>().expect("a target")).expect("kill");
    }
    let agent = Target::Host(node.clone());
    site.lab.kill(&agent).expect("kill");
    for from in &all {
        assert!(pings(&site, from), "from {from}, without an agent");
    }
    site.lab.start_and_watch(&agent).expect("start");
    for from in &all {
        assert!(pings(&site, from), "from {from}, with a new agent");
    }

    for daemon in ["postgres", "c1", "c2"] {
        site.lab.start(&daemon.parse::<Target>().expect("a target")).expect("start");
    }
    // The old one has connections to replicas that are dead.
    site.operator = Operator::of(site.description()).expect("operator");
    let removed = site.operator.client().remove_workload(workload.id, None);
    let removed = site.operator.ask("withdraw a workload", removed).expect("withdrawn");
    assert_eq!(removed.status, WorkloadStatus::Withdrawn);
    eventually("the address to be gone", || all.iter().all(|from| !pings(&site, from)));
    eventually("the address to be free", || {
        let workloads = site.operator.workloads().expect("a list");
        workloads.iter().all(|it| it.id != workload.id)
    });
    site.lab.await_converged(&site.operator, None, LIMIT).expect("nothing else is harmed");
}
