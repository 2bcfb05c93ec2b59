use super::*;
use crate::{
    boundary::tests::{
        NETWORK, changed, environment, event, moved, node, placed, released, route, withdrawn,
    },
    routing::HealthSource,
};
use uuid::Uuid;

/// Node 1, which runs environment 1.
fn hosted() -> Hosted {
    Hosted::new(node(1), NETWORK, [(environment(1), WorkloadId(Uuid::from_u128(1)))])
}

fn created(id: u16, of: u16) -> Event {
    event(id, EventBody::RouteCreated(route(of, 8443, HealthSource::None)))
}

#[test]
fn a_node_sees_what_happens_to_the_environments_it_runs_and_to_no_others() {
    let mut hosted = hosted();
    for (seen, event) in [
        (true, placed(2, 2, 1)),
        (false, placed(3, 2, 2)),
        (true, withdrawn(2, 2, 1)),
        (false, withdrawn(3, 2, 2)),
        (true, created(10, 1)),
        (false, created(11, 2)),
        (true, changed(10, Some(1), 1)),
        (false, changed(11, Some(2), 1)),
        (false, changed(11, None, 1)),
        (true, released(2, 2, 1)),
        (false, released(3, 2, 2)),
    ] {
        assert_eq!(hosted.see(&event).is_some(), seen, "{event:?}");
    }
}

#[test]
fn it_begins_with_the_first_workload_and_ends_with_the_last() {
    let mut hosted = hosted();
    assert!(hosted.see(&created(10, 2)).is_none());
    assert!(hosted.see(&placed(4, 1, 2)).is_some());
    assert!(hosted.see(&created(11, 2)).is_some());
    assert!(hosted.see(&placed(5, 1, 2)).is_some());
    assert!(hosted.see(&released(4, 1, 2)).is_some());
    assert!(hosted.see(&created(12, 2)).is_some(), "one is still here");
    assert!(hosted.see(&released(5, 1, 2)).is_some(), "its own end is told");
    assert!(hosted.see(&created(13, 2)).is_none());
}

#[test]
fn names_of_routes_and_environments_of_others_are_left_out() {
    let mut hosted = hosted();
    let body = |seen: Option<Event>| seen.expect("seen").body;
    let EventBody::RouteCreated(route_seen) = body(hosted.see(&created(10, 1))) else { panic!() };
    assert_eq!(route_seen.hostname, None);
    let gone = moved(10, 1, route(2, 1, HealthSource::None));
    let EventBody::RouteMoved(gone) = body(hosted.see(&gone)) else { panic!() };
    assert!(gone.from.is_some() && gone.to.is_none());
    let came = moved(11, 2, route(1, 1, HealthSource::None));
    let EventBody::RouteMoved(came) = body(hosted.see(&came)) else { panic!() };
    assert!(came.from.is_none() && came.to.expect("ours").hostname.is_none());
    assert!(hosted.see(&moved(12, 2, route(3, 1, HealthSource::None))).is_none());
}
