use sextant_api::{
    client::{PageQuery, RouteQuery},
    resource::{
        route::RoutePatch,
        workload::{HealthReport, ReportedHealth},
    },
};
use sextant_model::{event::WorkloadHealth, routing::HealthSource};

use super::{Ingress, code, hostname, pattern, tls};
use crate::label;

#[tokio::test]
async fn a_route_is_created_read_changed_and_deleted() {
    let ingress = Ingress::new().await;
    let org = ingress.org("acme").await;
    let environment = ingress.environment(org, "web").await;
    let client = ingress.org_admin(org).await;
    let new = tls("Shop.Example.com.");
    let created = client.create_route(environment.id, &new, Some("k")).await.expect("created");
    assert_eq!(created.etag.as_deref(), Some("\"1\""));
    let route = created.value;
    assert_eq!(route.hostname, Some(pattern("shop.example.com")));
    assert_eq!(route.environment, environment.path());
    assert_eq!((route.status.backends, route.status.healthy), (1, 1));
    assert_eq!(route.status.workloads[0].health, WorkloadHealth::Healthy);
    assert_eq!(route.status.workloads[0].port, 8443);
    // What was answered can be read at once, and a repeat is the same.
    assert_eq!(client.route(route.id).await.expect("read").value, route);
    let again = client.create_route(environment.id, &new, Some("k")).await.expect("repeated");
    assert_eq!(again.value, route);

    let patch = RoutePatch {
        backend_port: Some(9443),
        proxy_protocol: Some(true),
        health_source: Some(HealthSource::Tcp { port: None }),
        ..RoutePatch::default()
    };
    let changed = client.patch_route(route.id, &patch, "\"1\"").await.expect("changed").value;
    assert_eq!((changed.backend_port, changed.proxy_protocol, changed.version), (9443, true, 2));
    assert_eq!(changed.status.workloads[0].port, 9443);
    assert_eq!(client.route(route.id).await.expect("read").value, changed);
    assert_eq!(code(client.patch_route(route.id, &patch, "\"1\"").await), "version-mismatch");
    let same = client.patch_route(route.id, &patch, "\"2\"").await.expect("no change");
    assert_eq!(same.value.version, 2, "nothing to change is no event");
    let unknown = RoutePatch { backend_process_type: Some(label("db")), ..RoutePatch::default() };
    assert_eq!(code(client.patch_route(route.id, &unknown, "\"2\"").await), "process-type-unknown");

    assert_eq!(code(client.delete_route(route.id, Some("\"1\"")).await), "version-mismatch");
    client.delete_route(route.id, Some("\"2\"")).await.expect("deleted");
    assert_eq!(code(client.route(route.id).await), "not-found");
    assert_eq!(code(client.delete_route(route.id, None).await), "not-found");
    // The name stays the environment's own.
    let owned = client.hostnames(environment.id, &PageQuery::default()).await.expect("hostnames");
    assert_eq!(owned.items.len(), 1);
    client.create_route(environment.id, &new, None).await.expect("again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_routes_of_one_environment_can_be_made_at_once() {
    let ingress = Ingress::new().await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let attempts: Vec<_> = (0..16)
        .map(|n| {
            let (client, id) = (ingress.admin.clone(), environment.id);
            let new = tls(&format!("h{n}.test"));
            tokio::spawn(async move { client.create_route(id, &new, None).await.map(drop) })
        })
        .collect();
    for attempt in attempts {
        attempt.await.expect("task").expect("none is in the way of another");
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let ingress = Ingress::new().await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let (web, shop) =
        (ingress.environment(org, "web").await, ingress.environment(other, "shop").await);
    let admin = &ingress.admin;
    for n in 0..3 {
        admin.create_route(web.id, &tls(&format!("w{n}.test")), None).await.expect("route");
    }
    admin.create_route(shop.id, &tls("shop.test"), None).await.expect("route");
    let count = async |client: &sextant_api::Client, query: RouteQuery| {
        client.routes(&query).await.expect("routes").items.len()
    };
    assert_eq!(count(admin, RouteQuery::default()).await, 4);
    let of_org = RouteQuery { org_id: Some(other), ..RouteQuery::default() };
    assert_eq!(count(admin, of_org.clone()).await, 1);
    let of_environment = RouteQuery { environment_id: Some(web.id), ..RouteQuery::default() };
    assert_eq!(count(admin, of_environment).await, 3);
    let of_name = RouteQuery { hostname: Some(pattern("w1.test")), ..RouteQuery::default() };
    assert_eq!(count(admin, of_name).await, 1);
    let page = PageQuery { after: None, limit: Some(3) };
    let first = admin.routes(&RouteQuery { page, ..RouteQuery::default() }).await.expect("page");
    let page = PageQuery { after: first.next_after, limit: Some(3) };
    let second = admin.routes(&RouteQuery { page, ..RouteQuery::default() }).await.expect("page");
    assert_eq!((first.items.len(), second.items.len(), second.next_after), (3, 1, None));
    // An org sees its own.
    let client = ingress.org_admin(org).await;
    assert_eq!(count(&client, RouteQuery::default()).await, 3);
    assert_eq!(code(client.routes(&of_org).await), "not-found");
    assert_eq!(code(client.route(second.items[0].id).await), "not-found");
}

#[tokio::test]
async fn another_org_neither_sees_nor_changes_anything() {
    let ingress = Ingress::new().await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let environment = ingress.environment(org, "web").await;
    let owner = ingress.org_admin(org).await;
    let route =
        owner.create_route(environment.id, &tls("a.test"), None).await.expect("route").value;
    let stranger = ingress.org_admin(other).await;
    let (id, name) = (environment.id, pattern("a.test"));
    let patch = RoutePatch::default();
    for answer in [
        stranger.create_route(id, &tls("b.test"), None).await.map(drop),
        stranger.route(route.id).await.map(drop),
        stranger.patch_route(route.id, &patch, "\"1\"").await.map(drop),
        stranger.delete_route(route.id, None).await,
        stranger.claim_hostname(id, &hostname("b.test"), None).await.map(drop),
        stranger.hostnames(id, &PageQuery::default()).await.map(drop),
        stranger.verify_hostname(id, &name).await.map(drop),
        stranger.release_hostname(id, &name).await,
        stranger.port_grants(id).await.map(drop),
    ] {
        assert_eq!(code(answer), "not-found");
    }
    assert_eq!(code(stranger.edges(&PageQuery::default()).await), "forbidden");
    let listed = stranger.routes(&RouteQuery::default()).await.expect("routes");
    assert_eq!(listed.items, []);
}

#[tokio::test]
async fn the_status_follows_the_workloads() {
    let ingress = Ingress::new().await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let admin = &ingress.admin;
    let route =
        admin.create_route(environment.id, &tls("a.test"), None).await.expect("route").value;
    let second = ingress.workload(environment.id, "web").await;
    ingress.workload(environment.id, "db").await;
    let status =
        |route: sextant_api::resource::route::Route| (route.status.backends, route.status.healthy);
    assert_eq!(status(admin.route(route.id).await.expect("read").value), (2, 2));
    let sick = HealthReport { health: ReportedHealth::Unhealthy };
    admin.set_workload_health(second.id, sick).await.expect("said");
    assert_eq!(status(admin.route(route.id).await.expect("read").value), (2, 1));
    admin.remove_workload(second.id, None).await.expect("removed");
    assert_eq!(status(admin.route(route.id).await.expect("read").value), (1, 1));
    let listed = admin.routes(&RouteQuery::default()).await.expect("routes").items;
    assert_eq!((listed[0].status.backends, listed[0].status.healthy), (1, 1));
}
