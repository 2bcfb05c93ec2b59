use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    aggregate::node::tests::enrolled,
    boundary::{
        EnvironmentBoundary,
        tests::{NETWORK, address, boundary, environment, event, placed, route},
    },
    event::EventBody,
    membership::tests::{mesh, node_id},
    routing::HealthSource,
};

const EDGE: u16 = 3;

fn site() -> Site {
    Site { interface: "sextant0".into(), placement: Placement::Namespace, egress: false }
}

/// Nodes 1 and 2, edge 3, seen by node 1, where `environments` have workloads.
fn network(environments: impl IntoIterator<Item = u16>) -> Membership {
    let mut membership = mesh([1, 2, EDGE]);
    let roles = &mut membership.members.get_mut(&node_id(EDGE)).expect("edge").roles;
    *roles = vec![NodeRole::Edge];
    let mut start = boundary();
    start.environments = environments
        .into_iter()
        .map(|n| (environment(n), EnvironmentBoundary::default()))
        .collect();
    membership.boundary = Some(start);
    membership
}

fn firewall(membership: &Membership) -> Firewall {
    Firewall::new(membership, node_id(1), site()).expect("member")
}

fn own_address(n: u16) -> Ipv6Addr {
    enrolled(n).addresses.ipv6().expect("IPv6")
}

fn to(source: Ipv6Addr, destination: Ipv6Addr, port: u16) -> Opening {
    Opening { source, destination, port: Some(port) }
}

#[test]
fn only_edges_reach_the_ports_that_routes_name() {
    let mut membership = network([1]);
    membership.apply(&placed(1, 1, 1));
    let checked = route(1, 8443, HealthSource::Tcp { port: Some(9000) });
    membership.apply(&event(10, EventBody::RouteCreated(checked)));
    let (firewall, workload) = (firewall(&membership), address(1, 1));
    for (source, port, let_in) in [
        (own_address(EDGE), 8443, true),
        (own_address(EDGE), 9000, true),
        (own_address(EDGE), 22, false),
        (own_address(2), 8443, false),
        (own_address(1), 8443, false),
        ("2001:db8::1".parse().expect("address"), 8443, false),
    ] {
        assert_eq!(firewall.admits(&to(source, workload, port)), let_in, "{source} {port}");
    }
    assert!(!firewall.admits(&to(own_address(EDGE), own_address(1), 8443)), "no workload");
}

#[test]
fn an_environment_is_closed_until_it_is_known_and_open_to_edges_if_nobody_can_say() {
    let mut membership = network([]);
    membership.apply(&placed(1, 1, 1));
    let opening = to(own_address(EDGE), address(1, 1), 8443);
    assert!(!firewall(&membership).admits(&opening));
    assert!(!firewall(&membership).knows(address(1, 1)));
    membership.boundary = None;
    assert!(firewall(&membership).admits(&opening) && firewall(&membership).is_unlisted());
    let neighbour = to(address(2, 2), address(1, 1), 8443);
    assert!(!firewall(&membership).admits(&neighbour));
}

#[test]
fn a_link_has_a_name_that_the_kernel_takes() {
    let name = link_name(WorkloadId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0123_4567_89ab)));
    assert_eq!(name, "sxw0123456789ab");
    assert_eq!(name.len(), 15);
}

#[test]
fn what_the_table_has_of_environments_that_left_goes_in_the_same_transaction() {
    let mut membership = network([1]);
    membership.apply(&placed(1, 1, 1));
    let listing =
        "table inet sextant {\n\tset members_0abc {\n\t}\n\tchain environment_0abc {\n\t}\n}";
    let script = firewall(&membership).script(&Present::in_listing(listing));
    let flushed = script.find("flush table inet sextant\n").expect("flushed");
    let gone = script.find("delete chain inet sextant environment_0abc\n").expect("deleted");
    assert!(flushed < gone && script.contains("delete set inet sextant members_0abc\n"));
    let again = firewall(&membership).script(&Present::in_listing(listing));
    assert_eq!(script, again, "the same state has the same script");
    assert!(!script.contains("delete table"), "base chains stay");
}

#[derive(Clone, Debug)]
struct Placing {
    id: u16,
    node: u16,
    environment: u16,
}

fn placings() -> impl Strategy<Value = Vec<Placing>> {
    prop::collection::vec((1u16..3, 1u16..5), 1..24).prop_map(|drawn| {
        let numbered = drawn.into_iter().zip(1u16..);
        numbered.map(|((node, environment), id)| Placing { id, node, environment }).collect()
    })
}

proptest! {
    #[test]
    fn no_tenant_reaches_another_and_edges_reach_named_ports_only(
        placings in placings(),
        routes in prop::collection::vec((1u16..5, 1u16..6), 0..6),
        probes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u16..6), 1..40),
    ) {
        let mut membership = network(1..5);
        for placing in &placings {
            membership.apply(&placed(placing.id, placing.node, placing.environment));
        }
        for (n, (environment, port)) in (100u16..).zip(&routes) {
            let route = route(*environment, *port, HealthSource::None);
            membership.apply(&event(n, EventBody::RouteCreated(route)));
        }
        let firewall = firewall(&membership);
        for (from, at, port) in probes {
            let (from, at) = (from.get(&placings), at.get(&placings));
            let (source, destination) = (address(from.node, from.id), address(at.node, at.id));
            let together = from.environment == at.environment;
            let here = at.node == 1;
            prop_assert_eq!(firewall.admits(&to(source, destination, port)), together && here);
            prop_assert_eq!(firewall.releases(source, destination), together && from.node == 1);
            let named = routes.contains(&(at.environment, port));
            prop_assert_eq!(firewall.admits(&to(own_address(EDGE), destination, port)), named && here);
            prop_assert!(!firewall.admits(&to(own_address(2), destination, port)));
        }
        // The script says the same: whoever is named in it is.
        let script = firewall.script(&Present::default());
        let written: BTreeSet<(Ipv6Addr, u16)> = placings
            .iter()
            .filter(|placing| placing.node == 1)
            .flat_map(|at| routes.iter().map(move |route| (at, route)))
            .filter(|(at, (environment, _))| at.environment == *environment)
            .map(|(at, (_, port))| (address(at.node, at.id), *port))
            .collect();
        let published = script.lines().find(|line| line.contains("element inet sextant published"));
        let count = published.map_or(0, |line| line.matches(" . ").count());
        prop_assert_eq!(count, written.len());
        for (at, port) in written {
            let element = format!("{at} . {port}");
            prop_assert!(published.is_some_and(|line| line.contains(&element)));
        }
        prop_assert_eq!(script, firewall.script(&Present::default()));
    }
}

#[test]
fn the_boundary_of_a_foreign_network_changes_nothing() {
    let mut membership = network([1]);
    membership.network_id = crate::id::NetworkId(Uuid::from_u128(77));
    assert_ne!(membership.network_id, NETWORK);
    membership.apply(&placed(1, 1, 1));
    assert!(!firewall(&membership).guards_any());
}
