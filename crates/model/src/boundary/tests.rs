use uuid::Uuid;

use super::*;
use crate::{
    event::{
        AggregateKind, Holder, RouteChanged, RouteDeleted, RouteMoved, WorkloadReleased,
        WorkloadWithdrawn,
    },
    id::{ActorId, OrgId},
    routing::{Endpoint, ProtocolHint},
    timestamp::Timestamp,
};

pub(crate) const NETWORK: NetworkId = NetworkId(Uuid::from_u128(1));

pub(crate) fn node(n: u16) -> NodeId {
    NodeId(Uuid::from_u128(1000 + u128::from(n)))
}

pub(crate) fn environment(n: u16) -> EnvironmentId {
    EnvironmentId(Uuid::from_u128(2000 + u128::from(n)))
}

pub(crate) fn address(node: u16, n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, node, 0, 0, 1, n)
}

pub(crate) fn event(id: u16, body: EventBody) -> Event {
    Event {
        event_id: 1,
        occurred_at: Timestamp::from_unix_seconds(0).expect("time"),
        aggregate_type: AggregateKind::Workload,
        aggregate_id: Uuid::from_u128(id.into()),
        aggregate_seq: 1,
        actor_id: ActorId::SYSTEM,
        body,
    }
}

fn label(text: &str) -> DnsLabel {
    DnsLabel::new(text).expect("label")
}

pub(crate) fn placed(id: u16, on: u16, of: u16) -> Event {
    let body = WorkloadPlaced {
        org_id: OrgId(Uuid::nil()),
        environment_id: environment(of),
        release_id: None,
        process_type: label("web"),
        network_id: NETWORK,
        node_id: node(on),
        address: address(on, id),
    };
    event(id, EventBody::WorkloadPlaced(body))
}

pub(crate) fn withdrawn(id: u16, on: u16, of: u16) -> Event {
    let (org_id, environment_id) = (OrgId(Uuid::nil()), environment(of));
    let (network_id, node_id) = (NETWORK, node(on));
    let body = WorkloadWithdrawn { org_id, environment_id, network_id, node_id };
    event(id, EventBody::WorkloadWithdrawn(body))
}

pub(crate) fn released(id: u16, on: u16, of: u16) -> Event {
    let (org_id, environment_id) = (OrgId(Uuid::nil()), environment(of));
    let (network_id, node_id) = (NETWORK, node(on));
    let body = WorkloadReleased { org_id, environment_id, network_id, node_id };
    event(id, EventBody::WorkloadReleased(body))
}

pub(crate) fn route(of: u16, port: u16, health_source: HealthSource) -> RouteCreated {
    RouteCreated {
        org_id: OrgId(Uuid::nil()),
        environment_id: environment(of),
        network_id: NETWORK,
        hostname: Some("shop.example".parse().expect("name")),
        listen_port: 443,
        protocol_hint: ProtocolHint::TlsPassthrough,
        match_host: false,
        backend_process_type: label("web"),
        backend_port: port,
        proxy_protocol: false,
        ipv4_required: false,
        health_source,
        endpoint: Endpoint::Ipv6Only,
    }
}

pub(crate) fn moved(id: u16, from: u16, to: RouteCreated) -> Event {
    let holder = Holder { org_id: OrgId(Uuid::nil()), environment_id: environment(from) };
    let body = RouteMoved { network_id: NETWORK, from: Some(holder), to: Some(to) };
    event(id, EventBody::RouteMoved(body))
}

pub(crate) fn changed(id: u16, of: Option<u16>, port: u16) -> Event {
    let body = RouteChanged {
        org_id: OrgId(Uuid::nil()),
        environment_id: of.map(environment),
        network_id: NETWORK,
        backend_process_type: label("web"),
        backend_port: port,
        proxy_protocol: false,
        health_source: HealthSource::None,
    };
    event(id, EventBody::RouteChanged(body))
}

/// Node 1 with environment 1, which has a workload there.
pub(crate) fn boundary() -> Boundary {
    let mut boundary = Boundary {
        node_id: node(1),
        network_id: NETWORK,
        environments: BTreeMap::from([(environment(1), EnvironmentBoundary::default())]),
        missing: BTreeSet::new(),
    };
    assert!(boundary.apply(&placed(1, 1, 1)));
    boundary
}

fn ports(boundary: &Boundary) -> BTreeSet<u16> {
    let routes = boundary.environments.values().flat_map(|found| found.routes.values());
    routes.flat_map(|route| route.ports.iter().copied()).collect()
}

#[test]
fn workloads_of_its_environments_are_known_on_every_node_until_they_are_released() {
    let mut boundary = boundary();
    assert!(boundary.apply(&placed(2, 2, 1)));
    assert!(!boundary.apply(&placed(2, 2, 1)), "twice is once");
    assert!(!boundary.apply(&placed(3, 2, 9)), "another environment");
    assert!(boundary.apply(&withdrawn(2, 2, 1)));
    let workloads = |boundary: &Boundary| boundary.environments[&environment(1)].workloads.clone();
    let withdrawn = |it: &BoundaryWorkload| it.withdrawn && it.address == address(2, 2);
    assert!(workloads(&boundary).values().any(withdrawn));
    assert!(boundary.apply(&released(2, 2, 1)));
    assert_eq!(workloads(&boundary).len(), 1);
    assert!(boundary.apply(&released(1, 1, 1)));
    assert!(boundary.environments.is_empty(), "nothing of it runs here any more");
}

#[test]
fn an_environment_that_comes_later_is_missing_until_a_snapshot_tells_of_it() {
    let mut boundary = boundary();
    assert!(boundary.apply(&placed(5, 1, 7)));
    assert_eq!(boundary.missing, BTreeSet::from([environment(7)]));
    assert!(!boundary.apply(&placed(5, 1, 7)));
}

#[test]
fn the_ports_of_routes_follow_their_creation_change_move_and_end() {
    let mut boundary = boundary();
    let checked = HealthSource::Tcp { port: Some(9000) };
    assert!(boundary.apply(&event(10, EventBody::RouteCreated(route(1, 8443, checked)))));
    assert_eq!(ports(&boundary), BTreeSet::from([8443, 9000]));
    assert!(boundary.apply(&changed(10, Some(1), 8444)));
    assert!(!boundary.apply(&changed(10, None, 8444)), "nothing new");
    assert_eq!(ports(&boundary), BTreeSet::from([8444]));
    assert!(boundary.apply(&moved(10, 1, route(2, 8444, HealthSource::None))));
    assert_eq!(ports(&boundary), BTreeSet::new(), "it went to an environment of others");
    assert!(boundary.apply(&moved(11, 2, route(1, 8445, HealthSource::None))));
    let deleted = RouteDeleted {
        org_id: OrgId(Uuid::nil()),
        environment_id: environment(1),
        network_id: NETWORK,
    };
    let deleted = event(11, EventBody::RouteDeleted(deleted));
    assert!(boundary.apply(&deleted) && !boundary.apply(&deleted));
    assert_eq!(ports(&boundary), BTreeSet::new());
}
