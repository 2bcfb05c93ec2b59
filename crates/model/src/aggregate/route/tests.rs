use super::*;
use crate::{
    aggregate::environment::tests::environment,
    id::{AppId, NetworkId},
};
use uuid::Uuid;

const PATH: &str = "acme/web/prod";

fn label(text: &str) -> DnsLabel {
    DnsLabel::new(text).expect(text)
}

fn wish(edit: impl FnOnce(&mut RouteWish)) -> RouteWish {
    let mut wish = RouteWish {
        hostname: HostPattern::new("shop.example.com").ok(),
        listen_port: 443,
        protocol_hint: ProtocolHint::TlsPassthrough,
        match_host: false,
        endpoint: Endpoint::Ipv6Only,
        ipv4_required: false,
        backend: Backend {
            process_type: label("web"),
            port: 8443,
            proxy_protocol: false,
            health_source: HealthSource::None,
        },
    };
    edit(&mut wish);
    wish
}

fn decide(wish: RouteWish) -> Result<EventBody, Refusal> {
    let (state, types) = (environment(&[], &[5432]), [label("web"), label("db")].into());
    let policy = PortPolicy { allow: vec!["9000-9099".parse().expect("range")], deny: vec![] };
    let policy = PortPolicy { deny: PortPolicy::default().deny, ..policy };
    let id = EnvironmentId(Uuid::from_u128(1));
    let target = Target { id, state: &state, path: PATH, process_types: &types, policy: &policy };
    RouteState::create(wish, &target)
}

fn raw(w: &mut RouteWish) {
    w.protocol_hint = ProtocolHint::TcpRaw;
}

type Row = (fn(&mut RouteWish), &'static str, &'static str);

/// An edit of a good wish, and the code and text of its refusal; none for what is allowed.
const TABLE: [Row; 21] = [
    (
        |w| w.hostname = None,
        "hostname-needed",
        "hostname is missing; protocol_hint \"tls_passthrough\" finds its route by name",
    ),
    (
        |w| w.protocol_hint = ProtocolHint::HttpTerminate,
        "protocol-hint-reserved",
        "protocol_hint \"http_terminate\" is reserved; use \"tls_passthrough\" or \"tcp_raw\"",
    ),
    (
        |w| w.endpoint = Endpoint::SharedIpv4Pool,
        "endpoint-reserved",
        "endpoint \"shared_ipv4_pool\" is reserved; use \"ipv6_only\"",
    ),
    (
        |w| w.endpoint = Endpoint::DedicatedIpv4,
        "ipv4-add-on-needed",
        "endpoint \"dedicated_ipv4\" needs the IPv4 add-on, which is not enabled for environment \"acme/web/prod\"; use endpoint \"ipv6_only\" and ipv4_required false",
    ),
    (
        |w| w.ipv4_required = true,
        "ipv4-add-on-needed",
        "ipv4_required true needs the IPv4 add-on, which is not enabled for environment \"acme/web/prod\"; use endpoint \"ipv6_only\" and ipv4_required false",
    ),
    (
        |w| w.match_host = true,
        "match-host-unusable",
        "match_host needs protocol_hint \"tcp_raw\", a hostname and listen_port 80; protocol_hint \"tls_passthrough\" does not fit",
    ),
    (
        |w| {
            raw(w);
            (w.match_host, w.listen_port, w.hostname) = (true, 80, None);
        },
        "match-host-unusable",
        "match_host needs protocol_hint \"tcp_raw\", a hostname and listen_port 80; a route without hostname does not fit",
    ),
    (
        |w| {
            raw(w);
            w.match_host = true;
        },
        "match-host-unusable",
        "match_host needs protocol_hint \"tcp_raw\", a hostname and listen_port 80; another listen_port does not fit",
    ),
    (|w| w.listen_port = 0, "port-invalid", "listen_port 0 is no port; give one from 1 to 65535"),
    (
        |w| w.listen_port = 25,
        "port-denied",
        "listen_port 25 is denied on this platform; use another port",
    ),
    (
        |w| w.listen_port = 8443,
        "port-not-granted",
        "listen_port 8443 is not open to this environment; use 80 or 443, or ask an operator for a port grant",
    ),
    (
        |w| w.backend.port = 0,
        "backend-port-invalid",
        "backend_port 0 is no port; give one from 1 to 65535",
    ),
    (
        |w| w.backend.process_type = label("worker"),
        "process-type-unknown",
        "backend_process_type \"worker\" does not exist in environment \"acme/web/prod\"; use one of \"db\", \"web\"",
    ),
    (
        raw,
        "port-shared",
        "listen_port 443 is shared by all environments; use protocol_hint \"tls_passthrough\" there, or use another port",
    ),
    (
        |w| {
            raw(w);
            w.listen_port = 80;
        },
        "port-shared",
        "listen_port 80 is shared by all environments; use protocol_hint \"tcp_raw\" with match_host true there, or use another port",
    ),
    (
        |w| w.listen_port = 80,
        "port-shared",
        "listen_port 80 is shared by all environments; use protocol_hint \"tcp_raw\" with match_host true there, or use another port",
    ),
    (|_| (), "", ""),
    (|w| w.listen_port = 9000, "", ""),
    (
        |w| {
            raw(w);
            w.listen_port = 5432;
        },
        "",
        "",
    ),
    (
        |w| {
            raw(w);
            (w.listen_port, w.hostname) = (5432, None);
        },
        "",
        "",
    ),
    (
        |w| {
            raw(w);
            (w.listen_port, w.match_host) = (80, true);
        },
        "",
        "",
    ),
];

#[test]
fn what_a_route_may_not_be_is_refused_by_field_and_reason() {
    for (number, (edit, code, text)) in TABLE.into_iter().enumerate() {
        match decide(wish(edit)) {
            Ok(EventBody::RouteCreated(_)) => assert_eq!(code, "", "row {number} is allowed"),
            Ok(other) => panic!("row {number}: {other:?}"),
            Err(refusal) => {
                assert_eq!(refusal.code(), code, "row {number}");
                assert_eq!(refusal.to_string(), text, "row {number}");
            }
        }
    }
}

#[test]
fn a_route_changes_moves_and_is_deleted_once() {
    let (here, types) = (environment(&[], &[]), [label("web")].into());
    let policy = PortPolicy::default();
    let target = Target {
        id: EnvironmentId(Uuid::from_u128(1)),
        state: &here,
        path: PATH,
        process_types: &types,
        policy: &policy,
    };
    let mut route = RouteState::default();
    assert!(route.delete().is_err());
    route.apply(&RouteState::create(wish(|_| ()), &target).expect("created"));
    let same = route.backend().expect("live");
    assert_eq!(route.change(same.clone(), &target), Ok(None));
    let other = Backend { port: 9443, ..same.clone() };
    route.apply(&route.change(other.clone(), &target).expect("allowed").expect("changed"));
    assert_eq!(route.backend(), Ok(other));
    let unknown = Backend { process_type: label("db"), ..same };
    assert_eq!(
        route.change(unknown, &target).expect_err("nobody answers").code(),
        "process-type-unknown"
    );
    let there = Target { id: EnvironmentId(Uuid::from_u128(2)), ..target };
    route.apply(&route.move_to(&there).expect("moved"));
    assert_eq!(route.live().expect("live").environment_id, there.id);
    route.apply(&route.delete().expect("deleted"));
    assert_eq!(route.delete(), Err(Refusal::NotFound(AggregateKind::Route)));
}

#[test]
fn a_route_moves_only_to_where_it_can_be_answered() {
    let here = environment(&[], &[5432]);
    let (types, none) = ([label("web")].into(), BTreeSet::new());
    let policy = PortPolicy::default();
    let id = EnvironmentId(Uuid::from_u128(1));
    let target = Target { id, state: &here, path: PATH, process_types: &types, policy: &policy };
    let mut route = RouteState::default();
    let on_5432 = wish(|w| {
        raw(w);
        w.listen_port = 5432;
    });
    route.apply(&RouteState::create(on_5432, &target).expect("created"));

    let ungranted = environment(&[], &[]);
    let refused = route.move_to(&Target { state: &ungranted, ..target });
    assert_eq!(refused.expect_err("no grant there").code(), "port-not-granted");

    let refused = route.move_to(&Target { process_types: &none, ..target });
    assert_eq!(refused.expect_err("nobody answers there").code(), "process-type-unknown");

    let mut far = EnvironmentState::default();
    far.apply(&EnvironmentState::create(crate::event::EnvironmentCreated {
        org_id: OrgId(Uuid::from_u128(1)),
        app_id: AppId(Uuid::from_u128(1)),
        network_id: NetworkId(Uuid::from_u128(2)),
        name: label("far"),
    }));
    let refused = route.move_to(&Target { state: &far, ..target });
    assert_eq!(refused.expect_err("another network").code(), "network-differs");
}
