use std::time::{Duration, Instant};

use rustix::process::Signal;
use sextant_edge::{
    listen::Socket,
    state::{Keeper, StateFolder},
    worker::Settings,
};
use sextant_model::{
    Cursor, DnsLabel, EnvironmentId, Epoch, HostPattern, NetworkId, RouteId, WorkloadId,
    event::WorkloadHealth,
    routing::{
        HealthSource, ProtocolHint,
        desired::{DesiredRoute, DesiredWorkload, RoutingSnapshot},
    },
};
use uuid::Uuid;

use sextant_edge::hello::builder::HelloBuilder;

use crate::support::{Backend, Edge, NextProgram, Port, Start, eventually, pass, talk};

fn snapshot(port: &Port, backend: &Backend) -> RoutingSnapshot {
    let environment_id = EnvironmentId(Uuid::from_u128(1));
    let process_type = DnsLabel::new("web").expect("name");
    let std::net::IpAddr::V6(address) = backend.address.ip() else { panic!("IPv6") };
    RoutingSnapshot {
        network_id: NetworkId(Uuid::from_u128(9)),
        routes: vec![DesiredRoute {
            route_id: RouteId(Uuid::from_u128(2)),
            environment_id,
            hostname: Some(HostPattern::new("a.example").expect("name")),
            listen_port: port.address.port(),
            protocol_hint: ProtocolHint::TlsPassthrough,
            match_host: false,
            backend_process_type: process_type.clone(),
            backend_port: backend.address.port(),
            proxy_protocol: false,
            health_source: HealthSource::None,
        }],
        workloads: vec![DesiredWorkload {
            workload_id: WorkloadId(Uuid::from_u128(3)),
            environment_id,
            process_type,
            address,
            health: WorkloadHealth::Healthy,
        }],
        deleted: std::collections::BTreeSet::new(),
        withdrawn: std::collections::BTreeSet::new(),
        skipped: None,
        mesh: None,
    }
}

/// With saved routes and no control plane.
fn saved(port: &Port, backend: &Backend, listen_address: &str) -> Start {
    let start = Start::with_config(&format!(
        "[control_plane]\nurls = [\"https://[::1]:1\"]\nidentity = \"FOLDER\"\n\
         state_dir = \"FOLDER/state\"\nlisten_addresses = [\"{listen_address}\"]\n",
    ));
    let folder = StateFolder::open(start.path("state")).expect("folder");
    let lock = folder.lock().expect("locked");
    let keeper = Keeper::start(folder, Some(lock), None).expect("started");
    let cursor = Cursor { epoch: Epoch(Uuid::from_u128(7)), event_id: 42 };
    keeper.replace(cursor, snapshot(port, backend));
    eventually("it is saved", || *keeper.saved().borrow() == Some(cursor));
    drop(keeper);
    start
}

/// Whether a connection for the route's name is told apart. The only backend is on this machine itself,
/// which no workload's address may be: it is never used. Labs show the routes with real workloads.
fn is_routed(edge: &Edge, port: &Port) -> bool {
    let without_backend =
        || edge.metric("sextant_edge_connections_ended_total{outcome=\"no_backend\",reason=\"\"}");
    let before = without_backend();
    let hello = HelloBuilder::for_name("a.example").build();
    if talk(port.address, &hello, 7).is_ok_and(|answer| answer == "backend") {
        return false;
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while without_backend() <= before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    without_backend() > before
}

#[test]
fn the_last_good_routes_are_served_without_a_control_plane() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let edge = saved(&port, &backend, "::1").start();
    assert!(is_routed(&edge, &port));
    let status = edge.status();
    assert_eq!((&status["routes"], &status["revision"]), (&1.into(), &42.into()));
    eventually("the problem is named", || {
        edge.status()["problem"].as_str().is_some_and(|problem| problem.contains("ca.crt"))
    });
}

#[test]
fn who_knows_no_routes_does_not_take_over() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let mut start = saved(&port, &backend, "::1");
    let next = NextProgram::of(&mut start);
    let edge = start.start();
    std::fs::remove_file(edge.folder().join("state/routing.json")).expect("removed");
    next.install();
    next.goes_on();
    edge.signal(Signal::USR2);
    eventually("the next process waits", || {
        edge.messages().contains("no routes are known; the process before this one serves")
    });
    for _ in 0..20 {
        assert!(is_routed(&edge, &port));
        assert_eq!(edge.status()["generation"], 0);
    }
    drop(next);
    eventually("the failure", || edge.messages().contains("ended before it was ready"));
    assert!(is_routed(&edge, &port));
}

#[test]
fn a_socket_unit_for_the_wrong_families_is_named_as_the_cause() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let socket = Socket { address: port.everywhere(), dual: true };
    let passed = socket.open(&Settings::default()).expect("opened");
    let mut start = saved(&port, &backend, "::");
    pass(&passed, &mut start.command);
    let how = start.again();
    let (status, _, errors) = start.output();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains("nothing can be served: cannot listen on [::]"), "{errors}");
    assert!(errors.contains("set BindIPv6Only=ipv6-only there"), "{errors}");
    drop(passed);
    let edge = how.start();
    eventually("the routes are served", || is_routed(&edge, &port));
}
