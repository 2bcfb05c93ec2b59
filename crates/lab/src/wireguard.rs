//! What WireGuard on a node says of itself, read with `wg`, independently of the agent.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    command::run,
    description::{LabDescription, NodeDescription},
    error::{LabError, Result},
    node::INTERFACE,
};

/// One WireGuard interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its own public key, in base64.
    pub public_key: String,
    /// Its peers, by public key.
    pub peers: BTreeMap<String, Peer>,
}

/// One peer of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where packets to it go; `None` if nobody said so and it has not been heard of.
    pub endpoint: Option<SocketAddr>,
    /// What goes to it and may come from it, as `wg` writes it.
    pub allowed_ips: Vec<String>,
    /// The last handshake, in time since the Unix epoch.
    pub handshake: Option<Duration>,
}

impl Peer {
    /// Seconds since the last handshake.
    pub fn handshake_age(&self, now: SystemTime) -> Option<u64> {
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        Some(now.saturating_sub(self.handshake?).as_secs())
    }
}

/// Reads the mesh interface of a node.
pub fn device(lab: &LabDescription, node: &NodeDescription) -> Result<Device> {
    let mut command = lab.host_of(node).command(&lab.lab_id, "wg");
    let written = run(command.args(["show", INTERFACE, "dump"]))?;
    parse(&written).ok_or_else(|| LabError::Command {
        command: format!("wg show {INTERFACE} dump"),
        status: "unreadable".to_owned(),
        // The first line holds the private key.
        output: written.lines().skip(1).collect::<Vec<_>>().join("\n"),
    })
}

/// The kernel's number of the mesh interface. A new interface of the same name has another one.
pub fn interface_index(lab: &LabDescription, node: &NodeDescription) -> Result<u32> {
    let path = format!("/proc/{}/net/if_inet6", node.pids.holder);
    let text = std::fs::read_to_string(&path).map_err(LabError::file("read", &path))?;
    let index = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let index = words.nth(1)?;
        (words.last()? == INTERFACE).then(|| u32::from_str_radix(index, 16).ok()).flatten()
    });
    index.ok_or_else(|| LabError::WrongState {
        what: format!("interface {INTERFACE} on \"{}\" of lab {}", node.name, lab.lab_id.short()),
        state: "missing, or without an address".to_owned(),
    })
}

fn parse(dump: &str) -> Option<Device> {
    let mut lines = dump.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let public_key = (*lines.next()?.get(1)?).to_owned();
    let peers = lines.map(|fields| {
        let seconds: u64 = fields.get(4)?.parse().ok()?;
        let peer = Peer {
            endpoint: fields.get(2)?.parse().ok(),
            allowed_ips: fields.get(3)?.split(',').map(str::to_owned).collect(),
            handshake: (seconds > 0).then(|| Duration::from_secs(seconds)),
        };
        Some(((*fields.first()?).to_owned(), peer))
    });
    Some(Device { public_key, peers: peers.collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_understood_and_its_private_key_is_not_kept() {
        let dump = "PRIVATE\tOWN\t51820\toff\n\
                    PEER\t(none)\t[fd5e::2]:51820\tfd00::2/128,fd00:1::/64\t1700000000\t1\t2\toff\n\
                    NEW\t(none)\t(none)\tfd00::3/128\t0\t0\t0\toff\n";
        let device = parse(dump).expect("readable");
        assert!(!format!("{device:?}").contains("PRIVATE"));
        assert_eq!(device.public_key, "OWN");
        assert_eq!(device.peers["PEER"].allowed_ips, ["fd00::2/128", "fd00:1::/64"]);
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_007);
        assert_eq!(device.peers["PEER"].handshake_age(now), Some(7));
        assert_eq!(device.peers["PEER"].endpoint, "[fd5e::2]:51820".parse().ok());
        assert_eq!((device.peers["NEW"].endpoint, device.peers["NEW"].handshake), (None, None));
        assert_eq!(parse("half a line"), None);
    }
}
