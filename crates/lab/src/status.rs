//! What runs and what does not.

use std::net::Ipv6Addr;

use serde::Serialize;
use sextant_api::resource::{edge::Edge, status::Status};

use crate::{description::LabDescription, lab::Target, operator::Operator};

/// A lab at this moment.
#[derive(Debug, Serialize)]
pub struct LabStatus {
    /// Every daemon.
    pub daemons: Vec<DaemonStatus>,
    /// What the control plane says of the nodes, or why it says nothing.
    pub control_plane: Result<Status, String>,
    /// What it says of the edges.
    pub edges: Vec<Edge>,
}

/// One daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DaemonStatus {
    /// How `start` and `stop` name it: its host, `postgres`, or one like `e1.edge`.
    pub host: String,
    /// What it is.
    pub program: &'static str,
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// It is the agent of a node that has left the mesh for good: it does not have to run.
    pub left: bool,
    /// The host's address on the underlay.
    pub underlay: Option<Ipv6Addr>,
    /// The host's address in the mesh.
    pub overlay: Option<Ipv6Addr>,
}

impl LabStatus {
    /// Looks at every process and asks the control plane.
    pub fn of(lab: &LabDescription) -> Self {
        let operator = Operator::of(lab);
        let ask = |operator: &Operator| Ok((operator.status()?, operator.edges()?));
        let (status, edges) = match operator.and_then(|operator| ask(&operator)) {
            Ok((status, edges)) => (Ok(status), edges),
            Err(error) => (Err(error), Vec::new()),
        };
        let mut lab = lab.clone();
        if let Ok(status) = &status {
            lab.take_note(status);
        }
        let control_plane = status.map_err(|error| error.to_string());
        Self { daemons: daemons(&lab), control_plane, edges }
    }

    /// Whether every daemon runs, those of nodes that have left aside.
    pub fn all_run(&self) -> bool {
        self.daemons.iter().all(|daemon| daemon.pid.is_some() || daemon.left)
    }

    /// As a table.
    pub fn table(&self) -> Vec<Vec<String>> {
        let titles = ["HOST", "PROGRAM", "PID", "UNDERLAY", "OVERLAY", "REVISION", "CONTACT"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        for daemon in &self.daemons {
            let (revision, contact) = self.reported(&daemon.host);
            rows.push(vec![
                daemon.host.clone(),
                daemon.program.to_owned(),
                match daemon.pid {
                    Some(pid) => pid.to_string(),
                    None if daemon.left => "left".to_owned(),
                    None => "stopped".to_owned(),
                },
                daemon.underlay.map(|address| address.to_string()).unwrap_or_default(),
                daemon.overlay.map(|address| address.to_string()).unwrap_or_default(),
                revision,
                contact,
            ]);
        }
        rows
    }

    fn reported(&self, host: &str) -> (String, String) {
        let text = |revision: Option<i64>, age: Option<u64>| {
            let contact = age.map(|age| format!("{age} s ago")).unwrap_or_default();
            (revision.map(|revision| revision.to_string()).unwrap_or_default(), contact)
        };
        let is_here = |edge: &&Edge| Target::Edge(edge.name.to_string()).to_string() == host;
        if let Some(edge) = self.edges.iter().find(is_here) {
            return text(edge.revision, edge.last_seen_age_s);
        }
        let nodes = self.control_plane.as_ref().map(|status| status.nodes.as_slice());
        let node = nodes.unwrap_or_default().iter().find(|node| node.node.name.as_str() == host);
        node.map_or_else(Default::default, |node| text(node.revision, node.contact_age_s))
    }
}

fn daemons(lab: &LabDescription) -> Vec<DaemonStatus> {
    let living = |pid: Option<u32>| pid.filter(|pid| lab.lab_id.marks(*pid));
    let database = DaemonStatus {
        host: "postgres".to_owned(),
        program: "postgres",
        pid: living(lab.postgres_pid),
        left: false,
        underlay: None,
        overlay: None,
    };
    let replicas = lab.replicas.iter().map(|replica| DaemonStatus {
        host: replica.name.clone(),
        program: "sextant-control",
        pid: living(replica.pids.control),
        left: false,
        underlay: Some(replica.underlay),
        overlay: None,
    });
    let nodes = lab.nodes.iter().flat_map(|node| {
        let on_node = |target: Target, program, pid| DaemonStatus {
            host: target.to_string(),
            program,
            pid: living(pid),
            left: node.has_left(),
            underlay: Some(node.underlay),
            overlay: node.overlay,
        };
        let (name, pids) = (|| node.name.clone(), &node.pids);
        let agent = on_node(Target::Host(name()), "sextant-agent", pids.agent);
        let edge = node.is_edge().then(|| on_node(Target::Edge(name()), "sextant-edge", pids.edge));
        let serves = node.certificates.is_some();
        let workloads =
            serves.then(|| on_node(Target::Workloads(name()), "sextant-lab serve", pids.workloads));
        std::iter::once(agent).chain(edge).chain(workloads)
    });
    std::iter::once(database).chain(replicas).chain(nodes).collect()
}

/// A table with aligned columns.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length =
        |row: &Vec<String>, column: usize| row.get(column).map(|cell| cell.chars().count());
    let width = |column| rows.iter().filter_map(|row| length(row, column)).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned(), "c".to_owned()]];
        assert_eq!(aligned(&rows), "a     b\nlong  c");
    }
}
