//! The nodes of a lab.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

use sextant_model::{DnsLabel, NodeRole};

use crate::{
    description::{NodeDescription, NodePids},
    directory::{private_directory, write_config, write_private},
    edge::CLIENT,
    error::{LabError, Result},
    lab::Lab,
    operator::Operator,
    process::{self, Daemon},
    underlay,
};

/// The mesh interface on every node.
pub const INTERFACE: &str = "sextant0";
const WIREGUARD_PORT: u16 = 51820;

impl Lab {
    /// Adds a machine with a fresh enrolment token and starts its agent. Without a name it gets
    /// the next of `n1`, `n2` and so on. Does not wait for it to join. Returns its name.
    pub fn add_node(&mut self, operator: &Operator, name: Option<&str>) -> Result<String> {
        let index = self.description.last_index + 1;
        let name = self.new_name(name, &format!("n{index}"))?;
        let address = underlay::node_address(&self.description.lab_id, index);
        self.add_machine(operator, &name, index, address, &[NodeRole::Worker])?;
        self.description.last_index = index;
        self.save()?;
        let name = String::from(name);
        self.start_agent(&name)?;
        if self.description.client.is_some() {
            self.serve_workloads(&name)?;
        }
        Ok(name)
    }

    /// Like [`Self::add_node`] with the role edge: `e1`, `e2` and so on. Its edge is started once it
    /// has joined, see [`Self::install_edges`].
    pub fn add_edge(&mut self, operator: &Operator) -> Result<String> {
        let index = self.description.last_edge + 1;
        let name = self.new_name(None, &format!("e{index}"))?;
        let address = underlay::edge_address(&self.description.lab_id, index);
        self.add_machine(operator, &name, index, address, &[NodeRole::Edge])?;
        self.description.last_edge = index;
        self.save()?;
        let name = String::from(name);
        self.start_agent(&name)?;
        Ok(name)
    }

    /// Starts the edges that have never run, makes the client, and has the workloads of every
    /// worker answered for.
    pub fn install_edges(&mut self) -> Result<()> {
        if self.description.client.is_none() {
            self.add_client()?;
        }
        for node in self.description.nodes.clone() {
            if node.is_edge() && node.edge_admin.is_none() {
                self.install_edge(&node.name)?;
            }
            if node.is_worker() && node.certificates.is_none() {
                self.serve_workloads(&node.name)?;
            }
        }
        Ok(())
    }

    /// A machine that has not enrolled yet.
    fn add_machine(
        &mut self,
        operator: &Operator,
        name: &DnsLabel,
        index: u16,
        address: Ipv6Addr,
        roles: &[NodeRole],
    ) -> Result<()> {
        let network_id = self.network_id(operator)?;
        let token = operator.enrolment_token(network_id, name, roles)?;
        let host = self.add_host(name.as_str(), address)?;
        let directory = self.directory.node(name.as_str());
        private_directory(&directory)?;
        write_private(&directory.join("token"), &token)?;
        let config = self.agent_config(name.as_str(), address)?;
        write_config(&directory.join("agent.toml"), &config)?;
        let pids = NodePids {
            holder: host.holder,
            agent: None,
            edge: None,
            workloads: None,
            wireguard: None,
        };
        self.description.nodes.push(NodeDescription {
            netns: host.netns(&self.description.lab_id),
            name: String::from(name.clone()),
            roles: roles.to_vec(),
            index,
            underlay: address,
            overlay: None,
            prefix: None,
            state: state(&directory),
            edge_admin: None,
            certificates: None,
            departed: false,
            pids,
        });
        self.save()
    }

    /// Starts the agent of a node.
    pub fn start_agent(&mut self, name: &str) -> Result<()> {
        self.start_agent_by(name, &[])
    }

    /// Starts the agent of a node with these words before its command line.
    pub fn start_agent_by(&mut self, name: &str, words: &[&str]) -> Result<()> {
        let mut command = self.description.host(name)?.entry();
        command.extend(words.iter().map(OsString::from));
        let config = self.directory.node(name).join("agent.toml");
        let program = self.programs.agent()?;
        command.extend(self.clock_words(name)?);
        command.extend([program.into(), "run".into(), "--config".into(), OsString::from(config)]);
        let log = self.directory.log(name);
        let daemon = Daemon { command, log: Some(&log), listener: None };
        let pid = daemon.start(&self.description.lab_id)?;
        let index = self.node_index(name)?;
        self.description.nodes[index].pids.agent = Some(pid);
        self.save()
    }

    /// Writes down which wireguard-go belongs to which node.
    pub fn find_wireguard(&mut self) -> Result<()> {
        let is_wireguard =
            |pid: &u32| process::program_name(*pid).as_deref() == Some("wireguard-go");
        let running: Vec<u32> =
            self.description.lab_id.processes().into_iter().filter(is_wireguard).collect();
        for node in &mut self.description.nodes {
            let holder = node.pids.holder;
            node.pids.wireguard =
                running.iter().copied().find(|pid| process::same_network(*pid, holder));
        }
        self.save()
    }

    fn new_name(&self, given: Option<&str>, next: &str) -> Result<DnsLabel> {
        let text = given.unwrap_or(next).to_owned();
        let unusable = |reason: String| LabError::UnusableName { name: text.clone(), reason };
        let name = text.parse::<DnsLabel>().map_err(|error| unusable(error.to_string()))?;
        let hosts = self.description.hosts();
        let taken: BTreeSet<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let numbered =
            |kind| text.strip_prefix(kind).is_some_and(|rest| rest.parse::<u16>().is_ok());
        // A replica, an edge or the client may come later.
        let reserved = numbered('c') || (numbered('e') && text != next);
        let reserved = reserved || ["postgres", "switch", CLIENT].contains(&text.as_str());
        if taken.contains(text.as_str()) || reserved {
            return Err(unusable("it is taken or reserved; choose another name".to_owned()));
        }
        Ok(name)
    }

    fn agent_config(&self, name: &str, address: Ipv6Addr) -> Result<serde_json::Value> {
        let directory = self.directory.node(name);
        Ok(serde_json::json!({
            "state_dir": state(&directory),
            "api_urls": self.underlay_api_urls()?,
            "node_name": name,
            "enrolment_token_file": directory.join("token"),
            "endpoint": format!("[{address}]:{WIREGUARD_PORT}"),
            "wireguard": {
                "interface": INTERFACE,
                "listen_port": WIREGUARD_PORT,
                "implementation": "auto",
            },
        }))
    }
}

/// Where the agent of a node keeps its state, below the node's files.
fn state(directory: &Path) -> PathBuf {
    directory.join("state")
}
