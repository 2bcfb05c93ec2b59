use std::time::Duration;

use sextant_api::{
    Client, Frame,
    client::PageQuery,
    follow::{Item, follow_view},
    frame::{SnapshotState, StreamView},
    resource::edge::{Edge, EdgeListener, EdgeReport, ListenerState, RefusedRoute},
};
use sextant_model::{AggregateKind, Cursor, NodeRole, routing::Routing};
use tokio_util::sync::CancellationToken;

use super::{Ingress, code, raw, tls};

fn report(revision: Cursor) -> EdgeReport {
    EdgeReport {
        revision,
        version: "test".into(),
        routes: 1,
        refused: vec![],
        listeners: vec![EdgeListener {
            listen: "[::]:443".parse().expect("address"),
            state: ListenerState::Listening,
            error: None,
        }],
    }
}

async fn routing(edge: &Client) -> (Cursor, Routing) {
    match edge.snapshot_of(StreamView::Routing).await.expect("snapshot") {
        Frame::Snapshot { cursor, state: SnapshotState::Routing { routing } } => {
            (cursor, routing.into())
        }
        other => panic!("{other:?}"),
    }
}

/// The next item that is about routing.
async fn next(stream: &mut tokio::sync::mpsc::Receiver<Item>) -> Item {
    let about = async {
        loop {
            match stream.recv().await.expect("it goes on") {
                Item::Connected { .. } | Item::Bookmark { .. } => {}
                item => return item,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), about).await.expect("in time")
}

#[tokio::test]
async fn the_stream_begins_with_the_routing_and_goes_on_with_its_events() {
    let ingress = Ingress::new().await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let admin = &ingress.admin;
    let first =
        admin.create_route(environment.id, &tls("a.test"), None).await.expect("route").value;
    let edge = ingress.node(NodeRole::Edge).await;
    let stop = CancellationToken::new();
    let mut stream = follow_view(edge.clone(), StreamView::Routing, None, stop.clone());
    let Item::Snapshot { state: SnapshotState::Routing { routing }, .. } = next(&mut stream).await
    else {
        panic!("no routing")
    };
    assert_eq!((routing.routes.len(), routing.workloads.len()), (1, 1));
    ingress.org("noise").await;
    admin.delete_route(first.id, None).await.expect("deleted");
    let Item::Event { cursor, event } = next(&mut stream).await else { panic!("no event") };
    assert_eq!((event.aggregate_id, event.body.kind()), (first.id.0, AggregateKind::Route));
    // Resuming from there begins with no snapshot.
    admin.create_route(environment.id, &tls("b.test"), None).await.expect("route");
    let mut resumed = follow_view(edge, StreamView::Routing, Some(cursor), stop.clone());
    assert!(matches!(next(&mut resumed).await, Item::Event { .. }));

    let worker = ingress.node(NodeRole::Worker).await;
    let mut refused = follow_view(worker, StreamView::Routing, None, stop.clone());
    let Item::Refused { code, detail } = next(&mut refused).await else { panic!("let in") };
    assert_eq!(code, "forbidden");
    assert!(detail.contains("role edge"), "{detail}");
    stop.cancel();
}

async fn edges(ingress: &Ingress) -> Vec<Edge> {
    ingress.admin.edges(&PageQuery::default()).await.expect("edges").items
}

#[tokio::test]
async fn an_edge_that_follows_has_what_a_new_snapshot_says() {
    let ingress = Ingress::new().await;
    let org = ingress.org("acme").await;
    let environment = ingress.environment(org, "web").await;
    let edge = ingress.node(NodeRole::Edge).await;
    let admin = &ingress.admin;
    let first = admin.create_route(environment.id, &tls("a.test"), None).await.expect("route");
    let (cursor, mut followed) = routing(&edge).await;
    assert_eq!(followed.routes().len(), 1);

    let grant = sextant_api::resource::port::NewPortGrant { port: 5432, reason: "test".into() };
    admin.grant_port(environment.id, &grant, None).await.expect("granted");
    let second = admin.create_route(environment.id, &raw(5432), None).await.expect("route").value;
    admin.create_route(environment.id, &tls("b.test"), None).await.expect("route");
    admin.delete_route(first.value.id, None).await.expect("deleted");
    ingress.workload(environment.id, "web").await;
    let page = edge.events_of(StreamView::Routing, Some(cursor), None).await.expect("events");
    for frame in &page.frames {
        let Frame::Event { event, .. } = frame else { panic!("{frame:?}") };
        followed.apply(event);
    }
    let types: Vec<_> = page
        .frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Event { event, .. } => Some(event.body.to_columns().expect("columns").0),
            _ => None,
        })
        .collect();
    assert_eq!(
        types,
        [
            "route-created",
            "route-created",
            "route-deleted",
            "workload-placed",
            "workload-health-changed"
        ],
        "routing, and nothing else"
    );
    let (_, fresh) = routing(&edge).await;
    assert_eq!(fresh, followed, "resuming needs no snapshot");
    let served = fresh.served(second.id, "::".parse().expect("address")).expect("served");
    assert_eq!(served.backends.len(), 2);
}

#[tokio::test]
async fn the_routing_view_is_for_edges_only() {
    let ingress = Ingress::new().await;
    let worker = ingress.node(NodeRole::Worker).await;
    let org = ingress.org_admin(ingress.org("acme").await).await;
    for (client, says) in
        [(&worker, "role edge"), (&ingress.admin, "leave view out"), (&org, "leave view out")]
    {
        let (code, text) = super::refused(client.snapshot_of(StreamView::Routing).await);
        assert_eq!(code, "forbidden");
        assert!(text.contains(says), "{text}");
        let polled = client.events_of(StreamView::Routing, None, None).await;
        assert_eq!(super::refused(polled).0, "forbidden");
    }
    let cursor = match worker.snapshot().await.expect("its own view") {
        Frame::Snapshot { cursor, .. } => cursor,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(worker.report_edge(&report(cursor)).await), "forbidden");
    assert_eq!(code(ingress.admin.report_edge(&report(cursor)).await), "forbidden");
    let edge = ingress.node(NodeRole::Edge).await;
    // An edge is a node like others too.
    let Frame::Snapshot { state, .. } = edge.snapshot().await.expect("snapshot") else {
        panic!("no snapshot")
    };
    assert!(matches!(state, SnapshotState::Membership { .. }));
}

#[tokio::test]
async fn edges_say_what_they_serve_and_whether_that_is_all() {
    let ingress = Ingress::new().await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let (one, two) = (ingress.node(NodeRole::Edge).await, ingress.node(NodeRole::Edge).await);
    let admin = &ingress.admin;
    let route =
        admin.create_route(environment.id, &tls("a.test"), None).await.expect("route").value;
    let listed = edges(&ingress).await;
    assert_eq!(listed.len(), 2, "the worker is no edge");
    assert!(listed.iter().all(|edge| !edge.in_sync && edge.revision.is_none()));

    let (cursor, _) = routing(&one).await;
    one.report_edge(&report(cursor)).await.expect("reported");
    let failed = EdgeReport {
        refused: vec![RefusedRoute { route_id: route.id, reason: "it conflicts".into() }],
        ..report(cursor)
    };
    two.report_edge(&failed).await.expect("reported");
    let listed = edges(&ingress).await;
    assert!(listed.iter().all(|edge| edge.in_sync && edge.newest <= cursor.event_id));
    assert_eq!(listed[1].report.as_ref().expect("kept").refused, failed.refused);
    let explained = super::explain_of(&ingress, "a.test").await;
    assert_eq!(explained.edges[1].refused.as_deref(), Some("it conflicts"));

    // What does not concern edges does not make them late.
    ingress.org("other").await;
    assert!(edges(&ingress).await.iter().all(|edge| edge.in_sync));
    admin.create_route(environment.id, &tls("b.test"), None).await.expect("route");
    assert!(edges(&ingress).await.iter().all(|edge| !edge.in_sync));
    let (cursor, _) = routing(&one).await;
    one.report_edge(&report(cursor)).await.expect("reported");
    let in_sync: Vec<_> = edges(&ingress).await.iter().map(|edge| edge.in_sync).collect();
    assert_eq!(in_sync, [true, false]);
    // What is shown is what an edge serves now, not the most that it has served.
    let old = Cursor { event_id: 1, ..cursor };
    one.report_edge(&report(old)).await.expect("taken");
    let first = &edges(&ingress).await[0];
    assert_eq!((first.revision, first.in_sync), (Some(1), false));

    let beyond = Cursor { event_id: i64::MAX, ..cursor };
    assert_eq!(code(one.report_edge(&report(beyond)).await), "beyond-head");
    let foreign = Cursor { epoch: sextant_model::Epoch(uuid::Uuid::nil()), ..cursor };
    assert_eq!(code(one.report_edge(&report(foreign)).await), "foreign-epoch");
    let many = RefusedRoute { route_id: route.id, reason: "x".into() };
    let much = EdgeReport { refused: vec![many; 101], ..report(cursor) };
    assert_eq!(code(one.report_edge(&much).await), "request-invalid");
}
