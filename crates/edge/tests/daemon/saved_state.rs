use sextant_edge::state::{Keeper, StateFolder};
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

use crate::support::{Backend, Port, Start, eventually, talk};

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
    }
}

#[test]
fn the_last_good_routes_are_served_without_a_control_plane() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let start = Start::with_config(
        "[control_plane]\nurls = [\"https://[::1]:1\"]\nidentity = \"FOLDER\"\n\
         state_dir = \"FOLDER/state\"\nlisten_addresses = [\"::1\"]\n",
    );
    let folder = StateFolder::open(start.path("state")).expect("folder");
    let lock = folder.lock().expect("locked");
    let keeper = Keeper::start(folder, Some(lock), None).expect("started");
    let cursor = Cursor { epoch: Epoch(Uuid::from_u128(7)), event_id: 42 };
    keeper.replace(cursor, snapshot(&port, &backend));
    eventually("it is saved", || *keeper.saved().borrow() == Some(cursor));
    drop(keeper);

    let edge = start.start();
    let hello = HelloBuilder::for_name("a.example").build();
    assert_eq!(talk(port.address, &hello, 7).expect("served"), "backend");
    let status = edge.status();
    assert_eq!((&status["routes"], &status["revision"]), (&1.into(), &42.into()));
    eventually("the problem is named", || {
        edge.status()["problem"].as_str().is_some_and(|problem| problem.contains("ca.crt"))
    });
}
