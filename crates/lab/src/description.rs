//! `lab.json`: everything one needs to know to use a running lab.

use std::{
    fs,
    io::ErrorKind,
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sextant_model::{DnsLabel, NetworkId, Prefix};
use url::Url;

use crate::{
    directory::{LabDirectory, write_private},
    error::{LabError, Result},
    host::{Host, Mode},
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
    /// The nodes.
    pub nodes: Vec<NodeDescription>,
    /// The highest number a node ever had; numbers and underlay addresses are not used again.
    pub last_index: u16,
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
    /// `n1`, or the name it was given.
    pub name: String,
    /// Its network namespace, as `ip netns` knows it, or a path.
    pub netns: String,
    /// Its number in the lab, from 1; its underlay address follows from it.
    pub index: u16,
    /// Its address on the underlay.
    pub underlay: Ipv6Addr,
    /// Its address in the mesh, once it has joined.
    pub overlay: Option<Ipv6Addr>,
    /// The prefix of its workloads, once it has joined.
    pub prefix: Option<Prefix>,
    /// Its processes.
    pub pids: NodePids,
}

/// The processes of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePids {
    /// Holds the namespaces.
    pub holder: u32,
    /// The daemon.
    pub agent: Option<u32>,
    /// wireguard-go; absent where the kernel has WireGuard.
    pub wireguard: Option<u32>,
}

impl LabDescription {
    /// Reads the description of the lab in `directory`.
    pub fn read(directory: &LabDirectory) -> Result<Self> {
        let path = directory.description();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(LabError::NoLab { path: directory.path().to_owned() });
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
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| self.unknown(name))
    }

    /// The host of that name: a node, a replica or the switch.
    pub fn host(&self, name: &str) -> Result<Host> {
        self.hosts().into_iter().find(|host| host.name == name).ok_or_else(|| self.unknown(name))
    }

    /// Every host: the switch, replicas, nodes.
    pub fn hosts(&self) -> Vec<Host> {
        let host = |name: &str, holder| Host { name: name.to_owned(), holder, mode: self.mode };
        let replicas = self.replicas.iter().map(|replica| host(&replica.name, replica.pids.holder));
        let nodes = self.nodes.iter().map(|node| host(&node.name, node.pids.holder));
        std::iter::once(host("switch", self.switch)).chain(replicas).chain(nodes).collect()
    }

    /// The host a node is.
    pub fn host_of(&self, node: &NodeDescription) -> Host {
        Host { name: node.name.clone(), holder: node.pids.holder, mode: self.mode }
    }

    pub(crate) fn unknown(&self, name: &str) -> LabError {
        let known: Vec<_> = self.hosts().into_iter().map(|host| host.name).collect();
        LabError::UnknownHost { name: name.to_owned(), known: known.join(", ") }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A lab with one replica and these nodes, which exists on paper only.
    pub(crate) fn on_paper(names: &[&str]) -> LabDescription {
        let node = |(index, name): (u16, &&str)| NodeDescription {
            name: (*name).to_owned(),
            netns: String::new(),
            index,
            underlay: Ipv6Addr::UNSPECIFIED,
            overlay: None,
            prefix: None,
            pids: NodePids { holder: 1, agent: None, wireguard: None },
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
    }
}
