//! Routing goes on without the control plane, also after an edge was restarted.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use sextant_lab::{
    Target,
    serve::{ECHO_PORT, TLS_PORT},
};

use super::fixture::{LIMIT, Site, eventually};

/// How long traffic goes on in each state.
const WHILE: Duration = Duration::from_secs(3);

fn target(text: &str) -> Target {
    text.parse().expect("a target")
}

#[test]
fn routing_goes_on_without_a_control_plane_also_after_a_restart_of_an_edge() {
    let mut site = Site::new(2);
    site.deploy(&[("web", 2)]);
    let shop = site.tls_route("shop", TLS_PORT);
    let echo = site.tls_route("echo", ECHO_PORT);
    let [e1, e2] = ["e1", "e2"].map(|name| site.description().edge(name).expect("edge").underlay);

    let steady = site.traffic(&[e2], &shop, Some(&echo));
    for daemon in ["c1", "c2", "postgres"] {
        site.lab.kill(&target(daemon)).expect("kill");
    }
    site.operator.status().expect_err("no control plane is left");
    // Both the edge and the agent beside it have nothing but what they saved.
    for daemon in ["e1.edge", "e1"] {
        site.lab.kill(&target(daemon)).expect("kill");
    }
    site.get(e1, &shop).expect_err("nobody listens");
    let start = Instant::now();
    for daemon in ["e1.edge", "e1"] {
        site.lab.start(&target(daemon)).expect("start");
    }
    eventually("an answer through e1", || site.get(e1, &shop).is_ok());
    let took = start.elapsed();
    let restarted = site.traffic(&[e1], &shop, Some(&echo));
    thread::sleep(WHILE);
    let (restarted, steady) = (restarted.finish(), steady.finish());
    let (restarted, steady) = (restarted.expect("a tally"), steady.expect("a tally"));
    assert!(restarted.is_good(), "{restarted}");
    assert!(steady.is_good() && steady.held > 0, "{steady}");
    let took = took.as_millis();
    let _ = writeln!(std::io::stderr().lock(), "e1 answered {took} ms after its start");

    for daemon in ["postgres", "c1", "c2"] {
        site.lab.start(&target(daemon)).expect("start");
    }
    let edges = site.lab.await_edges(&site.operator, LIMIT).expect("in sync");
    assert!(edges.iter().all(|edge| edge.in_sync), "{edges:?}");
}

#[test]
fn a_deploy_replaces_workloads_without_a_failed_connection() {
    let site = Site::new(2);
    let old = site.deploy(&[("web", 2)]);
    let shop = site.tls_route("shop", TLS_PORT);
    let edges: Vec<_> = site.edges().into_iter().map(|(_, address)| address).collect();
    let traffic = site.traffic(&edges, &shop, None);
    thread::sleep(WHILE / 3);
    let new = site.deploy(&[("web", 3)]);
    assert!(new.iter().all(|workload| old.iter().all(|old| old.address != workload.address)));
    for edge in &edges {
        eventually("a new workload to answer", || {
            let answer = site.get(*edge, &shop).expect("an answer");
            new.iter().any(|workload| workload.address == answer.workload)
        });
    }
    thread::sleep(WHILE / 3);
    let tally = traffic.finish().expect("a tally");
    assert!(tally.is_good(), "{tally}");
}
