use sextant_api::resource::port::{NewPortGrant, NewPortPolicy};
use sextant_model::port::PortRange;

use super::{Ingress, code, hostname, raw, refused, set_ports, tls};

fn ranges(texts: &[&str]) -> Vec<PortRange> {
    texts.iter().map(|text| text.parse().expect("range")).collect()
}

fn grant(port: u16) -> NewPortGrant {
    NewPortGrant { port, reason: " partners connect here ".into() }
}

#[tokio::test]
async fn a_port_is_granted_by_an_operator_used_and_revoked_when_unused() {
    let ingress = Ingress::new().await;
    let org = ingress.org("acme").await;
    let environment = ingress.environment(org, "db").await;
    let (admin, client) = (&ingress.admin, ingress.org_admin(org).await);
    assert_eq!(code(client.grant_port(environment.id, &grant(5432), None).await), "forbidden");
    assert_eq!(
        code(client.create_route(environment.id, &raw(5432), None).await),
        "port-not-granted"
    );
    let granted = admin.grant_port(environment.id, &grant(5432), None).await.expect("granted");
    assert_eq!(granted.reason, "partners connect here");
    let again = admin.grant_port(environment.id, &grant(5432), None).await.expect("granted");
    assert_eq!(again, granted, "granting again changes nothing");
    assert_eq!(client.port_grants(environment.id).await.expect("own").items, [granted]);
    let route = client.create_route(environment.id, &raw(5432), None).await.expect("route").value;
    assert_eq!(code(admin.revoke_port_grant(environment.id, 5432).await), "port-grant-in-use");
    client.delete_route(route.id, None).await.expect("deleted");
    assert_eq!(code(client.revoke_port_grant(environment.id, 5432).await), "forbidden");
    admin.revoke_port_grant(environment.id, 5432).await.expect("revoked");
    assert_eq!(code(admin.revoke_port_grant(environment.id, 5432).await), "port-grant-unknown");
    let history = ingress.history(environment.id.0).await;
    assert_eq!(history, ["environment-created", "port-granted", "port-grant-revoked"]);
}

#[tokio::test]
async fn the_policy_opens_and_denies_and_names_the_routes_it_leaves_behind() {
    let ingress = Ingress::new().await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let environment = ingress.environment(org, "db").await;
    let (admin, client) = (&ingress.admin, ingress.org_admin(org).await);
    let default = admin.port_policy().await.expect("policy");
    assert_eq!((default.value.deny, default.value.version), (ranges(&["25"]), 0));
    let open = NewPortPolicy { allow: ranges(&["5000-5999"]), deny: ranges(&["25"]) };
    assert_eq!(code(client.set_port_policy(&open, None).await), "forbidden");
    let set = admin.set_port_policy(&open, default.etag.as_deref()).await.expect("set");
    assert_eq!((set.value.version, set.etag.as_deref()), (1, Some("\"1\"")));
    assert_eq!(
        code(admin.set_port_policy(&open, default.etag.as_deref()).await),
        "version-mismatch"
    );
    let route = client.create_route(environment.id, &raw(5432), None).await.expect("open").value;
    assert_eq!(code(admin.set_port_policy(&open, None).await), "if-match-required");
    let set = set_ports(admin, &[], &["25"]).await;
    assert_eq!(set.out_of_policy.len(), 1);
    assert_eq!(set.out_of_policy[0].route_id, route.id);
    admin.route(route.id).await.expect("it stays");
    let seen = client.port_policy().await.expect("policy").value;
    assert_eq!(seen.out_of_policy.len(), 1, "its own route");
    let stranger = ingress.org_admin(other).await;
    let seen = stranger.port_policy().await.expect("policy").value;
    assert_eq!(seen.out_of_policy, [], "nothing of others");
    admin.grant_port(environment.id, &grant(5432), None).await.expect("granted");
    assert_eq!(admin.port_policy().await.expect("policy").value.out_of_policy, []);
    let set = set_ports(admin, &[], &["5432", "443"]).await;
    assert_eq!(set.out_of_policy.len(), 1, "a denied port is denied to grants too");
    assert_eq!(
        code(client.create_route(environment.id, &tls("a.example.com"), None).await),
        "port-denied"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_port_has_one_raw_route_or_any_number_of_names() {
    let ingress = Ingress::new().await;
    let (one, two) = (ingress.org("a").await, ingress.org("b").await);
    let (first, second) =
        (ingress.environment(one, "a").await, ingress.environment(two, "b").await);
    let admin = &ingress.admin;
    set_ports(admin, &["5000-5999"], &[]).await;
    let mut won = 0;
    let attempts: Vec<_> = [first.id, second.id]
        .into_iter()
        .cycle()
        .take(6)
        .map(|id| {
            let client = admin.clone();
            tokio::spawn(async move { client.create_route(id, &raw(5000), None).await.map(drop) })
        })
        .collect();
    for attempt in attempts {
        match attempt.await.expect("task") {
            Ok(()) => won += 1,
            Err(error) => assert_eq!(error.code(), "port-taken", "{error}"),
        }
    }
    assert_eq!(won, 1);
    // A name on a raw port, and a raw route on a port of names.
    let named = |name: &str, port| super::NewRoute { listen_port: port, ..tls(name) };
    assert_eq!(
        code(admin.create_route(first.id, &named("a.test", 5000), None).await),
        "port-taken"
    );
    admin.create_route(first.id, &named("a.test", 5001), None).await.expect("first name");
    admin.create_route(second.id, &named("b.test", 5001), None).await.expect("second name");
    let client = ingress.org_admin(two).await;
    let (code_, text) = refused(client.create_route(second.id, &raw(5001), None).await);
    assert_eq!(code_, "port-taken");
    assert!(text.contains("listen_port 5001 is taken by"), "{text}");
    // The same name on two ports is two routes.
    admin.create_route(first.id, &named("a.test", 443), None).await.expect("another port");
    assert_eq!(
        code(admin.create_route(first.id, &named("a.test", 443), None).await),
        "route-exists"
    );
    // A raw route's name is for DNS, but must be its own.
    admin.claim_hostname(first.id, &hostname("db.test"), None).await.expect("claimed");
    let dns_only = super::NewRoute { hostname: Some(super::pattern("db.test")), ..raw(5002) };
    assert_eq!(code(admin.create_route(second.id, &dns_only, None).await), "hostname-taken");
    admin.create_route(first.id, &dns_only, None).await.expect("its own");
}
