use super::*;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

fn key(text: &str) -> RouteKey {
    RouteKey(Arc::from(text))
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn sni(text: &str) -> Matching {
    Matching::Sni(HostPattern::new(text).expect(text))
}

fn table(routes: &[(&str, &str, Matching)]) -> Table<String> {
    let mut table = Table::default();
    for (name, listen, matching) in routes {
        table.insert(&key(name), at(listen), matching, (*name).to_owned()).expect("no conflict");
    }
    table
}

#[test]
fn the_exact_name_wins_over_the_wildcard_and_nothing_is_guessed() {
    let table = table(&[
        ("foo", "[::]:443", sni("foo.example.com")),
        ("bar", "[::]:443", sni("*.bar.example.com")),
        ("exact", "[::]:443", sni("a.bar.example.com")),
    ]);
    let listener = table.listener(at("[2001:db8::1]:443")).expect("listener");
    for (name, route) in [
        ("foo.example.com", Ok("foo")),
        ("a.bar.example.com", Ok("exact")),
        ("b.bar.example.com", Ok("bar")),
        ("a.b.bar.example.com", Err(NoRoute::UnknownName)),
        ("bar.example.com", Err(NoRoute::UnknownName)),
        ("example.com", Err(NoRoute::UnknownName)),
    ] {
        assert_eq!(listener.by_name(name).map(String::as_str), route, "{name}");
    }
    assert_eq!(listener.without_name(), Err(NoRoute::NameNeeded));
}

#[test]
fn without_a_name_only_a_lone_route_is_reached() {
    let table = table(&[
        ("lone", "[::]:8443", sni("foo.example.com")),
        ("raw", "[::]:5432", Matching::Whole),
    ]);
    for (local, route) in [("[::1]:8443", "lone"), ("[::1]:5432", "raw")] {
        assert_eq!(table.listener(at(local)).expect(local).without_name().expect(local), route);
    }
    assert!(table.listener(at("[::1]:9")).is_none());
}

#[test]
fn a_particular_address_hides_the_general_one() {
    let table = table(&[
        ("all", "[::]:80", Matching::Whole),
        ("one", "[2001:db8::7]:80", Matching::Whole),
        ("four", "192.0.2.1:80", Matching::Whole),
    ]);
    for (local, route) in [
        ("[2001:db8::7]:80", "one"),
        ("[2001:db8::8]:80", "all"),
        ("192.0.2.1:80", "four"),
        ("[::ffff:192.0.2.1]:80", "four"),
        ("192.0.2.2:80", "all"),
    ] {
        assert_eq!(table.listener(at(local)).expect(local).without_name().expect(local), route);
    }
}

#[test]
fn a_conflict_names_the_holder_and_changes_nothing() {
    let mut table = table(&[
        ("tls", "[::]:443", sni("foo.example.com")),
        ("raw", "[::]:5432", Matching::Whole),
    ]);
    for (listen, matching, said) in [
        ("[::]:443", sni("FOO.example.com"), "hostname \"foo.example.com\" on [::]:443 is taken"),
        ("[::]:443", Matching::Whole, "told apart in another way"),
        ("[::]:5432", Matching::Whole, "is taken by route \"raw\""),
        ("[::]:5432", sni("x.example.com"), "told apart in another way"),
    ] {
        let error = table
            .insert(&key("new"), at(listen), &matching, "new".into())
            .expect_err("a conflict")
            .to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(table.len(), 2);
    let listener = table.listener(at("[::1]:443")).expect("listener");
    assert_eq!(listener.by_name("foo.example.com").expect("route"), "tls");
}

#[test]
fn a_route_that_cannot_be_replaced_stays() {
    let mut table =
        table(&[("a", "[::]:443", sni("a.example.com")), ("b", "[::]:443", sni("b.example.com"))]);
    assert!(table.insert(&key("a"), at("[::]:443"), &sni("b.example.com"), "a2".into()).is_err());
    let listener = table.listener(at("[::1]:443")).expect("listener");
    assert_eq!(listener.by_name("a.example.com").expect("still there"), "a");
}

#[test]
fn an_older_snapshot_stays_as_it_was() {
    let before = table(&[("a", "[::]:443", sni("a.example.com"))]);
    let mut after = before.clone();
    after.remove(&key("a"));
    assert!(after.is_empty());
    assert!(after.listener(at("[::1]:443")).is_none());
    assert!(before.listener(at("[::1]:443")).expect("listener").by_name("a.example.com").is_ok());
}

/// Routes as a plain list that is searched from end to end.
#[derive(Default)]
struct List(BTreeMap<RouteKey, (SocketAddr, Matching)>);

impl List {
    /// Whether a route cannot stand beside the others.
    fn refuses(&self, key: &RouteKey, listen: SocketAddr, matching: &Matching) -> bool {
        let mut others = self.0.iter().filter(|(other, place)| *other != key && place.0 == listen);
        others.any(|(_, (_, other))| {
            other.kind() != matching.kind() || other.pattern() == matching.pattern()
        })
    }

    /// The routes of what arrives at `local`: those of this address, or else those of all.
    fn at(&self, local: SocketAddr) -> Vec<(&RouteKey, &Matching)> {
        let on = |listen: SocketAddr| -> Vec<_> {
            let here = self.0.iter().filter(|(_, place)| place.0 == listen);
            here.map(|(key, (_, matching))| (key, matching)).collect()
        };
        let particular = on(local);
        let general = || on(SocketAddr::from((Ipv6Addr::UNSPECIFIED, local.port())));
        if particular.is_empty() { general() } else { particular }
    }
}

fn matching_of(kind: u8, name: u8) -> Matching {
    let names = ["a.x", "b.x", "*.x", "x", "a.y", "*.y", "*.a.x", "c.a.x"];
    let pattern = HostPattern::new(names[usize::from(name)]).expect("name");
    match kind {
        0 => Matching::Whole,
        1 => Matching::RequestHost(pattern),
        _ => Matching::Sni(pattern),
    }
}

proptest! {
    /// Above all invariant 10: who gives no name reaches a route only where it is the only one.
    #[test]
    fn the_table_is_a_faster_list(
        steps in prop::collection::vec(
            (0u8..12, 0usize..2, 0u8..2, 0u8..5, 0u8..8, prop::bool::weighted(0.7)),
            0..40,
        ),
    ) {
        let addresses: [Ipv6Addr; 2] =
            [Ipv6Addr::UNSPECIFIED, "2001:db8::7".parse().expect("address")];
        let mut table = Table::default();
        let mut list = List::default();
        for (route, address, port, kind, name, insert) in steps {
            let key = key(&route.to_string());
            let listen = SocketAddr::from((addresses[address], 443 + u16::from(port)));
            let matching = matching_of(kind, name);
            if insert {
                let refused = list.refuses(&key, listen, &matching);
                let inserted = table.insert(&key, listen, &matching, key.clone());
                prop_assert_eq!(inserted.is_err(), refused);
                if !refused {
                    list.0.insert(key, (listen, matching));
                }
            } else {
                prop_assert_eq!(table.remove(&key), list.0.remove(&key).is_some());
            }
        }
        prop_assert_eq!(table.len(), list.0.len());
        let locals = [addresses[1], Ipv6Addr::LOCALHOST];
        for local in locals.iter().flat_map(|ip| [443, 444].map(|port| SocketAddr::from((*ip, port)))) {
            let here = list.at(local);
            let listener = table.listener(local);
            prop_assert_eq!(listener.map_or(0, Listener::len), here.len());
            prop_assert_eq!(
                listener.map(Listener::kind),
                here.first().map(|(_, matching)| matching.kind())
            );
            let lone = if let [(key, _)] = here[..] { Some(key) } else { None };
            prop_assert_eq!(listener.and_then(|listener| listener.without_name().ok()), lone);
            for name in ["a.x", "d.x", "x", "a.y", "c.a.x", "d.a.x", "q"] {
                let by = |wild: bool| {
                    let mut matching = here.iter().filter(|(_, matching)| {
                        let pattern = matching.pattern();
                        pattern.is_some_and(|p| p.is_wildcard() == wild && p.matches(name))
                    });
                    matching.next().map(|(key, _)| *key)
                };
                let found = listener.and_then(|listener| listener.by_name(name).ok());
                prop_assert_eq!(found, by(false).or_else(|| by(true)), "{}", name);
            }
        }
    }
}
