use super::*;
use crate::{
    event::{
        AggregateKind, Holder, RouteChanged, RouteDeleted, RouteMoved, WorkloadHealthChanged,
        WorkloadWithdrawn,
    },
    id::{ActorId, NodeId, OrgId},
    routing::Endpoint,
    timestamp::Timestamp,
};
use proptest::prelude::*;
use uuid::Uuid;

const NETWORK: NetworkId = NetworkId(Uuid::from_u128(1));

fn event(aggregate: u128, body: EventBody) -> Event {
    Event {
        event_id: 1,
        occurred_at: Timestamp::from_unix_seconds(0).expect("time"),
        aggregate_type: AggregateKind::Route,
        aggregate_id: Uuid::from_u128(aggregate),
        aggregate_seq: 1,
        actor_id: ActorId::SYSTEM,
        body,
    }
}

fn org() -> OrgId {
    OrgId(Uuid::from_u128(9))
}

fn environment(n: u128) -> EnvironmentId {
    EnvironmentId(Uuid::from_u128(n))
}

fn web() -> DnsLabel {
    DnsLabel::new("web").expect("label")
}

fn route_id(n: u128) -> RouteId {
    RouteId(Uuid::from_u128(n))
}

fn route(route: u128, of: u128) -> RouteCreated {
    RouteCreated {
        org_id: org(),
        environment_id: environment(of),
        network_id: NETWORK,
        hostname: Some(HostPattern::new(&format!("r{route}.example")).expect("name")),
        listen_port: 443,
        protocol_hint: ProtocolHint::TlsPassthrough,
        match_host: false,
        backend_process_type: web(),
        backend_port: 8443,
        proxy_protocol: false,
        ipv4_required: false,
        health_source: HealthSource::None,
        endpoint: Endpoint::Ipv6Only,
    }
}

fn created(which: u128, of: u128) -> Event {
    event(which, EventBody::RouteCreated(route(which, of)))
}

fn placed(workload: u128, of: u128) -> Event {
    event(
        workload,
        EventBody::WorkloadPlaced(WorkloadPlaced {
            org_id: org(),
            environment_id: environment(of),
            release_id: None,
            process_type: web(),
            network_id: NETWORK,
            node_id: NodeId(Uuid::from_u128(3)),
            address: address(workload),
        }),
    )
}

fn address(workload: u128) -> Ipv6Addr {
    Ipv6Addr::from(0xfd00_u128 << 112 | workload)
}

fn health(workload: u128, health: WorkloadHealth) -> Event {
    event(
        workload,
        EventBody::WorkloadHealthChanged(WorkloadHealthChanged {
            org_id: org(),
            environment_id: environment(1),
            network_id: NETWORK,
            health,
        }),
    )
}

fn withdrawn(workload: u128) -> Event {
    event(
        workload,
        EventBody::WorkloadWithdrawn(WorkloadWithdrawn {
            org_id: org(),
            environment_id: environment(1),
            network_id: NETWORK,
            node_id: NodeId(Uuid::from_u128(3)),
        }),
    )
}

fn moved(which: u128, to: u128) -> Event {
    event(
        which,
        EventBody::RouteMoved(RouteMoved {
            network_id: NETWORK,
            from: Some(Holder { org_id: org(), environment_id: environment(1) }),
            to: Some(route(which, to)),
        }),
    )
}

fn deleted(route: u128) -> Event {
    event(
        route,
        EventBody::RouteDeleted(RouteDeleted {
            org_id: org(),
            environment_id: environment(1),
            network_id: NETWORK,
        }),
    )
}

fn backends(routing: &Routing, route: u128) -> Vec<SocketAddr> {
    routing.served(route_id(route), Ipv6Addr::UNSPECIFIED.into()).expect("served").backends
}

#[test]
fn a_route_is_served_by_the_healthy_workloads_of_its_process_type() {
    let mut routing = Routing::empty(NETWORK);
    assert_eq!(routing.apply(&created(10, 1)), [route_id(10)].into());
    assert_eq!(routing.apply(&placed(20, 1)), [route_id(10)].into());
    assert_eq!(routing.apply(&placed(21, 2)), [].into(), "another environment");
    assert!(backends(&routing, 10).is_empty(), "starting workloads get no connections");
    assert_eq!(routing.apply(&health(20, WorkloadHealth::Healthy)), [route_id(10)].into());
    assert_eq!(backends(&routing, 10), [SocketAddr::from((address(20), 8443))]);
    assert_eq!(routing.apply(&health(20, WorkloadHealth::Unhealthy)), [route_id(10)].into());
    assert!(backends(&routing, 10).is_empty());
    assert_eq!(routing.apply(&withdrawn(20)), [route_id(10)].into());
}

#[test]
fn a_moved_route_goes_to_the_workloads_of_the_other_environment() {
    let mut routing = Routing::empty(NETWORK);
    for event in [created(10, 1), placed(20, 1), placed(21, 2)] {
        routing.apply(&event);
    }
    routing.apply(&health(20, WorkloadHealth::Healthy));
    routing.apply(&health(21, WorkloadHealth::Healthy));
    assert_eq!(routing.apply(&moved(10, 2)), [route_id(10)].into());
    assert_eq!(backends(&routing, 10), [SocketAddr::from((address(21), 8443))]);
    let changed = EventBody::RouteChanged(RouteChanged {
        org_id: org(),
        network_id: NETWORK,
        backend_process_type: web(),
        backend_port: 9443,
        proxy_protocol: true,
        health_source: HealthSource::Tcp { port: None },
    });
    routing.apply(&event(10, changed));
    assert_eq!(backends(&routing, 10), [SocketAddr::from((address(21), 9443))]);
}

#[test]
fn routes_of_other_networks_are_not_served() {
    let mut routing = Routing::empty(NetworkId(Uuid::from_u128(77)));
    assert!(routing.apply(&created(10, 1)).is_empty());
    assert!(routing.routes().is_empty());
}

#[test]
fn an_empty_snapshot_is_refused_unless_the_routes_were_deleted() {
    let mut routing = Routing::empty(NETWORK);
    for route in 10..14 {
        routing.apply(&created(route, 1));
    }
    let mut next = RoutingSnapshot::from(&Routing::empty(NETWORK));
    let error = routing.check_shrink(&next).expect_err("suspicious");
    assert_eq!(error, SuspiciousRouting::Routes { vanished: 4, current: 4 });
    next.deleted = (10..14).map(route_id).collect();
    assert!(routing.check_shrink(&next).is_ok());
}

#[test]
fn a_snapshot_that_lost_its_workloads_is_refused_and_one_after_many_deploys_is_not() {
    let mut routing = Routing::empty(NETWORK);
    for event in [created(10, 1), placed(20, 1), placed(21, 2), placed(22, 3)] {
        routing.apply(&event);
    }
    let full = RoutingSnapshot::from(&routing);
    let with = |workloads: &[(u128, u128)], withdrawn: &[u128]| {
        let mut other = Routing::empty(NETWORK);
        for (workload, of) in workloads {
            other.apply(&placed(*workload, *of));
        }
        RoutingSnapshot {
            workloads: RoutingSnapshot::from(&other).workloads,
            withdrawn: withdrawn.iter().map(|n| WorkloadId(Uuid::from_u128(*n))).collect(),
            ..full.clone()
        }
    };
    let lost = |vanished| Err(SuspiciousRouting::Workloads { vanished, current: 3 });
    assert_eq!(routing.check_workloads(&with(&[], &[])), lost(3));
    assert_eq!(routing.check_workloads(&with(&[(20, 1)], &[])), lost(2));
    assert_eq!(routing.check_workloads(&with(&[], &[20])), lost(2));
    for next in [
        with(&[], &[20, 21, 22]),
        with(&[(20, 1)], &[21]),
        with(&[(20, 1), (21, 2)], &[]),
        // Others in their place, and nobody knows their names any more.
        with(&[(30, 1), (31, 2), (32, 3)], &[]),
    ] {
        assert_eq!(routing.check_workloads(&next), Ok(()), "{next:?}");
    }
}

#[test]
fn a_workload_outside_of_the_mesh_is_no_backend_and_is_named() {
    let address = |text: &str| text.parse::<Ipv6Addr>().expect(text);
    let id = WorkloadId(Uuid::from_u128(1));
    for bad in [
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "fec0::1",
    ] {
        assert!(check_backend(id, address(bad), None).is_err(), "{bad}");
        assert!(
            check_backend(id, address(bad), Some("fd00::/48".parse().expect("prefix"))).is_err()
        );
    }
    let mesh = Some("fd00::/48".parse().expect("prefix"));
    assert!(check_backend(id, address("fd00:0:0:1::9"), mesh).is_ok());
    assert!(check_backend(id, address("2001:db8::9"), mesh).is_err(), "the underlay");
    assert!(check_backend(id, address("::1"), Some("::/0".parse().expect("prefix"))).is_err());

    let mut routing = Routing::empty(NETWORK);
    routing.mesh = mesh;
    routing.apply(&created(10, 1));
    let mut forged = placed(20, 1);
    let EventBody::WorkloadPlaced(body) = &mut forged.body else { panic!("placed") };
    body.address = address("::1");
    routing.apply(&forged);
    routing.apply(&health(20, WorkloadHealth::Healthy));
    assert_eq!(routing.foreign().count(), 1);
    let served = routing.served(route_id(10), "::".parse().expect("address")).expect("served");
    assert!(served.backends.is_empty());
    routing.apply(&withdrawn(20));
    assert_eq!(routing.foreign().count(), 0);
}

proptest! {
    #[test]
    fn any_history_gives_the_same_state_twice_over_and_through_its_snapshot(
        steps in prop::collection::vec((0u8..6, 0u128..4, 1u128..3), 0..40),
    ) {
        let mut once = Routing::empty(NETWORK);
        let mut twice = Routing::empty(NETWORK);
        for (step, which, of) in steps {
            let event = match step {
                0 => created(10 + which, of),
                1 => placed(20 + which, of),
                2 => health(20 + which, WorkloadHealth::Healthy),
                3 => withdrawn(20 + which),
                4 => moved(10 + which, of),
                _ => deleted(10 + which),
            };
            once.apply(&event);
            twice.apply(&event);
            prop_assert!(twice.apply(&event).is_empty(), "the second time changes nothing");
        }
        prop_assert_eq!(&once, &twice);
        let json = serde_json::to_string(&RoutingSnapshot::from(&once)).expect("json");
        let read: RoutingSnapshot = serde_json::from_str(&json).expect("snapshot");
        prop_assert_eq!(Routing::from(read), once);
    }
}
