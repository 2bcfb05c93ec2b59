use sextant_api::{
    client::{PageQuery, RouteQuery, WorkloadQuery},
    resource::hostname::{HostnameMove, HostnameState},
};

use super::{Ingress, code, hostname, pattern, raw, refused, tls};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_environments_exactly_one_gets_a_hostname() {
    let ingress = Ingress::new().await;
    let mut environments = vec![];
    for name in ["a", "b", "c", "d", "e", "f"] {
        let org = ingress.org(name).await;
        environments.push(ingress.environment(org, name).await);
    }
    let attempts: Vec<_> = environments
        .iter()
        .map(|environment| {
            let (client, id) = (ingress.admin.clone(), environment.id);
            tokio::spawn(async move {
                client.create_route(id, &tls("one.example.com"), None).await.map(drop)
            })
        })
        .collect();
    let mut won = 0;
    for attempt in attempts {
        match attempt.await.expect("task") {
            Ok(()) => won += 1,
            Err(error) => assert_eq!(error.code(), "hostname-taken", "{error}"),
        }
    }
    assert_eq!(won, 1);
    let listed = ingress.admin.routes(&RouteQuery::default()).await.expect("routes");
    assert_eq!(listed.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wildcard_and_a_name_it_covers_never_belong_to_two_orgs() {
    let ingress = Ingress::new().await;
    let (first, second) = (ingress.org("a").await, ingress.org("b").await);
    let (one, two) =
        (ingress.environment(first, "one").await, ingress.environment(second, "two").await);
    for round in 0..8 {
        let claim = |environment: sextant_model::EnvironmentId, name: String| {
            let client = ingress.admin.clone();
            tokio::spawn(
                async move { client.claim_hostname(environment, &hostname(&name), None).await },
            )
        };
        let wildcard = claim(one.id, format!("*.r{round}.example.com"));
        let exact = claim(two.id, format!("www.r{round}.example.com"));
        let outcomes = [wildcard.await.expect("task"), exact.await.expect("task")];
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "{outcomes:?}");
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(error.code(), "hostname-taken", "{error}");
            assert!(error.to_string().contains("overlaps a hostname of another org"), "{error}");
        }
    }
    // Within an org both may stand, also in two environments.
    let three = ingress.environment(first, "three").await;
    let admin = &ingress.admin;
    admin.claim_hostname(one.id, &hostname("*.own.example.com"), None).await.expect("wildcard");
    admin.claim_hostname(three.id, &hostname("www.own.example.com"), None).await.expect("exact");
    // A wildcard does not cover what lies deeper, nor its own domain.
    admin.claim_hostname(two.id, &hostname("a.b.own.example.com"), None).await.expect("deeper");
    admin.claim_hostname(two.id, &hostname("own.example.com"), None).await.expect("the domain");
}

#[tokio::test]
async fn a_hostname_moves_with_its_routes_and_events_on_both_sides() {
    let ingress = Ingress::new().await;
    let org = ingress.org("acme").await;
    let (blue, green) =
        (ingress.environment(org, "blue").await, ingress.empty_environment(org, "green").await);
    let admin = &ingress.admin;
    let route = admin.create_route(blue.id, &tls("shop.example.com"), None).await.expect("route");
    let by_host = super::NewRoute {
        match_host: true,
        hostname: Some(pattern("shop.example.com")),
        ..raw(80)
    };
    let plain = admin.create_route(blue.id, &by_host, None).await.expect("route on 80").value;
    let other = admin.create_route(blue.id, &tls("other.example.com"), None).await.expect("other");
    let name = pattern("shop.example.com");
    let to = HostnameMove { to_environment_id: green.id };

    let before = ingress.events().await;
    let (code_, text) = refused(admin.move_hostname(blue.id, &name, &to, None).await);
    assert_eq!(code_, "process-type-unknown", "green runs nothing yet");
    assert!(text.contains("it has none yet"), "{text}");
    assert_eq!(ingress.events().await, before);

    ingress.workload(green.id, "web").await;
    let moved = admin.move_hostname(blue.id, &name, &to, Some("key")).await.expect("moved");
    assert_eq!(moved.hostname.environment_id, green.id);
    assert_eq!(moved.routes, [route.value.id, plain.id]);
    let again = admin.move_hostname(blue.id, &name, &to, Some("key")).await.expect("repeated");
    assert_eq!(again, moved);

    let there = admin.route(route.value.id).await.expect("read").value;
    assert_eq!((there.environment_id, there.environment), (green.id, green.path()));
    assert_eq!(there.version, 2);
    let stayed = admin.route(other.value.id).await.expect("read").value;
    assert_eq!(stayed.environment_id, blue.id);
    assert_eq!(ingress.history(route.value.id.0).await, ["route-created", "route-moved"]);
    let blue_history = ingress.history(blue.id.0).await;
    assert_eq!(blue_history.last().expect("events"), "hostname-surrendered");
    let green_history = ingress.history(green.id.0).await;
    assert_eq!(green_history.last().expect("events"), "hostname-acquired");

    assert_eq!(code(admin.release_hostname(blue.id, &name).await), "hostname-unclaimed");
    assert_eq!(code(admin.release_hostname(green.id, &name).await), "hostname-in-use");
    assert_eq!(code(admin.delete_environment(green.id, None).await), "environment-in-use");
}

#[tokio::test]
async fn an_org_moves_hostnames_within_itself_only() {
    let ingress = Ingress::new().await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let (mine, also_mine) =
        (ingress.environment(org, "a").await, ingress.environment(org, "b").await);
    let theirs = ingress.environment(other, "c").await;
    let client = ingress.org_admin(org).await;
    client.create_route(mine.id, &tls("shop.example.com"), None).await.expect("route");
    let name = pattern("shop.example.com");
    let to = |id| HostnameMove { to_environment_id: id };
    assert_eq!(code(client.move_hostname(mine.id, &name, &to(theirs.id), None).await), "not-found");
    client.move_hostname(mine.id, &name, &to(also_mine.id), None).await.expect("within");
    // An operator of the platform may.
    let moved = ingress.admin.move_hostname(also_mine.id, &name, &to(theirs.id), None).await;
    moved.expect("across");
    // Now it is foreign, and nobody is told whose.
    let (code, text) = refused(client.create_route(mine.id, &tls("shop.example.com"), None).await);
    assert_eq!(code, "hostname-taken");
    assert!(text.contains("taken by another org") && !text.contains("other/"), "{text}");
    let overlapping = hostname("*.example.com");
    let (_, text) = refused(client.claim_hostname(mine.id, &overlapping, None).await);
    assert!(text.contains("overlaps") && !text.contains("other/"), "{text}");
}

#[tokio::test]
async fn the_platforms_own_domain_is_not_given_to_a_tenant_as_a_whole() {
    let ingress = Ingress::with(|hostnames| {
        hostnames.platform_domain = "apps.test".parse().ok();
    })
    .await;
    let org = ingress.org("acme").await;
    let environment = ingress.environment(org, "web").await;
    let client = ingress.org_admin(org).await;
    for name in ["apps.test", "*.apps.test", "*.test"] {
        let claimed = client.claim_hostname(environment.id, &hostname(name), None).await;
        assert_eq!(code(claimed), "hostname-reserved", "{name}");
        let routed = client.create_route(environment.id, &tls(name), None).await;
        assert_eq!(code(routed), "hostname-reserved", "{name}");
    }
    for name in ["web.apps.test", "*.web.apps.test", "a.b.c.apps.test"] {
        let claimed = client.claim_hostname(environment.id, &hostname(name), None).await;
        assert_eq!(claimed.expect(name).state, HostnameState::Owned);
    }
    let page = client.hostnames(environment.id, &PageQuery { after: None, limit: Some(2) }).await;
    let page = page.expect("page");
    assert_eq!(page.items.len(), 2);
    let rest = PageQuery { after: page.next_after, limit: Some(2) };
    let rest = client.hostnames(environment.id, &rest).await.expect("page");
    assert_eq!((rest.items.len(), rest.next_after), (1, None));
    let whole = ingress.admin.claim_hostname(environment.id, &hostname("*.apps.test"), None).await;
    whole.expect("an operator of the platform may");
}

#[tokio::test]
async fn below_the_platforms_domain_nobody_stands_under_or_above_another_tenants_name() {
    let ingress = Ingress::with(|hostnames| {
        hostnames.platform_domain = "apps.test".parse().ok();
    })
    .await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let (one, two) =
        (ingress.empty_environment(org, "one").await, ingress.empty_environment(org, "two").await);
    let theirs = ingress.environment(other, "theirs").await;
    let (client, stranger) = (ingress.org_admin(org).await, ingress.org_admin(other).await);
    client.claim_hostname(one.id, &hostname("shop.apps.test"), None).await.expect("free");
    client.claim_hostname(two.id, &hostname("a.b.deep.apps.test"), None).await.expect("free");
    for name in [
        "login.shop.apps.test",
        "*.shop.apps.test",
        "a.b.shop.apps.test",
        "deep.apps.test",
        "b.deep.apps.test",
    ] {
        let (code, text) = refused(stranger.claim_hostname(theirs.id, &hostname(name), None).await);
        assert_eq!(code, "hostname-taken", "{name}");
        assert!(text.contains("another org"), "{text}");
        let (code, _) = refused(stranger.create_route(theirs.id, &tls(name), None).await);
        assert_eq!(code, "hostname-taken", "{name}");
        client.claim_hostname(two.id, &hostname(name), None).await.expect("its own site");
    }
    stranger.claim_hostname(theirs.id, &hostname("other.apps.test"), None).await.expect("free");
    // What lies elsewhere is proved, and belongs to whoever proves it.
    let pending = stranger.claim_hostname(theirs.id, &hostname("login.a.test"), None).await;
    assert_eq!(pending.expect("claimed").state, HostnameState::Pending);
}

#[tokio::test]
async fn neighbours_go_to_another_org_together() {
    let ingress = Ingress::new().await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let (one, two) = (ingress.environment(org, "a").await, ingress.environment(org, "b").await);
    let theirs = ingress.environment(other, "c").await;
    let admin = &ingress.admin;
    let wild = admin.create_route(one.id, &tls("*.shop.test"), None).await.expect("route").value;
    let exact = admin.create_route(one.id, &tls("www.shop.test"), None).await.expect("route").value;
    admin.claim_hostname(one.id, &hostname("shop.test"), None).await.expect("no neighbour");
    admin.claim_hostname(two.id, &hostname("api.shop.test"), None).await.expect("elsewhere");
    let to = |id| HostnameMove { to_environment_id: id };
    let (www, api) = (pattern("www.shop.test"), pattern("api.shop.test"));

    let before = ingress.events().await;
    let (code, text) = refused(admin.move_hostname(one.id, &www, &to(theirs.id), None).await);
    assert_eq!(code, "hostname-taken");
    assert!(text.contains("move those to the same environment first"), "{text}");
    assert_eq!(ingress.events().await, before);

    // The remedy. Within an org each goes alone.
    let within = admin.move_hostname(two.id, &api, &to(one.id), None).await.expect("within");
    assert_eq!(within.along, []);
    let moved = admin.move_hostname(one.id, &www, &to(theirs.id), None).await.expect("across");
    assert_eq!(moved.hostname.hostname, www);
    assert_eq!(moved.along, [pattern("api.shop.test"), pattern("*.shop.test")]);
    assert_eq!(moved.routes.len(), 2);
    for route in [wild, exact] {
        assert!(moved.routes.contains(&route.id));
        let there = admin.route(route.id).await.expect("read").value;
        assert_eq!((there.environment_id, there.org_id), (theirs.id, other));
    }
    let page = admin.hostnames(one.id, &PageQuery::default()).await.expect("hostnames");
    let left: Vec<_> = page.items.iter().map(|item| item.hostname.to_string()).collect();
    assert_eq!(left, ["shop.test"]);
    admin.move_hostname(theirs.id, &www, &to(two.id), None).await.expect("and back");
}

#[tokio::test]
async fn a_released_hostname_is_free_for_others() {
    let ingress = Ingress::new().await;
    let (one, two) = (ingress.org("a").await, ingress.org("b").await);
    let (first, second) =
        (ingress.environment(one, "a").await, ingress.environment(two, "b").await);
    let admin = &ingress.admin;
    let claimed = admin.claim_hostname(first.id, &hostname("x.example.com"), None).await;
    let claimed = claimed.expect("claimed");
    let again = admin.claim_hostname(first.id, &hostname("X.example.com."), None).await;
    assert_eq!(again.expect("the same"), claimed, "claiming again changes nothing");
    let (code, text) =
        refused(admin.claim_hostname(second.id, &hostname("x.example.com"), None).await);
    assert_eq!(code, "hostname-taken");
    assert!(text.contains("belongs to environment \"a/a/a\""), "{text}");
    admin.release_hostname(first.id, &pattern("x.example.com")).await.expect("released");
    admin.create_route(second.id, &tls("x.example.com"), None).await.expect("free");
    let deleted = ingress.environment(one, "c").await;
    admin.claim_hostname(deleted.id, &hostname("y.example.com"), None).await.expect("claimed");
    for workload in admin.workloads(&WorkloadQuery::default()).await.expect("workloads").items {
        if workload.environment_id == deleted.id {
            admin.remove_workload(workload.id, None).await.expect("removed");
        }
    }
    admin.delete_environment(deleted.id, None).await.expect("deleted");
    admin.claim_hostname(second.id, &hostname("y.example.com"), None).await.expect("free too");
    let history = ingress.history(deleted.id.0).await;
    assert_eq!(history[2..], ["hostname-released", "environment-deleted"]);
}
