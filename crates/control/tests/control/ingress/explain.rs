use sextant_api::{client::ExplainQuery, resource::route::ListenerKind};
use sextant_model::NodeRole;

use super::{Ingress, code, pattern, raw, tls};

fn ask(host: Option<&str>, port: u16) -> ExplainQuery {
    ExplainQuery { host: host.map(str::to_owned), port: Some(port), from: None }
}

#[tokio::test]
async fn a_connection_is_explained_as_an_edge_would_decide() {
    let ingress = Ingress::new().await;
    let org = ingress.org("acme").await;
    let environment = ingress.environment(org, "web").await;
    let admin = &ingress.admin;
    let nothing = admin.explain_route(&ask(Some("a.test"), 443)).await.expect("explained");
    assert_eq!((nothing.listener, nothing.route), (None, None));
    assert_eq!(nothing.reason, "no route listens on port 443: nobody answers there");

    let exact = admin.create_route(environment.id, &tls("a.test.example"), None).await;
    let exact = exact.expect("route").value;
    let wild = admin.create_route(environment.id, &tls("*.test.example"), None).await;
    let wild = wild.expect("route").value;
    let by_host =
        super::NewRoute { match_host: true, hostname: Some(pattern("a.test.example")), ..raw(80) };
    let plain = admin.create_route(environment.id, &by_host, None).await.expect("route").value;
    for (host, port, listener, route, says) in [
        (
            Some("A.test.example."),
            443,
            ListenerKind::Tls,
            Some(exact.id),
            "\"a.test.example\" has a route: it goes to \"web\" of environment \"acme/web/web\"; 1 of its 1 workloads are healthy",
        ),
        (
            Some("b.test.example"),
            443,
            ListenerKind::Tls,
            Some(wild.id),
            "\"b.test.example\" is covered by \"*.test.example\"",
        ),
        (
            Some("a.b.test.example"),
            443,
            ListenerKind::Tls,
            None,
            "no route on port 443 has the name \"a.b.test.example\": it is refused",
        ),
        (
            None,
            443,
            ListenerKind::Tls,
            None,
            "without a name it is refused, because more than one route is on port 443",
        ),
        (Some("a.test.example"), 80, ListenerKind::Http, Some(plain.id), "Host of the first"),
        (None, 80, ListenerKind::Http, Some(plain.id), "is the only route there"),
    ] {
        let found = admin.explain_route(&ask(host, port)).await.expect("explained");
        assert_eq!(found.listener, Some(listener), "{host:?} {port}");
        assert_eq!(found.route.map(|route| route.id), route, "{host:?} {port}: {}", found.reason);
        assert!(found.reason.contains(says), "{host:?} {port}: {}", found.reason);
    }
    for (host, text) in [("192.0.2.1", "is an IP address"), ("a..b", "label")] {
        let (code, detail) = super::refused(admin.explain_route(&ask(Some(host), 443)).await);
        assert_eq!(code, "request-invalid");
        assert!(detail.contains(text), "{detail}");
    }
}

#[tokio::test]
async fn an_explanation_says_which_edges_serve_it_and_tells_an_org_of_its_own_only() {
    let ingress = Ingress::new().await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let environment = ingress.environment(org, "web").await;
    ingress.node(NodeRole::Edge).await;
    let admin = &ingress.admin;
    let route =
        admin.create_route(environment.id, &tls("a.test"), None).await.expect("route").value;
    let query = ExplainQuery { from: "2001:db8::1".parse().ok(), ..ask(Some("a.test"), 443) };
    let found = admin.explain_route(&query).await.expect("explained");
    assert_eq!(found.from, query.from);
    assert_eq!(found.edges.len(), 1);
    assert!(!found.edges[0].in_sync, "it has never reported");
    let owner = ingress.org_admin(org).await;
    let found = owner.explain_route(&query).await.expect("explained");
    assert_eq!(found.route.expect("its own").id, route.id);
    assert_eq!(found.edges, [], "edges are the platform's");
    let stranger = ingress.org_admin(other).await;
    let found = stranger.explain_route(&query).await.expect("explained");
    assert_eq!((found.route, found.listener), (None, None));
    assert!(found.reason.contains("no route listens on port 443 in a network of this org"));
    ingress.environment(other, "web").await;
    let named = stranger.explain_route(&query).await.expect("explained");
    let nobodys = stranger.explain_route(&ask(Some("b.test"), 443)).await.expect("explained");
    for (found, name) in [(named, "a.test"), (nobodys, "b.test")] {
        assert_eq!((found.route, found.listener), (None, Some(ListenerKind::Tls)));
        let says = format!("no route of this org on port 443 has the name \"{name}\"");
        assert!(found.reason.contains(&says), "{}", found.reason);
    }
    let found = stranger.explain_route(&ask(None, 443)).await.expect("explained");
    assert!(found.route.is_none() && found.reason.contains("another org's"), "{}", found.reason);
    assert_eq!(code(admin.explain_route(&ask(None, 0)).await), "request-invalid");
}

#[tokio::test]
async fn routes_of_others_on_the_port_count_although_an_org_is_not_told_of_them() {
    let ingress = Ingress::new().await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let (mine, theirs) =
        (ingress.environment(org, "a").await, ingress.environment(other, "b").await);
    let client = ingress.org_admin(org).await;
    let route = client.create_route(mine.id, &tls("a.test"), None).await.expect("route").value;
    let without_name = ask(None, 443);
    let found = client.explain_route(&without_name).await.expect("explained");
    assert_eq!(found.route.map(|route| route.id), Some(route.id), "the only one on the port");
    ingress.admin.create_route(theirs.id, &tls("b.test"), None).await.expect("route");
    let found = client.explain_route(&without_name).await.expect("explained");
    assert_eq!(found.route, None, "edges serve the other one too");
    assert!(found.reason.contains("more than one route is on port 443"), "{}", found.reason);
    let found = client.explain_route(&ask(Some("a.test"), 443)).await.expect("explained");
    assert_eq!(found.route.map(|found| found.id), Some(route.id));
}

#[tokio::test]
async fn each_network_has_edges_of_its_own_and_its_own_answer() {
    let ingress = Ingress::new().await;
    let org = ingress.org("acme").await;
    let here = ingress.environment(org, "here").await;
    let there = ingress.environment_in_another_network(org, "there").await;
    let admin = &ingress.admin;
    let first = admin.create_route(here.id, &tls("a.test"), None).await.expect("route").value;
    let second = admin.create_route(there.id, &tls("b.test"), None).await.expect("route").value;
    let found = admin.explain_route(&ask(None, 443)).await.expect("explained");
    assert_eq!(found.route.map(|route| route.id), Some(first.id), "one route on either's port");
    for says in ["in network \"mesh\"", "in network \"there\"", "\"b.test\" is the only route"] {
        assert!(found.reason.contains(says), "{says}: {}", found.reason);
    }
    let found = admin.explain_route(&ask(Some("b.test"), 443)).await.expect("explained");
    assert_eq!(found.route.map(|route| route.id), Some(second.id));
    // A raw port here does not keep the other network from it.
    super::set_ports(admin, &["5000"], &[]).await;
    admin.create_route(here.id, &raw(5000), None).await.expect("route");
    admin.create_route(there.id, &raw(5000), None).await.expect("the same port elsewhere");
    assert_eq!(code(admin.create_route(here.id, &raw(5000), None).await), "port-taken");
}
