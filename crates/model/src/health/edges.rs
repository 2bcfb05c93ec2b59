//! Edges: whether each serves what it should.

use super::{Edge, Finding, Kind, Mesh, Platform, text};
use crate::placement::CONTACT_LIMIT;

pub(super) fn findings(platform: &Platform<'_>, mesh: &Mesh<'_>) -> Vec<Finding> {
    let silent = |edge: &&Edge<'_>| {
        let node = mesh.index.get(&edge.id);
        node.is_none_or(|at| mesh.heard.contains(at))
    };
    platform.edges.iter().filter(silent).flat_map(edge).collect()
}

fn edge(edge: &Edge<'_>) -> Vec<Finding> {
    let find = |kind, what: String, remedy: &str| {
        Finding::new(kind, format!("edge {}", edge.name), what, remedy).about([edge.id])
    };
    let look = "look at the log of sextant-edge there, and whether it reaches the control plane";
    let (Some(age), Some(revision)) = (edge.contact_age_s, edge.revision) else {
        let what = "it has never reported".to_owned();
        return vec![find(Kind::EdgeSilent, what, look)];
    };
    if age >= CONTACT_LIMIT.as_secs() {
        return vec![find(Kind::EdgeSilent, format!("it was last seen {}", text::age(age)), look)];
    }
    let mut findings: Vec<Finding> = edge
        .refused
        .iter()
        .map(|(route, reason)| {
            find(
                Kind::EdgeRefuses,
                format!("it refuses route {route}: {reason}"),
                "change or delete the route, or the one it collides with; `sextant route show` has it",
            )
        })
        .collect();
    findings.extend(edge.silent.iter().map(|(listen, reason)| {
        find(
            Kind::EdgeListener,
            format!("it cannot listen on {listen}: {reason}"),
            "free the port on that machine (`ss -ltnp`), or let sextant-edge bind it \
             (CAP_NET_BIND_SERVICE)",
        )
    }));
    if let Some(newest) = edge.behind.filter(|_| findings.is_empty()) {
        findings.push(find(
            Kind::EdgeBehind,
            format!("it is at event {revision}, not {newest}"),
            look,
        ));
    }
    findings
}
