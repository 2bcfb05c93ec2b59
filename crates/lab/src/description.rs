//! `lab.json`: everything one needs to know to use a running lab.

use std::{
    fs,
    io::ErrorKind,
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sextant_api::resource::{node::NodePhase, status::Status};
use sextant_model::{DnsLabel, NetworkId, NodeRole, Prefix};
use url::Url;

use crate::{
    directory::{LabDirectory, write_private},
    error::{LabError, Result},
    host::{Host, Mode},
    lab::Target,
    process::LabId,
};

/// A lab. Kept up to date on every change; a process whose id is absent is not meant to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabDescription {
    /// The mark of its processes.
    pub lab_id: LabId,
    /// How its namespaces were made.
    pub mode: Mode,
    /// Where the daemons' programs are.
    pub binaries: PathBuf,
    /// The network its nodes join.
    pub network: DnsLabel,
    /// The id of that network, once it exists.
    pub network_id: Option<NetworkId>,
    /// The replicas as the machine itself reaches them, from outside the lab's namespaces.
    pub api_urls: Vec<Url>,
    /// The API token of the first administrator.
    pub admin_token_file: PathBuf,
    /// The certificate of the control plane's CA.
    pub ca_file: PathBuf,
    /// Connects to the control plane's database as its owner.
    pub postgres_url: String,
    /// The postmaster.
    pub postgres_pid: Option<u32>,
    /// The prefix of all underlay addresses.
    pub underlay: String,
    /// Holder of the namespaces in which the bridge is.
    pub switch: u32,
    /// The control plane.
    pub replicas: Vec<ReplicaDescription>,
    /// The nodes, edges among them.
    pub nodes: Vec<NodeDescription>,
    /// The highest number a node ever had; numbers and underlay addresses are not used again.
    pub last_index: u16,
    /// The same for edges.
    pub last_edge: u16,
    /// A machine outside the mesh that reaches the edges as the rest of the world does; present
    /// where there are edges.
    pub client: Option<ClientDescription>,
}

/// The machine outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientDescription {
    /// `client`.
    pub name: String,
    /// Its network namespace, as `ip netns` knows it, or a path.
    pub netns: String,
    /// Its address on the underlay, the only one it has.
    pub underlay: Ipv6Addr,
    /// Holds the namespaces.
    pub holder: u32,
}

/// One replica of the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaDescription {
    /// `c1`, `c2` and so on.
    pub name: String,
    /// Its network namespace, as `ip netns` knows it, or a path.
    pub netns: String,
    /// Its address on the underlay.
    pub underlay: Ipv6Addr,
    /// Its URL for the machine itself.
    pub api_url: Url,
    /// Its processes.
    pub pids: ReplicaPids,
}

/// The processes of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaPids {
    /// Holds the namespaces.
    pub holder: u32,
    /// The daemon.
    pub control: Option<u32>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// `n1`, `e1` for an edge, or the name it was given.
    pub name: String,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// Its network namespace, as `ip netns` knows it, or a path.
    pub netns: String,
    /// Its number among the nodes or among the edges, from 1; its underlay address follows from it.
    pub index: u16,
    /// Its address on the underlay.
    pub underlay: Ipv6Addr,
    /// Its address in the mesh, once it has joined.
    pub overlay: Option<Ipv6Addr>,
    /// The prefix of its workloads, once it has joined.
    pub prefix: Option<Prefix>,
    /// What its agent remembers.
    pub state: PathBuf,
    /// Where its edge is asked for its status; absent on other nodes.
    pub edge_admin: Option<PathBuf>,
    /// Certificates of the workloads that run here, as PEM files `ADDRESS/NAME.crt`; absent where
    /// none are run.
    pub certificates: Option<PathBuf>,
    /// The control plane was seen not to count it as a member any more.
    pub departed: bool,
    /// Its processes.
    pub pids: NodePids,
}

/// By this file in its state an agent remembers that its node has left.
const LEFT: &str = "left";

impl NodeDescription {
    /// Whether it has left the mesh for good, or is about to.
    pub fn has_left(&self) -> bool {
        self.departed || self.state.join(LEFT).exists()
    }

    /// Whether it accepts connections from outside.
    pub fn is_edge(&self) -> bool {
        self.roles.contains(&NodeRole::Edge)
    }

    /// Whether workloads are placed on it.
    pub fn is_worker(&self) -> bool {
        self.roles.contains(&NodeRole::Worker)
    }
}

/// The processes of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePids {
    /// Holds the namespaces.
    pub holder: u32,
    /// The agent.
    pub agent: Option<u32>,
    /// `sextant-edge`.
    pub edge: Option<u32>,
    /// What answers at the addresses of the workloads.
    pub workloads: Option<u32>,
    /// wireguard-go; absent where the kernel has WireGuard.
    pub wireguard: Option<u32>,
}

impl LabDescription {
    /// Reads the description of the lab in `directory`.
    pub fn read(directory: &LabDirectory) -> Result<Self> {
        let path = directory.description();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(directory.without_description()?);
            }
            result => result.map_err(LabError::file("read", &path))?,
        };
        serde_json::from_str(&text).map_err(|source| LabError::Malformed {
            what: "a lab",
            path,
            source,
        })
    }

    /// Writes it; a reader sees the old one or the new one, never a part.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|source| LabError::Malformed {
            what: "a lab",
            path: path.to_owned(),
            source,
        })?;
        let new = path.with_extension("json.new");
        write_private(&new, &text)?;
        fs::rename(&new, path).map_err(LabError::file("replace", path))
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Result<&NodeDescription> {
        let known = || self.nodes.iter().map(|node| node.name.clone()).collect();
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| unknown("node", name, known()))
    }

    /// The edges that have not left.
    pub fn edges(&self) -> impl Iterator<Item = &NodeDescription> {
        self.members().filter(|node| node.is_edge())
    }

    /// The edge of that name.
    pub fn edge(&self, name: &str) -> Result<&NodeDescription> {
        let known = || self.edges().map(|edge| edge.name.clone()).collect();
        self.edges().find(|edge| edge.name == name).ok_or_else(|| unknown("edge", name, known()))
    }

    /// The node at which workloads with addresses in this node's prefix run.
    pub fn node_of_workload(&self, address: Ipv6Addr) -> Option<&NodeDescription> {
        let owns = |prefix: Prefix| prefix.contains(address.into());
        self.nodes.iter().find(|node| node.prefix.is_some_and(owns))
    }

    /// The nodes that have not left, be it that they have not joined yet.
    pub fn members(&self) -> impl Iterator<Item = &NodeDescription> {
        self.nodes.iter().filter(|node| !node.has_left())
    }

    /// Takes note of what the control plane says: addresses, and who is no member any more.
    pub fn take_note(&mut self, status: &Status) {
        for node in &mut self.nodes {
            let found = status.nodes.iter().map(|status| &status.node);
            let found = found.into_iter().find(|other| other.name.as_str() == node.name);
            if let Some(known) = found {
                node.overlay = known.addresses.ipv6();
                node.prefix = Some(known.prefix);
            }
            // Who is not in the status has either been released or not enrolled yet.
            let is_active = found.is_some_and(|known| known.phase == NodePhase::Active);
            node.departed = node.overlay.is_some() && !is_active;
        }
    }

    /// The host of that name: a node, a replica, the client or the switch.
    pub fn host(&self, name: &str) -> Result<Host> {
        self.hosts().into_iter().find(|host| host.name == name).ok_or_else(|| {
            let known = self.hosts().into_iter().map(|host| host.name);
            unknown("host", name, known.collect())
        })
    }

    /// The host outside the mesh.
    pub fn client_host(&self) -> Result<Host> {
        let name = self.client.as_ref().map_or("client", |client| client.name.as_str());
        self.host(name)
    }

    /// Every host: the switch, replicas, nodes, the client.
    pub fn hosts(&self) -> Vec<Host> {
        let host = |name: &str, holder| Host { name: name.to_owned(), holder, mode: self.mode };
        let replicas = self.replicas.iter().map(|replica| host(&replica.name, replica.pids.holder));
        let nodes = self.nodes.iter().map(|node| host(&node.name, node.pids.holder));
        let client = self.client.iter().map(|client| host(&client.name, client.holder));
        let switch = std::iter::once(host("switch", self.switch));
        switch.chain(replicas).chain(nodes).chain(client).collect()
    }

    /// The host a node is.
    pub fn host_of(&self, node: &NodeDescription) -> Host {
        Host { name: node.name.clone(), holder: node.pids.holder, mode: self.mode }
    }

    /// The environment in which `sextant` talks to the lab as its first administrator, and the
    /// addresses of the edges.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        let urls: Vec<&str> = self.api_urls.iter().map(Url::as_str).collect();
        let edges: Vec<_> = self.edges().map(|edge| edge.underlay.to_string()).collect();
        let path = |path: &Path| path.to_string_lossy().into_owned();
        [
            ("SEXTANT_API_URLS", urls.join(",")),
            ("SEXTANT_TOKEN_FILE", path(&self.admin_token_file)),
            ("SEXTANT_CA_FILE", path(&self.ca_file)),
            ("SEXTANT_LAB_EDGES", edges.join(",")),
        ]
    }

    pub(crate) fn no_replica(&self, name: &str) -> LabError {
        let known = self.replicas.iter().map(|replica| replica.name.clone());
        unknown("replica", name, known.collect())
    }

    /// An error unless a daemon has that name: `postgres`, that of its host, or one like `e1.edge`.
    pub fn check_daemon(&self, name: &str) -> Result<()> {
        let replicas = self.replicas.iter().map(|replica| replica.name.clone());
        let nodes = self.nodes.iter().map(|node| node.name.clone());
        let edges = self.nodes.iter().filter(|node| node.is_edge());
        let edges = edges.map(|node| Target::Edge(node.name.clone()).to_string());
        let serving = self.nodes.iter().filter(|node| node.certificates.is_some());
        let serving = serving.map(|node| Target::Workloads(node.name.clone()).to_string());
        let database = std::iter::once(Target::Postgres.to_string());
        let known: Vec<String> =
            database.chain(replicas).chain(nodes).chain(edges).chain(serving).collect();
        if known.iter().any(|daemon| daemon == name) {
            return Ok(());
        }
        Err(unknown("daemon", name, known))
    }
}

fn unknown(kind: &'static str, name: &str, known: Vec<String>) -> LabError {
    LabError::Unknown { kind, name: name.to_owned(), known: known.join(", ") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A lab with one replica and these nodes, which exists on paper only.
    pub(crate) fn on_paper(names: &[&str]) -> LabDescription {
        let node = |(index, name): (u16, &&str)| NodeDescription {
            name: (*name).to_owned(),
            roles: vec![NodeRole::Worker],
            netns: String::new(),
            index,
            underlay: Ipv6Addr::UNSPECIFIED,
            overlay: None,
            prefix: None,
            state: PathBuf::new(),
            edge_admin: None,
            certificates: None,
            departed: false,
            pids: NodePids { holder: 1, agent: None, edge: None, workloads: None, wireguard: None },
        };
        LabDescription {
            lab_id: LabId::new([1; 16]),
            mode: Mode::Root,
            binaries: PathBuf::new(),
            network: "mesh".parse().expect("label"),
            network_id: None,
            api_urls: Vec::new(),
            admin_token_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            postgres_url: String::new(),
            postgres_pid: None,
            underlay: String::new(),
            switch: 1,
            replicas: Vec::new(),
            nodes: (1..).zip(names).map(node).collect(),
            last_index: 0,
            last_edge: 0,
            client: None,
        }
    }

    #[test]
    fn a_description_survives_its_file_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().expect("directory");
        let directory = LabDirectory::choose(Some(temporary.path())).expect("usable");
        assert!(matches!(LabDescription::read(&directory), Err(LabError::NoLab { .. })));
        let lab = on_paper(&["n1", "n2"]);
        lab.write(&directory.description()).expect("write");
        assert_eq!(LabDescription::read(&directory).expect("read"), lab);
        let mode = directory.description().metadata().expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_unknown_host_is_answered_with_those_that_exist() {
        let error = on_paper(&["n1", "n2"]).host("n9").expect_err("unknown").to_string();
        assert!(error.ends_with("switch, n1, n2"), "{error}");
        let error = on_paper(&["n1"]).check_daemon("switch").expect_err("no daemon").to_string();
        assert!(error.ends_with("there are: postgres, n1"), "{error}");
        on_paper(&["n1"]).check_daemon("n1").expect("a daemon");
    }

    #[test]
    fn an_edge_has_a_daemon_more_and_a_workload_is_found_by_its_address() {
        let mut lab = on_paper(&["n1", "e1"]);
        lab.nodes[1].roles = vec![NodeRole::Edge];
        lab.nodes[0].certificates = Some(PathBuf::from("/somewhere"));
        lab.nodes[0].prefix = "fd00:0:0:1::/64".parse().ok();
        for daemon in ["e1.edge", "e1", "n1.workloads"] {
            lab.check_daemon(daemon).expect(daemon);
            let target: Target = daemon.parse().expect("any text");
            assert_eq!(target.to_string(), daemon);
        }
        let error = lab.check_daemon("n1.edge").expect_err("no edge").to_string();
        assert!(error.ends_with("n1, e1, e1.edge, n1.workloads"), "{error}");
        assert_eq!(
            lab.edge("n1").expect_err("no edge").to_string(),
            "no edge \"n1\" in this lab; there are: e1"
        );

        let workload = "fd00:0:0:1::7".parse().expect("address");
        assert_eq!(lab.workload_host(workload).expect("its host").name, "n1");
        let file = lab.certificate_file(workload, "a.test");
        assert_eq!(file, Some(PathBuf::from("/somewhere/fd00:0:0:1::7/a.test.crt")));
        lab.workload_host(Ipv6Addr::LOCALHOST).expect_err("nobody's");
    }
}
