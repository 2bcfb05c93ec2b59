//! The view `boundary` of the stream: what a node is told of the environments it runs.

use sextant_api::{
    Client,
    frame::{Frame, SnapshotState, StreamView},
    resource::{environment::Environment, port::NewPortGrant, workload::NewWorkload},
};

use super::{Stage, stage};
use crate::{enrol, ingress::raw, label, tenancy::tenant};

#[tokio::test]
async fn a_node_learns_of_the_environments_it_runs_and_of_no_others() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (first, node) = enrol(&platform, &replica, network, 1).await;
    let (second, other_node) = enrol(&platform, &replica, network, 2).await;
    let on = |node_id| NewWorkload { process_type: label("web"), node_id: Some(node_id) };
    let register = async |environment: &Environment, node_id| {
        let wanted = on(node_id);
        let made = admin.register_workload(environment.id, &wanted, None).await;
        made.expect("placed").value
    };
    let rival = tenant(&admin, "rival").await;
    let here = register(&environment, first.node.id).await;
    let there = register(&environment, second.node.id).await;
    register(&rival, second.node.id).await;
    let bounded = async |client: &Client| match client.snapshot_of(StreamView::Boundary).await {
        Ok(Frame::Snapshot { cursor, state: SnapshotState::Membership { membership } }) => {
            (cursor, membership)
        }
        other => panic!("{other:?}"),
    };
    let (cursor, mut followed) = bounded(&node).await;
    let boundary = followed.boundary.clone().expect("asked for");
    assert_eq!(boundary.environments.keys().copied().collect::<Vec<_>>(), [environment.id]);
    let known = &boundary.environments[&environment.id];
    assert_eq!(known.path, "shop/web/prod");
    assert_eq!(known.workloads.keys().copied().collect::<Vec<_>>(), [here.id, there.id]);
    assert_eq!(bounded(&other_node).await.1.boundary.expect("asked").environments.len(), 2);

    // What happens from there on, to both environments.
    let grant = NewPortGrant { port: 5432, reason: "test".into() };
    for environment in [&environment, &rival] {
        admin.grant_port(environment.id, &grant, None).await.expect("granted");
    }
    let route = admin.create_route(environment.id, &raw(5432), None).await.expect("route").value;
    admin.remove_workload(there.id, None).await.expect("withdrawn");
    let third = register(&environment, second.node.id).await;
    register(&rival, second.node.id).await;
    let page =
        node.events_of(StreamView::Boundary, Some(cursor), Some(1000)).await.expect("events");
    let mut kinds = Vec::new();
    for frame in &page.frames {
        let Frame::Event { event, .. } = frame else { panic!("{frame:?}") };
        kinds.push(event.body.to_columns().expect("columns").0);
        followed.apply(event);
    }
    assert_eq!(kinds, ["route-created", "workload-withdrawn", "workload-placed"]);
    let (_, fresh) = bounded(&node).await;
    assert_eq!(fresh, followed, "what was followed is what a snapshot says");
    let boundary = fresh.boundary.expect("asked for");
    let known = &boundary.environments[&environment.id];
    assert!(known.routes.contains_key(&route.id) && known.workloads.contains_key(&third.id));
    assert_eq!(fresh.workloads.keys().copied().collect::<Vec<_>>(), [here.id]);

    // An environment that is new on the node is named, and the next snapshot has it.
    let cursor = page.next_after;
    register(&rival, first.node.id).await;
    let page =
        node.events_of(StreamView::Boundary, Some(cursor), Some(1000)).await.expect("events");
    for frame in &page.frames {
        let Frame::Event { event, .. } = frame else { panic!("{frame:?}") };
        followed.apply(event);
    }
    let missing = followed.boundary.expect("followed").missing;
    assert_eq!(missing.into_iter().collect::<Vec<_>>(), [rival.id]);
    let environments = bounded(&node).await.1.boundary.expect("asked for").environments;
    assert_eq!(environments[&rival.id].workloads.len(), 3);

    // Who does not ask is told as before, and no operator may ask.
    let Frame::Snapshot { state: SnapshotState::Membership { membership }, .. } =
        node.snapshot().await.expect("snapshot")
    else {
        panic!("no membership")
    };
    assert_eq!(membership.boundary, None);
    let refused = admin.snapshot_of(StreamView::Boundary).await.expect_err("no node");
    assert!(refused.to_string().contains("is for nodes"), "{refused}");
}
