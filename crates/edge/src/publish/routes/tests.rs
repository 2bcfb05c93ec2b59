use sextant_model::{
    HostPattern,
    routing::{HealthSource, Matching},
};

use super::*;
use crate::balance::Health;

fn route(key: &str, listen: &str, name: &str, backends: &[&str]) -> ServedRoute {
    let matching = match name {
        "" => Matching::Whole,
        name => Matching::Sni(HostPattern::new(name).expect("name")),
    };
    ServedRoute {
        environment_id: None,
        key: RouteKey(key.into()),
        listen: listen.parse().expect("address"),
        matching,
        backends: backends.iter().map(|text| text.parse().expect("backend")).collect(),
        proxy_protocol: false,
        health_source: HealthSource::Tcp { port: None },
        max_connections: None,
    }
}

fn put(routes: &mut Routes, put: Vec<ServedRoute>) -> Applied {
    routes.apply(Change { put, remove: Vec::new() })
}

fn remove(routes: &mut Routes, key: &str) -> Applied {
    routes.apply(Change { put: Vec::new(), remove: vec![RouteKey(key.into())] })
}

fn found(routes: &Routes, listen: &str, name: &str) -> Option<String> {
    let table = routes.table();
    let listener = table.listener(listen.parse().expect("address"))?;
    Some(listener.by_name(name).ok()?.served().key.to_string())
}

#[test]
fn a_change_keeps_what_is_known_of_a_route_and_its_backends() {
    let mut routes = Routes::default();
    let applied = put(&mut routes, vec![route("a", "[::]:443", "a.example", &["[::1]:1"])]);
    assert!(applied.listens);
    assert!(matches!(&applied.watch[..], [Watch::Begin { .. }]));
    let before = routes.served()[&RouteKey("a".into())].clone();
    let lease = before.enter().expect("entered");

    let changed = route("a", "[::]:443", "a.example", &["[::1]:1", "[::1]:2"]);
    let applied = put(&mut routes, vec![changed.clone()]);
    assert!(!applied.listens && applied.removed.is_empty());
    assert_eq!(applied.watch.len(), 1, "{:?}", applied.watch);
    let after = routes.served()[&RouteKey("a".into())].clone();
    assert_eq!(after.connections(), 1);
    assert!(Arc::ptr_eq(&before.backends()[0], &after.backends()[0]));

    put(&mut routes, vec![changed]);
    assert!(Arc::ptr_eq(&after, &routes.served()[&RouteKey("a".into())]), "nothing changed");
    let applied = remove(&mut routes, "a");
    assert_eq!((applied.removed.len(), applied.watch.len()), (1, 2));
    assert!(applied.listens && routes.table().is_empty());
    drop(lease);
}

#[test]
fn a_route_that_moves_keeps_what_is_known_of_its_backends() {
    let mut routes = Routes::default();
    let at = |listen, name| route("a", listen, name, &["[::1]:1", "[::1]:2"]);
    put(&mut routes, vec![at("[::]:443", "a.example")]);
    let backends = |routes: &Routes| routes.served()[&RouteKey("a".into())].backends().clone();
    let before = backends(&routes);
    before[0].set_health(Health::Down);
    for (listen, name) in [("[::]:443", "b.example"), ("[::]:8443", "b.example")] {
        let applied = put(&mut routes, vec![at(listen, name)]);
        assert!(applied.watch.is_empty(), "its checks go on: {:?}", applied.watch);
        assert!(std::iter::zip(&*before, &*backends(&routes)).all(|(a, b)| Arc::ptr_eq(a, b)));
    }
    let applied = put(&mut routes, vec![route("a", "[::]:443", "a.example", &["[::1]:2"])]);
    assert!(matches!(&applied.watch[..], [Watch::End { .. }]), "{:?}", applied.watch);
    assert!(matches!(&remove(&mut routes, "a").watch[..], [Watch::End { .. }]));
}

#[test]
fn routes_may_exchange_their_names_in_one_change() {
    let mut routes = Routes::default();
    let at = |key, name| route(key, "[::]:443", name, &["[::1]:1"]);
    put(&mut routes, vec![at("a", "a.example"), at("b", "b.example")]);
    let applied = put(&mut routes, vec![at("a", "b.example"), at("b", "a.example")]);
    assert!(applied.refused.is_empty() && applied.removed.is_empty(), "{applied:?}");
    assert_eq!(found(&routes, "[::]:443", "a.example").as_deref(), Some("b"));
    assert_eq!(found(&routes, "[::]:443", "b.example").as_deref(), Some("a"));
}

#[test]
fn a_conflicting_record_is_set_aside_and_served_once_it_can_be() {
    let mut routes = Routes::default();
    let a = route("a", "[::]:443", "a.example", &["[::1]:1"]);
    let b = route("b", "[::]:443", "a.example", &["[::1]:2"]);
    let c = route("c", "[::]:80", "", &["[::1]:3"]);
    let applied = put(&mut routes, vec![a, b, c]);
    assert_eq!(applied.refused, [RouteKey("b".into())]);
    assert_eq!(routes.table().len(), 2);
    assert_eq!(routes.keys().count(), 3);
    let applied = remove(&mut routes, "c");
    assert_eq!(applied.refused, [], "it has been reported before");
    let applied = remove(&mut routes, "a");
    assert!(applied.refused.is_empty() && routes.refused().is_empty());
    assert_eq!(found(&routes, "[::]:443", "a.example").as_deref(), Some("b"));
}

#[test]
fn a_route_that_moves_where_it_cannot_be_is_served_nowhere() {
    let mut routes = Routes::default();
    let at = |key, listen| route(key, listen, "", &["[::1]:1"]);
    put(&mut routes, vec![at("a", "[::]:1"), at("b", "[::]:2")]);
    let applied = put(&mut routes, vec![at("b", "[::]:1")]);
    assert_eq!(applied.removed.len(), 1);
    assert_eq!(routes.listens(), ["[::]:1".parse().expect("address")].into());
    let applied = put(&mut routes, vec![at("b", "[::]:2")]);
    assert!(applied.refused.is_empty() && routes.refused().is_empty());
    assert_eq!(routes.table().len(), 2);
}

#[test]
fn the_difference_of_two_sets_is_a_change() {
    let mut routes = Routes::default();
    let at = |key, listen| route(key, listen, "", &["[::1]:1"]);
    put(&mut routes, vec![at("a", "[::]:1"), at("b", "[::]:2")]);
    let change = Change::between(routes.keys(), vec![at("b", "[::]:2"), at("c", "[::]:3")]);
    assert_eq!(change.remove, [RouteKey("a".into())]);
    routes.apply(change);
    let keys: Vec<String> = routes.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["b", "c"]);
}

#[test]
fn a_change_among_many_costs_no_more_than_among_few() {
    let cost = |count: usize| {
        let mut routes = Routes::default();
        let name = |index: usize| format!("h{index}.example.com");
        let at = |index: usize, backend: &str| {
            route(&index.to_string(), "[::]:443", &name(index), &[backend])
        };
        put(&mut routes, (0..count).map(|index| at(index, "[::1]:1")).collect());
        let began = std::time::Instant::now();
        for index in 0..200 {
            put(&mut routes, vec![at(index % count, ["[::1]:2", "[::1]:3"][index / count % 2])]);
        }
        began.elapsed()
    };
    let (few, many) = (cost(100), cost(20_000));
    assert!(many < few * 20, "{many:?} among 20,000, {few:?} among 100");
}
