//! Whether edges serve the same: shared by `edge status`, `status` and `doctor`.

use sextant_api::resource::edge::{Edge, ListenerState};

use crate::{duration::ago, health::CONTACT_LIMIT_S};

/// Why they do not all serve the same, newest routes, one line for each edge.
pub fn complaints(edges: &[Edge]) -> Vec<String> {
    edges.iter().filter_map(|edge| Some(format!("{} {}", edge.name, complaint(edge)?))).collect()
}

/// Why it does not, the first reason there is.
pub fn complaint(edge: &Edge) -> Option<String> {
    let (Some(revision), Some(report)) = (edge.revision, &edge.report) else {
        return Some("never reported".into());
    };
    let failed = silent_listeners(edge).count();
    let complaint = match edge.last_seen_age_s {
        None => "never reported".into(),
        Some(age) if age >= CONTACT_LIMIT_S => format!("was last seen {}", ago(age)),
        Some(_) if !edge.in_sync => format!("is at event {revision}, not {}", edge.newest),
        Some(_) if !report.refused.is_empty() => {
            format!("refuses {}", counted(report.refused.len(), "route"))
        }
        Some(_) if failed > 0 => format!("cannot listen on {}", counted(failed, "socket")),
        Some(_) => return None,
    };
    Some(complaint)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Where an edge should listen and does not, and why.
pub fn silent_listeners(edge: &Edge) -> impl Iterator<Item = String> {
    let listeners = edge.report.iter().flat_map(|report| &report.listeners);
    listeners.filter(|listener| listener.state == ListenerState::Failed).map(|listener| {
        format!("{}: {}", listener.listen, listener.error.as_deref().unwrap_or("not listening"))
    })
}

/// What an edge itself reports to be wrong, a line each.
pub fn trouble(edge: &Edge) -> Vec<String> {
    let refused = edge.report.iter().flat_map(|report| &report.refused);
    let refused = refused.map(|refused| {
        format!("{}: refuses route {}: {}", edge.name, refused.route_id, refused.reason)
    });
    let silent = silent_listeners(edge)
        .map(|listener| format!("{}: cannot listen on {listener}", edge.name));
    refused.chain(silent).collect()
}

#[cfg(test)]
pub mod tests {
    use sextant_api::resource::edge::{EdgeListener, EdgeReport, RefusedRoute};
    use sextant_model::{Cursor, DnsLabel, Epoch, NetworkId, NodeId, RouteId};
    use uuid::Uuid;

    use super::*;
    use crate::health::tests::now;

    /// An edge `e<number>` that is well.
    pub fn edge(number: u8) -> Edge {
        let id = Uuid::from_u128(number.into());
        Edge {
            node_id: NodeId(id),
            name: DnsLabel::new(format!("e{number}")).expect("label"),
            network_id: NetworkId(id),
            newest: 42,
            revision: Some(43),
            in_sync: true,
            last_seen_at: Some(now()),
            last_seen_age_s: Some(3),
            newest_age_s: None,
            report: Some(EdgeReport {
                revision: Cursor { epoch: Epoch(id), event_id: 43 },
                version: "0.1.0".into(),
                routes: 7,
                refused: Vec::new(),
                listeners: vec![listener(ListenerState::Listening)],
            }),
        }
    }

    /// Port 443.
    pub fn listener(state: ListenerState) -> EdgeListener {
        let error = (state == ListenerState::Failed).then(|| "address in use".into());
        EdgeListener { listen: "[::]:443".parse().expect("address"), state, error }
    }

    /// What it last reported.
    pub fn report(edge: &mut Edge) -> &mut EdgeReport {
        edge.report.as_mut().expect("report")
    }

    /// Lets it refuse a route.
    pub fn refuse(edge: &mut Edge) {
        let route_id = RouteId(Uuid::from_u128(9));
        report(edge).refused.push(RefusedRoute { route_id, reason: "taken".into() });
    }

    #[test]
    fn each_reason_alone_makes_an_edge_differ() {
        type Change = fn(&mut Edge);
        let changes: [(Change, &str); 6] = [
            (|edge| edge.last_seen_age_s = None, "e2 never reported"),
            (|edge| edge.revision = None, "e2 never reported"),
            (|edge| edge.last_seen_age_s = Some(30), "e2 was last seen 30s ago"),
            (|edge| (edge.in_sync, edge.revision) = (false, Some(40)), "e2 is at event 40, not 42"),
            (|edge| refuse(edge), "e2 refuses 1 route"),
            (
                |edge| report(edge).listeners.push(listener(ListenerState::Failed)),
                "e2 cannot listen on 1 socket",
            ),
        ];
        assert!(complaints(&[edge(1), edge(2)]).is_empty());
        for (change, complaint) in changes {
            let mut edges = [edge(1), edge(2)];
            change(&mut edges[1]);
            assert_eq!(complaints(&edges), [complaint]);
        }
    }
}
