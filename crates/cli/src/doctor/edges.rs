//! Whether each edge serves what it should.

use sextant_api::resource::edge::Edge;

use super::{Check, Finding};
use crate::edge_health::{complaint, silent_listeners};

/// What is wrong with one edge.
pub fn edge(edge: &Edge) -> Check {
    let place = format!("edge {}", edge.name);
    let mut findings = Vec::new();
    let report = edge.report.as_ref();
    for refused in report.iter().flat_map(|report| &report.refused) {
        findings.push(Finding::new(
            format!("it refuses route {}: {}", refused.route_id, refused.reason),
            &place,
            "change or delete the route, or the one it collides with; `sextant route show` has it",
        ));
    }
    for listener in silent_listeners(edge) {
        findings.push(Finding::new(
            format!("it cannot listen on {listener}"),
            &place,
            "free the port on that machine (`ss -ltnp`), or let sextant-edge bind it \
             (CAP_NET_BIND_SERVICE)",
        ));
    }
    if findings.is_empty()
        && let Some(complaint) = complaint(edge)
    {
        findings.push(Finding::new(
            format!("it {complaint}"),
            &place,
            "look at the log of sextant-edge there, and whether it reaches the control plane",
        ));
    }
    Check::new(place, findings)
}

#[cfg(test)]
mod tests {
    use sextant_api::resource::edge::ListenerState;

    use super::*;
    use crate::edge_health::tests::{edge as well, listener, refuse, report};

    #[test]
    fn each_thing_that_ails_an_edge_is_a_finding() {
        type Change = fn(&mut Edge);
        let changes: [(Change, &[&str]); 5] = [
            (|_| {}, &[]),
            (|edge| edge.in_sync = false, &["it is at event 43, not 42"]),
            (|edge| edge.last_seen_age_s = Some(31), &["it was last seen 31s ago"]),
            (|edge| edge.report = None, &["it never reported"]),
            (
                |edge| {
                    refuse(edge);
                    report(edge).listeners.push(listener(ListenerState::Failed));
                },
                &[": taken", "it cannot listen on [::]:443: address in use"],
            ),
        ];
        for (change, expected) in changes {
            let mut one = well(1);
            change(&mut one);
            let found = edge(&one).findings;
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.what.ends_with(expected), "{found:?}");
                assert_eq!(found.place, "edge e1");
            }
        }
    }
}
