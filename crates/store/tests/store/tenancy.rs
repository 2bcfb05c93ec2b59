//! Orgs, apps, environments, releases and workloads: what the projections make of their events,
//! and the claims that hold across them.

use std::net::Ipv6Addr;

use sextant_api::resource::{
    edge::EdgeReport,
    release::ReleaseStatus,
    report::{NodeReport, WireGuardImplementation},
    workload::WorkloadStatus,
};
use sextant_model::{
    AppId, Cursor, EnvironmentId, Event, EventBody, NetworkId, NodeId, NodeRole, OperatorRole,
    OrgId, ReleaseId, Timestamp, WorkloadId,
    aggregate::{
        Aggregate, ApiTokenState, AppState, EnvironmentState, NodeState, OrgState, ReleaseState,
        WorkloadState,
    },
    event::{
        ApiTokenCreated, AppCreated, AppDeleted, EnvironmentCreated, EnvironmentDeleted,
        NodeReleased, NodeWithdrawn, OrgCreated, OrgDeleted, ProcessSpec, ReleaseActivated,
        ReleaseCreated, ReleaseSuperseded, WorkloadHealth, WorkloadHealthChanged, WorkloadPlaced,
        WorkloadReleased, WorkloadWithdrawn,
    },
    ipam::Ipam,
};
use sextant_store::{
    Store, Unit,
    placements::Placement,
    read::{PageRequest, WorkloadFilter},
};
use uuid::Uuid;

use crate::{ACTOR, Fixture, enrolled, label};

const ORG: OrgId = OrgId(Uuid::from_u128(0xA1));
const APP: AppId = AppId(Uuid::from_u128(0xA2));
const ENVIRONMENT: EnvironmentId = EnvironmentId(Uuid::from_u128(0xA3));
const MESH: NetworkId = NetworkId(Uuid::from_u128(0xA4));
const NODE: NodeId = NodeId(Uuid::from_u128(0xA5));
const FIRST: ReleaseId = ReleaseId(Uuid::from_u128(0xB1));
const SECOND: ReleaseId = ReleaseId(Uuid::from_u128(0xB2));
const PAGE: PageRequest = PageRequest { after: None, limit: 100 };

fn workload(n: u128) -> WorkloadId {
    WorkloadId(Uuid::from_u128(0xC00 + n))
}

fn placed(n: u16, release_id: Option<ReleaseId>) -> EventBody {
    EventBody::WorkloadPlaced(WorkloadPlaced {
        org_id: ORG,
        environment_id: ENVIRONMENT,
        release_id,
        process_type: label("web"),
        network_id: MESH,
        node_id: NODE,
        address: Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 1, n),
    })
}

fn health(health: WorkloadHealth) -> EventBody {
    let (org_id, environment_id, network_id) = (ORG, ENVIRONMENT, MESH);
    let changed = WorkloadHealthChanged { org_id, environment_id, network_id, health };
    EventBody::WorkloadHealthChanged(changed)
}

fn withdrawn() -> EventBody {
    let (org_id, environment_id, network_id, node_id) = (ORG, ENVIRONMENT, MESH, NODE);
    EventBody::WorkloadWithdrawn(WorkloadWithdrawn { org_id, environment_id, network_id, node_id })
}

fn released() -> EventBody {
    let (org_id, environment_id, network_id, node_id) = (ORG, ENVIRONMENT, MESH, NODE);
    EventBody::WorkloadReleased(WorkloadReleased { org_id, environment_id, network_id, node_id })
}

fn release(number: i32) -> EventBody {
    let processes = vec![ProcessSpec { process_type: label("web"), instances: 2 }];
    let (org_id, environment_id) = (ORG, ENVIRONMENT);
    EventBody::ReleaseCreated(ReleaseCreated { org_id, environment_id, number, processes })
}

async fn happens<A: Aggregate>(unit: &mut Unit, id: Uuid, events: &[EventBody]) {
    let mut loaded = unit.load::<A>(id).await.expect("loaded");
    unit.append(&mut loaded, events, ACTOR).await.expect("appended");
}

/// An org with everything in every state it can be in, and what was deleted of it.
pub async fn grow(store: &Store) {
    let mut unit = store.begin();
    let u = &mut unit;
    let name = label("shop");
    happens::<OrgState>(u, ORG.0, &[EventBody::OrgCreated(OrgCreated { name })]).await;
    let (gone, name) = (Uuid::from_u128(0xD1), label("gone"));
    let (created, deleted) =
        (EventBody::OrgCreated(OrgCreated { name }), EventBody::OrgDeleted(OrgDeleted {}));
    happens::<OrgState>(u, gone, &[created, deleted]).await;
    let app = |name| EventBody::AppCreated(AppCreated { org_id: ORG, name: label(name) });
    happens::<AppState>(u, APP.0, &[app("web")]).await;
    let deleted = EventBody::AppDeleted(AppDeleted { org_id: ORG });
    happens::<AppState>(u, Uuid::from_u128(0xD2), &[app("gone"), deleted]).await;
    let environment = |name| {
        let (org_id, app_id, network_id) = (ORG, APP, MESH);
        let name = label(name);
        EventBody::EnvironmentCreated(EnvironmentCreated { org_id, app_id, network_id, name })
    };
    happens::<EnvironmentState>(u, ENVIRONMENT.0, &[environment("prod")]).await;
    let deleted = EventBody::EnvironmentDeleted(EnvironmentDeleted { org_id: ORG });
    let gone = Uuid::from_u128(0xD3);
    happens::<EnvironmentState>(u, gone, &[environment("gone"), deleted]).await;
    let node = EventBody::NodeEnrolled(enrolled(MESH, 1));
    happens::<NodeState>(u, NODE.0, &[node]).await;

    let (org_id, environment_id) = (ORG, ENVIRONMENT);
    let activated = EventBody::ReleaseActivated(ReleaseActivated { org_id, environment_id });
    let superseded =
        EventBody::ReleaseSuperseded(ReleaseSuperseded { org_id, environment_id, by: SECOND });
    happens::<ReleaseState>(u, FIRST.0, &[release(1), activated, superseded]).await;
    happens::<ReleaseState>(u, SECOND.0, &[release(2)]).await;
    let (fit, unfit) = (health(WorkloadHealth::Healthy), health(WorkloadHealth::Unhealthy));
    for (n, events) in [
        (1, vec![placed(1, Some(FIRST)), fit.clone(), withdrawn(), released()]),
        (2, vec![placed(2, Some(FIRST)), withdrawn()]),
        (3, vec![placed(3, Some(SECOND)), fit.clone()]),
        (4, vec![placed(4, Some(SECOND)), fit, unfit]),
        (5, vec![placed(5, None)]),
    ] {
        happens::<WorkloadState>(u, workload(n).0, &events).await;
    }
    let token = EventBody::ApiTokenCreated(ApiTokenCreated {
        name: label("tenant"),
        role: OperatorRole::Viewer,
        org_id: Some(ORG),
        expires_at: None,
        secret_hash: None,
    });
    happens::<ApiTokenState>(u, Uuid::from_u128(0xE1), &[token]).await;
    unit.commit().await.expect("committed");
}

async fn project(store: &Store) -> i64 {
    let settled = store.settle().await.expect("settled");
    store.project(settled).await.expect("projected")
}

#[tokio::test]
async fn lists_and_views_show_what_the_log_says() {
    let Fixture { store, database: _database } = Fixture::new().await;
    grow(&store).await;
    project(&store).await;
    let orgs = store.orgs(None, PAGE).await.expect("orgs").items;
    assert_eq!(orgs.iter().map(|org| org.id).collect::<Vec<_>>(), [ORG], "without the deleted one");
    let apps = store.apps(Some(ORG), PAGE).await.expect("apps").items;
    assert_eq!(apps.iter().map(|app| app.org_name.as_str()).collect::<Vec<_>>(), ["shop"]);
    let environments = store.environments(None, Some(APP), PAGE).await.expect("list").items;
    assert_eq!(environments.len(), 1);
    assert_eq!(environments[0].path(), "shop/web/prod");
    let path = store.environment_path(ENVIRONMENT).await.expect("read");
    assert_eq!(path.as_deref(), Some("shop/web/prod"));
    let gone = EnvironmentId(Uuid::from_u128(0xD3));
    let path = store.environment_path(gone).await.expect("read");
    assert_eq!(path.as_deref(), Some("shop/web/gone"), "it keeps its name");

    let releases = store.releases(ENVIRONMENT, PAGE).await.expect("releases").items;
    let shown: Vec<_> = releases.iter().map(|r| (r.number, r.status, r.healthy)).collect();
    assert_eq!(shown, [(1, ReleaseStatus::Superseded, 0), (2, ReleaseStatus::Pending, 1)]);
    assert_eq!(releases[0].superseded_by, Some(SECOND));
    let first = store.release(FIRST).await.expect("read").expect("there");
    let of_first: Vec<_> = first.workloads.iter().map(|w| w.status).collect();
    assert_eq!(of_first, [WorkloadStatus::Released, WorkloadStatus::Withdrawn]);
    let all = store.workloads(WorkloadFilter::default(), PAGE).await.expect("workloads").items;
    let shown: Vec<_> = all.iter().map(|w| (w.id, w.status, w.version)).collect();
    assert_eq!(
        shown,
        [
            (workload(2), WorkloadStatus::Withdrawn, 2),
            (workload(3), WorkloadStatus::Healthy, 2),
            (workload(4), WorkloadStatus::Unhealthy, 3),
            (workload(5), WorkloadStatus::Starting, 1),
        ]
    );
    assert_eq!(all[0].environment, "shop/web/prod");
    assert_eq!(all[0].node_name, label("n1"));
    let tokens = store.api_tokens(Some(ORG), PAGE).await.expect("tokens").items;
    assert_eq!(tokens.iter().map(|token| token.org_id).collect::<Vec<_>>(), [Some(ORG)]);
}

#[tokio::test]
async fn an_address_is_released_only_after_its_node_and_every_edge_have_let_go() {
    let Fixture { store, database: _database } = Fixture::new().await;
    grow(&store).await;
    // One edge was there before the workload was withdrawn, one joins only afterwards.
    let (before, after) = (NodeId(Uuid::from_u128(0xF1)), NodeId(Uuid::from_u128(0xF2)));
    let late = workload(9);
    let mut unit = store.begin();
    let edge = |n| {
        let mut edge = enrolled(MESH, n);
        edge.roles = vec![NodeRole::Edge];
        EventBody::NodeEnrolled(edge)
    };
    happens::<NodeState>(&mut unit, before.0, &[edge(7)]).await;
    happens::<WorkloadState>(&mut unit, late.0, &[placed(9, None), withdrawn()]).await;
    happens::<NodeState>(&mut unit, after.0, &[edge(8)]).await;
    unit.commit().await.expect("committed");
    let head = project(&store).await;
    let epoch = store.epoch().await.expect("epoch");
    let now = Timestamp::from_unix_seconds(1_800_000_000).expect("time");
    let revision = |event_id| Cursor { epoch, event_id };
    let releasable = async || store.releasable_workloads(now, 100).await.expect("read");
    assert_eq!(releasable().await, [], "nobody has acknowledged anything");
    store.keep_report(NODE, &node_report(revision(head)), now).await.expect("kept");
    assert_eq!(releasable().await, [workload(2)], "the edge still sends to the other");
    let served = EdgeReport { revision: revision(head), ..edge_report() };
    store.keep_edge_report(before, &served, now).await.expect("kept");
    assert_eq!(releasable().await, [workload(2), late]);
    let earlier = Timestamp::from_unix_seconds(0).expect("time");
    let drained = store.releasable_workloads(earlier, 100).await.expect("read");
    assert_eq!(drained, [], "connections to them may still be under way");

    // A node that leaves cannot acknowledge; its peers drop it, which is known when it is released.
    let mut unit = store.begin();
    let gone = EventBody::NodeWithdrawn(NodeWithdrawn { network_id: MESH });
    happens::<NodeState>(&mut unit, NODE.0, &[gone]).await;
    unit.commit().await.expect("committed");
    project(&store).await;
    assert_eq!(releasable().await, []);
}

#[tokio::test]
async fn an_address_is_not_reused_while_its_node_may_have_it_live() {
    let Fixture { store, database: _database } = Fixture::new().await;
    grow(&store).await;
    let gone = workload(20);
    let block = "fd00:0:0:9::/64".parse().expect("prefix");
    let mut unit = store.begin();
    let mut ipam = unit.ipam().await.expect("ipam");
    ipam.create_pool(MESH.0, "fd00:0:0:9::/64".parse().expect("prefix")).await.expect("pool");
    assert_eq!(ipam.allocate_block(MESH.0, 64, NODE.0).await.expect("block"), block);
    let address = ipam.allocate_address(block, gone.0).await.expect("address");
    let at = |hours: i64| Timestamp::from_unix_seconds(1_800_000_000 + hours * 3600).expect("time");
    happens::<WorkloadState>(&mut unit, gone.0, &[placed(20, None), withdrawn()]).await;
    unit.commit().await.expect("committed");
    let acked = project(&store).await;
    let mut unit = store.begin();
    happens::<WorkloadState>(&mut unit, gone.0, &[released()]).await;
    unit.ipam().await.expect("ipam").release(gone.0, at(0)).await.expect("released");
    unit.commit().await.expect("committed");
    let head = project(&store).await;

    let epoch = store.epoch().await.expect("epoch");
    let reclaimed_after = async |event_id| {
        let report = node_report(Cursor { epoch, event_id });
        store.keep_report(NODE, &report, at(9)).await.expect("kept");
        let mut unit = store.begin();
        let count = unit.ipam().await.expect("ipam").reclaim(at(9)).await.expect("reclaim");
        unit.commit().await.expect("committed");
        count
    };
    assert_eq!(reclaimed_after(acked).await, 0, "it saw the withdrawal and keeps the address");
    assert_eq!(reclaimed_after(head).await, 1, "it has dropped {address}");
}

#[tokio::test]
async fn an_address_on_a_node_that_was_released_is_reused_though_nobody_acknowledges_it() {
    let Fixture { store, database: _database } = Fixture::new().await;
    grow(&store).await;
    let gone = workload(20);
    let block = "fd00:0:0:9::/64".parse().expect("prefix");
    let at = |hours: i64| Timestamp::from_unix_seconds(1_800_000_000 + hours * 3600).expect("time");
    let mut unit = store.begin();
    let mut ipam = unit.ipam().await.expect("ipam");
    ipam.create_pool(MESH.0, block).await.expect("pool");
    ipam.allocate_block(MESH.0, 64, NODE.0).await.expect("block");
    ipam.allocate_address(block, gone.0).await.expect("address");
    ipam.release(gone.0, at(0)).await.expect("released");
    happens::<WorkloadState>(&mut unit, gone.0, &[placed(20, None), withdrawn(), released()]).await;
    let left = EventBody::NodeWithdrawn(NodeWithdrawn { network_id: MESH });
    happens::<NodeState>(&mut unit, NODE.0, &[left]).await;
    unit.commit().await.expect("committed");
    let reclaimed = async || {
        project(&store).await;
        let mut unit = store.begin();
        let count = unit.ipam().await.expect("ipam").reclaim(at(9)).await.expect("reclaim");
        unit.commit().await.expect("committed");
        count
    };
    assert_eq!(reclaimed().await, 0, "its peers still send there");
    let mut unit = store.begin();
    let released = EventBody::NodeReleased(NodeReleased { network_id: MESH });
    happens::<NodeState>(&mut unit, NODE.0, &[released]).await;
    unit.commit().await.expect("committed");
    assert_eq!(reclaimed().await, 1);
}

fn node_report(revision: Cursor) -> NodeReport {
    NodeReport {
        revision,
        agent_version: "test".into(),
        clock: Timestamp::from_unix_seconds(1_800_000_000).expect("time"),
        implementation: WireGuardImplementation::Kernel,
        mtu: 1420,
        underlay_mtu: 1500,
        problems: vec![],
        peers: vec![],
        workloads_live: vec![],
        agent: None,
    }
}

fn edge_report() -> EdgeReport {
    serde_json::from_value(serde_json::json!({
        "revision": "00000000-0000-0000-0000-000000000000:0", "routes": 0, "refused": [],
        "listeners": [], "version": "test",
    }))
    .expect("report")
}

fn placement(n: u128, release: Option<(ReleaseId, i32)>) -> Placement {
    Placement {
        workload_id: workload(n),
        environment_id: ENVIRONMENT,
        release,
        process_type: label("web"),
        network_id: MESH,
        node_id: NODE,
        health: WorkloadHealth::Starting,
    }
}

#[tokio::test]
async fn workers_carry_what_is_placed_and_new_releases_do_not_count_what_they_replace() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let mut unit = store.begin();
    for (n, role) in [(1, NodeRole::Worker), (2, NodeRole::Worker), (3, NodeRole::Edge)] {
        let mut node = enrolled(MESH, n);
        node.roles = vec![role];
        let id = Uuid::from_u128(0xA4 + u128::from(n));
        happens::<NodeState>(&mut unit, id, &[EventBody::NodeEnrolled(node)]).await;
    }
    unit.commit().await.expect("committed");
    project(&store).await;
    let mut unit = store.begin();
    unit.add_placements(&[placement(1, Some((FIRST, 1)))]).await.expect("placed");
    unit.add_placements(&[placement(2, None)]).await.expect("placed");
    let other = EnvironmentId(Uuid::from_u128(0xEE));
    let foreign = Placement { environment_id: other, ..placement(3, None) };
    unit.add_placements(&[foreign]).await.expect("placed");
    for (replacing, own) in [(true, Some(&1)), (false, Some(&2))] {
        let workers = unit.workers(MESH, ENVIRONMENT, replacing).await.expect("workers");
        assert_eq!(workers.len(), 2, "edges run no workloads");
        assert_eq!((workers[&NODE].total, workers[&NODE].own.get(&label("web"))), (3, own));
        let idle = &workers[&NodeId(Uuid::from_u128(0xA6))];
        assert_eq!((idle.total, idle.own.len()), (0, 0));
    }
    unit.remove_placements(&[workload(1).0]).await.expect("removed");
    let here = unit.placements_in(ENVIRONMENT).await.expect("placements");
    assert_eq!(here, [placement(2, None)]);
    assert_eq!(unit.placements_on(NODE).await.expect("placements"), [workload(2), workload(3)]);
}

#[tokio::test]
async fn a_number_belongs_to_one_release_of_an_environment() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let mut unit = store.begin();
    assert_eq!(unit.number_release(ENVIRONMENT, FIRST).await.expect("number"), 1);
    assert_eq!(unit.number_release(ENVIRONMENT, SECOND).await.expect("number"), 2);
    unit.close_releases_before(ENVIRONMENT, 2).await.expect("closed");
    let open = unit.open_releases(ENVIRONMENT).await.expect("open");
    assert_eq!(open.iter().map(|open| open.number).collect::<Vec<_>>(), [2]);
    unit.commit().await.expect("committed");
    // Whatever the code believes.
    let pool = fixture.raw(&fixture.database.app_url);
    for statement in [
        "INSERT INTO release_numbers (environment_id, number, release_id)
         SELECT environment_id, 2, gen_random_uuid() FROM release_numbers LIMIT 1",
        "INSERT INTO placements (workload_id, environment_id, process_type, network_id, node_id, health)
         SELECT gen_random_uuid(), environment_id, 'web', environment_id, environment_id, 'fine'
         FROM release_numbers LIMIT 1",
    ] {
        sqlx::query(statement).execute(&pool).await.expect_err(statement);
    }
}

#[tokio::test]
async fn an_owner_that_is_held_keeps_its_name_until_the_holder_is_done() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let mut unit = store.begin();
    let scope = sextant_store::claims::NameScope::Orgs;
    unit.claim_name(scope, &label("shop"), ORG.0).await.expect("claimed");
    unit.commit().await.expect("committed");
    let mut holder = store.begin();
    assert!(holder.hold(ORG.0).await.expect("held"));
    let mut other = store.begin();
    assert!(other.hold(ORG.0).await.expect("held by two at once"));
    drop(other);
    let remover = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut unit = store.begin();
            unit.release_names(ORG.0).await.expect("released");
            let apps = unit.names_in(sextant_store::claims::NameScope::AppsOf(ORG)).await;
            unit.commit().await.expect("committed");
            apps.expect("count")
        })
    };
    let scope = sextant_store::claims::NameScope::AppsOf(ORG);
    holder.claim_name(scope, &label("web"), APP.0).await.expect("claimed");
    assert!(!remover.is_finished(), "it waits");
    holder.commit().await.expect("committed");
    assert_eq!(remover.await.expect("task"), 1, "it sees what was made meanwhile");
    assert!(!store.begin().hold(ORG.0).await.expect("asked"), "it is gone");
}

#[tokio::test]
async fn a_network_that_is_deleted_sees_the_environment_that_was_made_meanwhile() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let mut unit = store.begin();
    let scope = sextant_store::claims::NameScope::Networks;
    unit.claim_name(scope, &label("mesh"), MESH.0).await.expect("claimed");
    unit.commit().await.expect("committed");
    let mut maker = store.begin();
    assert!(maker.hold(MESH.0).await.expect("held"));
    let remover = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut unit = store.begin();
            unit.release_names(MESH.0).await.expect("released");
            unit.environments_in(MESH).await.expect("count")
        })
    };
    maker.enter_network(ENVIRONMENT, MESH).await.expect("entered");
    assert!(!remover.is_finished(), "it waits");
    maker.commit().await.expect("committed");
    // No projection has heard of it.
    assert_eq!(remover.await.expect("task"), 1);
    let mut unit = store.begin();
    unit.leave_network(ENVIRONMENT).await.expect("left");
    assert_eq!(unit.environments_in(MESH).await.expect("count"), 0);
}

/// The log knows every kind of aggregate by the word it is written with.
#[tokio::test]
async fn events_of_every_kind_come_back_as_they_went_in() {
    let Fixture { store, database: _database } = Fixture::new().await;
    grow(&store).await;
    let settled = store.settle().await.expect("settled");
    let events: Vec<Event> = store.events(0, settled, 1000).await.expect("events");
    assert!(events.iter().all(|event| event.aggregate_type == event.body.kind()));
    assert_eq!(events.len(), 27);
}
