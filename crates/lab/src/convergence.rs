//! When a mesh has converged: every node knows every other, and packets flow.

use std::{ops::ControlFlow, time::Duration};

use sextant_api::resource::status::{NodeStatus, Status};
use sextant_model::Timestamp;

use crate::{
    command::tail,
    error::{LabError, Result},
    lab::Lab,
    operator::Operator,
    ping::ping_all,
    wait::until_saying,
};

impl Lab {
    /// Waits until the mesh of all nodes that have not left and whose agent is meant to run has
    /// converged: every one has joined, has acknowledged the last join and, if `since` is given,
    /// has been heard of since; and every ordered pair pings.
    pub fn await_converged(
        &mut self,
        operator: &Operator,
        since: Option<Timestamp>,
        limit: Duration,
    ) -> Result<()> {
        let (interrupt, progress) = (self.interrupt.clone(), self.progress.clone());
        until_saying("all nodes to acknowledge", limit, &interrupt, &progress, || {
            let status = operator.status();
            if let Ok(status) = &status {
                self.description.take_note(status);
            }
            self.check_agents()?;
            // Not being reachable yet is a state like others.
            let status = match status {
                Ok(status) => status,
                Err(error) => return Ok(ControlFlow::Continue(error.to_string())),
            };
            let meant_to_run = self.description.members().filter(|node| node.pids.agent.is_some());
            let names: Vec<&str> = meant_to_run.map(|node| node.name.as_str()).collect();
            Ok(match missing(&status, &names, since) {
                None => ControlFlow::Break(()),
                Some(missing) => ControlFlow::Continue(missing),
            })
        })?;
        self.find_wireguard()?;
        self.await_pings(limit)
    }

    /// Waits until every ordered pair of nodes with an overlay address that have not left pings.
    pub fn await_pings(&self, limit: Duration) -> Result<()> {
        until_saying("all pairs to ping", limit, &self.interrupt, &self.progress, || {
            let pings = ping_all(&self.description)?;
            let lost = pings.iter().filter(|ping| ping.rtt_ms.is_none());
            let lost: Vec<_> = lost.map(|ping| format!("{} -> {}", ping.from, ping.to)).collect();
            Ok(if lost.is_empty() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(format!("no answer: {}", lost.join(", ")))
            })
        })
    }

    fn check_agents(&self) -> Result<()> {
        for node in self.description.members() {
            if node.pids.agent.is_some_and(|pid| !self.description.lab_id.marks(pid)) {
                let what = format!("the agent of \"{}\"", node.name);
                let log = self.directory.log(&node.name);
                return Err(LabError::Died { what, tail: tail(&log, 15), log });
            }
        }
        Ok(())
    }
}

/// What is missing until all of `names` have converged; `None` if nothing is.
fn missing(status: &Status, names: &[&str], since: Option<Timestamp>) -> Option<String> {
    let last_join = status.nodes.iter().map(|node| node.node.enrolled_event_id).max();
    let reasons: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let node = status.nodes.iter().find(|node| node.node.name.as_str() == *name);
            let reason = node.map_or(Some("not enrolled"), |node| lacks(node, last_join, since));
            reason.map(|reason| format!("{name} {reason}"))
        })
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

fn lacks(
    node: &NodeStatus,
    last_join: Option<i64>,
    since: Option<Timestamp>,
) -> Option<&'static str> {
    if node.revision.is_none() {
        Some("has not reported")
    } else if node.revision < last_join {
        Some("does not know every node")
    } else if since.is_some() && node.last_contact_at < since {
        Some("has not been heard of")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LabDescription, description::tests::on_paper};

    fn status(nodes: serde_json::Value) -> Status {
        let nodes: Vec<serde_json::Value> = nodes
            .as_array()
            .expect("nodes")
            .iter()
            .map(|node| {
                serde_json::json!({
                    "node": {
                        "id": uuid::Uuid::nil(), "network_id": uuid::Uuid::nil(),
                        "name": node["name"], "roles": ["worker"], "phase": node["phase"],
                        "public_key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
                        "endpoint": "[fd5e::1]:51820", "addresses": {"ipv6": "fd00::1"},
                        "prefix": "fd00:0:0:1::/64", "version": 1,
                        "enrolled_at": "2026-01-01T00:00:00Z", "enrolled_event_id": node["joined"],
                    },
                    "revision": node["revision"], "last_contact_at": "2026-01-01T00:00:10Z",
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "epoch": uuid::Uuid::nil(), "settled": 9, "projections": [], "nodes": nodes,
            "now": "2026-01-01T00:00:20Z", "version": "0",
        }))
        .expect("a status")
    }

    #[test]
    fn a_mesh_has_converged_when_every_node_has_acknowledged_the_last_join() {
        let names = ["a", "b"];
        let table = [
            (r#"[{"name":"a","phase":"active","joined":3,"revision":7}]"#, "b not enrolled"),
            (
                r#"[{"name":"a","phase":"active","joined":3,"revision":4},
                    {"name":"b","phase":"active","joined":5,"revision":null}]"#,
                "a does not know every node, b has not reported",
            ),
        ];
        for (nodes, expected) in table {
            let nodes = serde_json::from_str(nodes).expect(nodes);
            assert_eq!(missing(&status(nodes), &names, None).as_deref(), Some(expected));
        }
        let all = serde_json::json!([
            {"name": "a", "phase": "active", "joined": 3, "revision": 5},
            {"name": "b", "phase": "active", "joined": 5, "revision": 5},
        ]);
        let all = status(all);
        assert_eq!(missing(&all, &names, None), None);
        let later = all.now;
        assert!(missing(&all, &names, Some(later)).is_some_and(|text| text.contains("heard of")));
    }

    #[test]
    fn who_was_a_member_and_is_not_any_more_has_left() {
        let mut lab = on_paper(&["a", "b", "c"]);
        let members = |lab: &LabDescription| {
            lab.members().map(|node| node.name.clone()).collect::<Vec<_>>().concat()
        };
        lab.take_note(&status(serde_json::json!([
            {"name": "a", "phase": "active", "joined": 3, "revision": 5},
            {"name": "b", "phase": "active", "joined": 5, "revision": 5},
        ])));
        assert_eq!(members(&lab), "abc", "c has not joined yet");
        lab.take_note(&status(serde_json::json!([
            {"name": "a", "phase": "withdrawn", "joined": 3, "revision": 5},
            {"name": "c", "phase": "active", "joined": 7, "revision": 7},
        ])));
        assert_eq!(members(&lab), "c", "a is leaving, b is released");
    }
}
