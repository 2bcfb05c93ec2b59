//! Changes of routes: soon live on every edge, and no harm to what goes on.

use std::{
    io::Write,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use sextant_api::resource::hostname::HostnameMove;
use sextant_lab::{
    Progress, ScratchDirectory, Target,
    bench::routes::{RoutesOptions, trial},
    interrupt::Interrupt,
    serve::{ECHO_PORT, TLS_PORT},
    tenant::tls_route,
    wait::until,
};
use sextant_model::HostPattern;

use super::fixture::{LIMIT, Site, name};

/// Generous: machines that run tests are busy.
const BOUND: Duration = Duration::from_secs(5);

#[test]
fn a_new_route_is_soon_live_on_every_edge_and_one_that_goes_cuts_nobody() {
    let site = Site::new(1);
    site.deploy(&[("web", 1)]);
    let shop = site.tls_route("shop", TLS_PORT);
    let echo = name("echo");
    let new = tls_route(&echo, ECHO_PORT).expect("a name");
    let route = site.operator.create_route(site.environment.id, &new).expect("a route");
    site.lab.await_edges(&site.operator, LIMIT).expect("the edges know");
    let edges: Vec<_> = site.edges().into_iter().map(|(_, address)| address).collect();
    let traffic = site.traffic(&edges, &shop, Some(&echo));

    let late = name("late");
    let new = tls_route(&late, TLS_PORT).expect("a name");
    let made = site.operator.create_route(site.environment.id, &new).expect("a route");
    let begin = Instant::now();
    for edge in &edges {
        let seen = until("an answer", BOUND, &Interrupt::never(), || {
            Ok(match site.get(*edge, &late) {
                Ok(_) => ControlFlow::Break(()),
                Err(error) => ControlFlow::Continue(error.to_string()),
            })
        });
        seen.expect("live in time");
    }
    let live = begin.elapsed();
    // With a route go new connections to it, and no others.
    site.operator.delete_route(&made).expect("delete");
    site.operator.delete_route(&route).expect("delete");
    site.lab.await_edges(&site.operator, LIMIT).expect("the edges know");
    for edge in &edges {
        site.get(*edge, &late).expect_err("the route is gone");
        site.get(*edge, &echo).expect_err("the route is gone");
    }
    let tally = traffic.finish().expect("a tally");
    assert!(tally.is_good() && tally.held == 10 && tally.exchanges > 0, "{tally}");
    let _ = writeln!(std::io::stderr().lock(), "live after {} ms; {tally}", live.as_millis());
}

#[test]
fn a_hostname_moves_to_another_environment_without_a_failed_connection() {
    let site = Site::new(1);
    let old = site.deploy(&[("web", 1)]);
    let shop = site.tls_route("shop", TLS_PORT);
    let next = site.operator.create_sibling(&site.environment, "next").expect("another");
    let release = site.operator.deploy(next.id, &[("web", 1)]).expect("deploy");
    let release = site.operator.await_live(release.id, LIMIT, site.lab.interrupt());
    let new = release.expect("live").workloads;
    site.lab.await_edges(&site.operator, LIMIT).expect("the edges know");
    let edges: Vec<_> = site.edges().into_iter().map(|(_, address)| address).collect();
    let traffic = site.traffic(&edges, &shop, None);
    for edge in &edges {
        assert_eq!(site.get(*edge, &shop).expect("an answer").workload, old[0].address);
    }
    let pattern: HostPattern = shop.parse().expect("a name");
    let to = HostnameMove { to_environment_id: next.id };
    let client = site.operator.client();
    let moved = client.move_hostname(site.environment.id, &pattern, &to, None);
    let moved = site.operator.ask("move a hostname", moved).expect("moves");
    assert_eq!(moved.routes.len(), 1);
    site.lab.await_edges(&site.operator, BOUND).expect("the edges know");
    for edge in &edges {
        assert_eq!(site.get(*edge, &shop).expect("an answer").workload, new[0].address);
    }
    let tally = traffic.finish().expect("a tally");
    assert!(tally.is_good(), "{tally}");
}

#[test]
fn an_edge_that_is_away_is_behind_and_catches_up() {
    let mut site = Site::new(1);
    site.deploy(&[("web", 1)]);
    let e1: Target = "e1.edge".parse().expect("a target");
    site.lab.stop(&e1).expect("stop");
    // Waits for the other one alone.
    let late = site.tls_route("late", TLS_PORT);
    let sync = || {
        let edges = site.operator.edges().expect("edges");
        let one = |name: &str| {
            let edge = edges.iter().find(|edge| edge.name.as_str() == name).expect("known");
            (edge.in_sync, edge.revision)
        };
        (one("e1"), one("e2"))
    };
    let ((one, behind), (two, newest)) = sync();
    assert!(!one && two && behind < newest, "{behind:?} {newest:?}");
    site.lab.start(&e1).expect("start");
    let edges = site.lab.await_edges(&site.operator, LIMIT).expect("in sync");
    assert!(edges.iter().all(|edge| edge.in_sync && edge.report.is_some()), "{edges:?}");
    for edge in &edges {
        let report = edge.report.as_ref().expect("reported");
        assert_eq!((report.routes, report.refused.len()), (1, 0), "{edge:?}");
    }
    for (_, address) in site.edges() {
        site.get(address, &late).expect("an answer");
    }
}

#[test]
fn changes_during_traffic_drop_and_refuse_nothing() {
    let place = ScratchDirectory::new().expect("make");
    let program = std::path::PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    let programs = sextant_lab::Programs::in_directory(program.parent().expect("a directory"));
    let options = RoutesOptions {
        hostnames: 200,
        changes: 10,
        storm: 300,
        connections: 100,
        quick: false,
        keep: false,
    };
    let report = trial(place.directory(), programs, options, Interrupt::never(), Progress::start())
        .expect("the trial comes to its end");
    let _ = writeln!(std::io::stderr().lock(), "{report}");
    assert!(report.disturbs_nobody(), "{report}");
    assert!(report.slowest() < BOUND, "{report}");
    place.remove().expect("down");
}
