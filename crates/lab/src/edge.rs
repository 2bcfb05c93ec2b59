//! The edges of a lab, and the client outside the mesh that reaches them.

use std::{ffi::OsString, net::Ipv6Addr, ops::ControlFlow, path::PathBuf, time::Duration};

use sextant_api::{client::PageQuery, page::MAX_LIMIT, resource::edge::Edge};

use crate::{
    command::tail,
    description::ClientDescription,
    directory::write_config,
    error::{LabError, Result},
    lab::{Lab, Target},
    operator::Operator,
    process::Daemon,
    underlay,
    wait::until_saying,
};

/// The name of the host outside the mesh.
pub const CLIENT: &str = "client";

impl Lab {
    /// Makes the host outside the mesh. It has a cable like every other one, no WireGuard, and no
    /// route but to the underlay.
    pub(crate) fn add_client(&mut self) -> Result<()> {
        let address = underlay::client_address(&self.description.lab_id);
        let host = self.add_host(CLIENT, address)?;
        self.description.client = Some(ClientDescription {
            name: CLIENT.to_owned(),
            netns: host.netns(&self.description.lab_id),
            underlay: address,
            holder: host.holder,
        });
        self.save()
    }

    /// Configures the edge of a node and starts it.
    pub(crate) fn install_edge(&mut self, name: &str) -> Result<()> {
        let config = self.edge_config(name)?;
        write_config(&self.edge_config_file(name), &config)?;
        let index = self.node_index(name)?;
        self.description.nodes[index].edge_admin = Some(self.edge_admin(name));
        self.start_edge(name)
    }

    /// Starts the edge of a node.
    pub fn start_edge(&mut self, name: &str) -> Result<()> {
        let mut command = self.description.host(name)?.entry();
        let program = self.programs.edge()?;
        let config = self.edge_config_file(name);
        command.extend([program.into(), "--config".into(), OsString::from(config)]);
        let log = self.directory.log(&Target::Edge(name.to_owned()).to_string());
        let daemon = Daemon { command, log: Some(&log), listener: None };
        let pid = daemon.start(&self.description.lab_id)?;
        let index = self.node_index(name)?;
        self.description.nodes[index].pids.edge = Some(pid);
        self.save()
    }

    /// Waits until every edge that is meant to run serves the newest routes.
    pub fn await_edges(&self, operator: &Operator, limit: Duration) -> Result<Vec<Edge>> {
        let meant: Vec<_> =
            self.description.edges().filter(|node| node.pids.edge.is_some()).collect();
        let what = "every edge to serve the newest routes";
        until_saying(what, limit, &self.interrupt, &self.progress, || {
            for node in &meant {
                let target = Target::Edge(node.name.clone());
                if node.pids.edge.is_some_and(|pid| !self.description.lab_id.marks(pid)) {
                    let log = self.directory.log(&target.to_string());
                    let what = format!("the edge on \"{}\"", node.name);
                    return Err(LabError::Died { what, tail: tail(&log, 15), log });
                }
            }
            let edges = match operator.edges() {
                Ok(edges) => edges,
                Err(error) => return Ok(ControlFlow::Continue(error.to_string())),
            };
            let behind: Vec<_> = meant
                .iter()
                .filter_map(|node| {
                    let edge = edges.iter().find(|edge| edge.name.as_str() == node.name);
                    match edge {
                        None => Some(format!("{} is not known", node.name)),
                        Some(edge) if !edge.in_sync => Some(format!("{} is behind", node.name)),
                        Some(_) => None,
                    }
                })
                .collect();
            Ok(if behind.is_empty() {
                ControlFlow::Break(edges)
            } else {
                ControlFlow::Continue(behind.join(", "))
            })
        })
    }

    /// The underlay addresses of the edges.
    pub fn edge_addresses(&self) -> Vec<(String, Ipv6Addr)> {
        self.description.edges().map(|edge| (edge.name.clone(), edge.underlay)).collect()
    }

    fn edge_config_file(&self, name: &str) -> PathBuf {
        self.directory.node(name).join("edge.toml")
    }

    /// A socket in a file that also whoever is outside the host's namespaces can open.
    fn edge_admin(&self, name: &str) -> PathBuf {
        self.directory.node(name).join("edge.sock")
    }

    fn edge_config(&self, name: &str) -> Result<serde_json::Value> {
        let node = self.description.node(name)?;
        let directory = self.directory.node(name);
        Ok(serde_json::json!({
            "admin": self.edge_admin(name),
            "access_log": directory.join("access.log"),
            "control_plane": {
                "urls": self.underlay_api_urls()?,
                "identity": node.state,
                "state_dir": directory.join("edge"),
                "listen_addresses": [Ipv6Addr::UNSPECIFIED],
            },
        }))
    }
}

impl Operator {
    /// Every edge, with what it serves.
    pub fn edges(&self) -> Result<Vec<Edge>> {
        let query = PageQuery { after: None, limit: Some(MAX_LIMIT) };
        Ok(self.ask("list the edges", self.client().edges(&query))?.items)
    }
}
