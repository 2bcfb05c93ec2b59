use sextant_api::{follow::Item, frame::SnapshotState};
use sextant_model::{
    Cursor, Epoch, NetworkId, RouteId, WorkloadId,
    event::WorkloadHealth,
    routing::desired::{DesiredWorkload, RoutingSnapshot},
};
use uuid::Uuid;

use super::{key, load, view::*};
use crate::state::{
    StateFolder,
    tests::{route, snapshot},
};

fn cursor(event_id: i64) -> Cursor {
    Cursor { epoch: Epoch(Uuid::from_u128(7)), event_id }
}

fn whole(event_id: i64, routing: RoutingSnapshot) -> Item {
    Item::Snapshot { cursor: cursor(event_id), state: SnapshotState::Routing { routing } }
}

#[test]
fn a_snapshot_replaces_and_a_bookmark_advances() {
    let mut view = View::new(None);
    assert!(matches!(view.take(Item::Bookmark { cursor: cursor(1) }), Taken::Unbelievable(_)));
    let two = vec![route(1, "a.example"), route(2, "b.example")];
    assert_eq!(view.take(whole(3, snapshot(two))), Taken::Replaced);
    assert_eq!(view.take(Item::Bookmark { cursor: cursor(5) }), Taken::Marked);
    assert_eq!(view.current().map(|saved| saved.cursor), Some(cursor(5)));
}

#[test]
fn what_would_take_most_routes_away_unsaid_is_refused() {
    let mut view = View::new(None);
    let two = vec![route(1, "a.example"), route(2, "b.example")];
    view.take(whole(3, snapshot(two)));
    assert!(matches!(view.take(whole(4, snapshot(Vec::new()))), Taken::Unbelievable(_)));
    let mut foreign = snapshot(Vec::new());
    foreign.network_id = NetworkId(Uuid::from_u128(10));
    let Taken::Unbelievable(reason) = view.take(whole(4, foreign)) else { panic!("believed") };
    assert!(reason.contains("state_dir"), "{reason}");
    assert_eq!(view.current().map(|saved| saved.cursor), Some(cursor(3)));
    let mut meant = snapshot(Vec::new());
    meant.deleted = [1, 2].map(|number| RouteId(Uuid::from_u128(number))).into();
    assert_eq!(view.take(whole(4, meant)), Taken::Replaced);
}

#[test]
fn workloads_may_be_missing_in_another_log_and_not_in_the_same() {
    let mut with_one = snapshot(vec![route(1, "a.example")]);
    let without = with_one.clone();
    with_one.workloads.push(DesiredWorkload {
        workload_id: WorkloadId(Uuid::from_u128(5)),
        environment_id: without.routes[0].environment_id,
        process_type: without.routes[0].backend_process_type.clone(),
        address: "fd00:0:0:1::9".parse().expect("address"),
        health: WorkloadHealth::Healthy,
    });
    let mut view = View::new(None);
    view.take(whole(3, with_one));
    let Taken::Unbelievable(reason) = view.take(whole(4, without.clone())) else {
        panic!("believed")
    };
    assert!(reason.contains("state_dir"), "{reason}");
    // A backup was restored that does not know what was deployed after it.
    let restored = Cursor { epoch: Epoch(Uuid::from_u128(8)), event_id: 4 };
    let state = SnapshotState::Routing { routing: without };
    assert_eq!(view.take(Item::Snapshot { cursor: restored, state }), Taken::Replaced);
}

#[test]
fn a_route_has_one_key_for_each_address() {
    let id = RouteId(Uuid::from_u128(1));
    let address = |text: &str| text.parse().expect("address");
    assert_eq!(key(id, 0, address("::")).to_string(), id.to_string());
    assert_eq!(key(id, 1, address("192.0.2.1")).to_string(), format!("{id}@192.0.2.1"));
}

#[test]
fn a_damaged_state_is_set_aside_only_by_whom_it_belongs_to() {
    let place = tempfile::tempdir().expect("folder");
    let folder = StateFolder::open(place.path()).expect("folder");
    let file = place.path().join("routing.json");
    std::fs::write(&file, "damaged").expect("written");
    assert_eq!(load(&folder, true).expect("read"), (None, false));
    assert!(file.exists(), "it belongs to the process that still runs");
    assert_eq!(load(&folder, false).expect("read"), (None, false));
    assert!(!file.exists() && place.path().join("routing.json.unreadable").exists());
}
