//! `agent.toml`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sextant_daemon::{config::ConfigError, logging::LogConfig};
use sextant_model::{DnsLabel, aggregate::node::check_endpoint};
use url::{Host, Url};
use wireguard_control::InterfaceName;

/// Environment variables with this prefix override the file.
pub const ENV_PREFIX: &str = "SEXTANT_AGENT_";

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Keys, certificate and the last good state live here.
    pub state_dir: PathBuf,
    /// The control plane, in order of preference.
    pub api_urls: Vec<Url>,
    /// The machine's name; must be the one its enrolment token was made for.
    pub node_name: DnsLabel,
    /// Holds the enrolment token; needed until the machine is enrolled.
    pub enrolment_token_file: Option<PathBuf>,
    /// Where peers reach this machine's WireGuard, if the operator says so. It wins at every start
    /// over what `sextant node set-endpoint` said meanwhile: the machine knows best. Leave it out
    /// where the control plane's word should last.
    pub endpoint: Option<SocketAddr>,
    /// Where the edge of this machine finds the node's identity, if it has one.
    pub edge_identity: Option<EdgeIdentity>,
    /// The interface.
    pub wireguard: WireGuardConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// Section `[edge_identity]`: a copy of CA, certificate and TLS key for an edge that runs as another
/// user, who then needs no way into `state_dir` and its WireGuard key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeIdentity {
    /// The folder; made if it is missing.
    pub dir: PathBuf,
    /// The group that may read it, by number.
    pub group: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEdgeIdentity {
    dir: PathBuf,
    group: String,
}

/// Section `[wireguard]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WireGuardConfig {
    /// Name of the interface.
    pub interface: String,
    /// UDP port.
    pub listen_port: u16,
    /// Which WireGuard to use.
    pub implementation: ImplementationChoice,
}

/// Which WireGuard to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImplementationChoice {
    /// The kernel's where it has one, else userspace.
    #[default]
    Auto,
    /// The kernel's or none.
    Kernel,
    /// `wireguard-go`, or what `WG_USERSPACE_IMPLEMENTATION` names.
    Userspace,
}

impl Default for WireGuardConfig {
    fn default() -> Self {
        Self {
            interface: "sextant0".into(),
            listen_port: 51820,
            implementation: ImplementationChoice::Auto,
        }
    }
}

/// The file as it is written; texts are checked together so that every mistake is named at once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    state_dir: PathBuf,
    api_urls: Vec<String>,
    node_name: Option<String>,
    enrolment_token_file: Option<PathBuf>,
    endpoint: Option<String>,
    edge_identity: Option<WrittenEdgeIdentity>,
    #[serde(default)]
    wireguard: WireGuardConfig,
    #[serde(default)]
    log: LogConfig,
}

impl AgentConfig {
    /// Reads and checks `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let written: Written = sextant_daemon::config::load(path, ENV_PREFIX)?;
        written.check().map_err(|mistakes| ConfigError::Invalid {
            path: path.to_owned(),
            reasons: mistakes.join("; "),
        })
    }
}

impl Written {
    fn check(self) -> Result<AgentConfig, Vec<String>> {
        let mut mistakes = Vec::new();
        if !self.state_dir.is_absolute() {
            let path = self.state_dir.display();
            mistakes.push(format!("state_dir \"{path}\" is relative; give an absolute path"));
        }
        if self.api_urls.is_empty() {
            mistakes.push("api_urls is empty; give at least one URL of the control plane".into());
        }
        let mut api_urls = Vec::new();
        for text in &self.api_urls {
            collect(api_url(text), &mut api_urls, &mut mistakes);
        }
        let mut name = Vec::new();
        collect(node_name(self.node_name), &mut name, &mut mistakes);
        let mut endpoints = Vec::new();
        if let Some(text) = &self.endpoint {
            collect(endpoint(text), &mut endpoints, &mut mistakes);
        }
        let mut identities = Vec::new();
        if let Some(written) = self.edge_identity {
            let checked = edge_identity(written, &self.state_dir);
            collect(checked, &mut identities, &mut mistakes);
        }
        if let Err(error) = self.wireguard.interface.parse::<InterfaceName>() {
            let interface = &self.wireguard.interface;
            mistakes.push(format!("wireguard.interface \"{interface}\": {error}"));
        }
        if self.wireguard.listen_port == 0 {
            mistakes.push("wireguard.listen_port is 0; give the port that peers reach".into());
        }
        match name.pop() {
            Some(node_name) if mistakes.is_empty() => Ok(AgentConfig {
                state_dir: self.state_dir,
                api_urls,
                node_name,
                enrolment_token_file: self.enrolment_token_file,
                endpoint: endpoints.pop(),
                edge_identity: identities.pop(),
                wireguard: self.wireguard,
                log: self.log,
            }),
            _ => Err(mistakes),
        }
    }
}

fn collect<T>(checked: Result<T, String>, good: &mut Vec<T>, mistakes: &mut Vec<String>) {
    match checked {
        Ok(value) => good.push(value),
        Err(mistake) => mistakes.push(mistake),
    }
}

fn api_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("api_urls \"{text}\": {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("api_urls \"{text}\" is not https; agents speak mutual TLS only"));
    }
    match url.host() {
        Some(Host::Ipv4(_)) => {
            Err(format!("api_urls \"{text}\" is IPv4; the mesh runs on IPv6, give that address"))
        }
        _ if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => {
            Err(format!("api_urls \"{text}\" goes on after the port; end it there"))
        }
        _ => Ok(url),
    }
}

fn edge_identity(written: WrittenEdgeIdentity, state_dir: &Path) -> Result<EdgeIdentity, String> {
    let WrittenEdgeIdentity { dir, group } = written;
    let shown = dir.display();
    if !dir.is_absolute() {
        return Err(format!("edge_identity.dir \"{shown}\" is relative; give an absolute path"));
    }
    if dir.starts_with(state_dir) || state_dir.starts_with(&dir) {
        return Err(format!("edge_identity.dir \"{shown}\" and state_dir are not apart"));
    }
    let group = group_id(&group).map_err(|reason| format!("edge_identity.group: {reason}"))?;
    Ok(EdgeIdentity { dir, group })
}

/// The number of a group, given by name (group(5)) or by number.
fn group_id(group: &str) -> Result<u32, String> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group")
        .map_err(|error| format!("\"/etc/group\" cannot be read: {error}"))?;
    let of_name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    });
    of_name.ok_or_else(|| {
        format!("there is no group \"{group}\" in /etc/group; make it, or give its number")
    })
}

fn node_name(given: Option<String>) -> Result<DnsLabel, String> {
    let (what, text) = match given {
        Some(text) => ("node_name", text),
        None => ("the host name, which is node_name's default,", host_name()?),
    };
    DnsLabel::new(text).map_err(|error| format!("{what} is not usable: {error}"))
}

/// The first label of the host name.
fn host_name() -> Result<String, String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_err(|error| format!("the host name cannot be read: {error}; set node_name"))?;
    let label = text.trim().split('.').next().unwrap_or_default();
    Ok(label.to_ascii_lowercase())
}

fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let endpoint: SocketAddr = text.parse().map_err(|_| {
        format!("endpoint \"{text}\" is not an address and a port, like \"[2001:db8::1]:51820\"")
    })?;
    check_endpoint(endpoint).map_err(|refusal| format!("endpoint: {refusal}"))?;
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<AgentConfig, String> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).expect("written");
        AgentConfig::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_short_file_has_sensible_defaults() {
        let config =
            load("state_dir = \"/s\"\napi_urls = [\"https://[fd5e::1]:7443\"]\nnode_name = \"n1\"")
                .expect("valid");
        assert_eq!(config.wireguard.interface, "sextant0");
        assert_eq!(config.wireguard.listen_port, 51820);
        assert_eq!(config.wireguard.implementation, ImplementationChoice::Auto);
        assert_eq!(config.endpoint, None);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let error = load(
            "state_dir = \"s\"\nnode_name = \"N_1\"\nendpoint = \"192.0.2.1:1\"\n\
             api_urls = [\"http://[fd5e::1]\", \"https://192.0.2.1\", \"x\", \"https://h/v1\"]\n\
             [edge_identity]\ndir = \"/e\"\ngroup = \"no such group\"\n\
             [wireguard]\ninterface = \"a/b\"\nlisten_port = 0",
        )
        .expect_err("invalid");
        for what in [
            "state_dir \"s\" is relative",
            "not https",
            "is IPv4",
            "\"https://h/v1\" goes on after the port",
            "there is no group \"no such group\"",
            "\"x\"",
            "'N'",
            "192.0.2.1:1",
            "\"a/b\"",
            "listen_port is 0",
        ] {
            assert!(error.contains(what), "{what} in {error}");
        }
    }

    #[test]
    fn unknown_fields_and_missing_ones_are_mistakes() {
        let base = "state_dir = \"/s\"\napi_urls = [\"https://[fd5e::1]\"]\nnode_name = \"n1\"\n";
        for (extra, what) in [("colour = 1", "colour"), ("[wireguard]\nport = 1", "port")] {
            let error = load(&format!("{base}{extra}")).expect_err(extra);
            assert!(error.contains(what), "{error}");
        }
        assert!(load("state_dir = \"/s\"").expect_err("no urls").contains("api_urls"));
        assert!(load("state_dir = \"/s\"\napi_urls = []").expect_err("no urls").contains("empty"));
    }
}
