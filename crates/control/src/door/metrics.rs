//! Metrics of a replica: places, turns and refusals.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use sextant_daemon::metrics::{Answer, encode};

use super::{Door, places::Class};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLane {
    lane: &'static str,
}

/// The text that `GET /metrics` answers with.
pub fn metrics(door: &Door) -> Answer {
    let mut registry = Registry::with_prefix("sextant_control");
    let connections = Family::<OfClass, Gauge>::default();
    let places = Family::<OfClass, Gauge>::default();
    for class in Class::ALL {
        let (taken, all) = door.entrance.taken(class);
        let label = OfClass { class: class.as_str() };
        connections.get_or_create(&label).set(count(taken));
        places.get_or_create(&label).set(count(all));
    }
    let working = Family::<OfLane, Gauge>::default();
    let waiting = Family::<OfLane, Gauge>::default();
    let lanes = [
        ("strangers", &door.strangers),
        ("tenants", &door.tenants),
        ("tenants-reading", &door.tenants_reading),
        ("operators", &door.operators),
        ("nodes", &door.nodes),
        ("platform-reading", &door.platform_reading),
    ];
    for (lane, turns) in lanes {
        let (works, waits) = turns.counts();
        working.get_or_create(&OfLane { lane }).set(count(works));
        waiting.get_or_create(&OfLane { lane }).set(count(waits));
    }
    let refused = Family::<OfCode, Counter>::default();
    for (code, total) in door.refusals().totals() {
        refused.get_or_create(&OfCode { code }).inc_by(total);
    }
    registry.register("connections", "Connections, by who holds them", connections);
    registry.register("places", "Places for connections, by who may hold them", places);
    registry.register("requests_working", "Requests that are worked on", working);
    registry.register("requests_waiting", "Requests that wait for a turn", waiting);
    registry.register("refused", "Refusals since the start, by code", refused);
    encode(&registry)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
