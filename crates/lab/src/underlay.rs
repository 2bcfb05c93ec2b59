//! The network below the mesh: a bridge in the switch's namespace, one cable to each host.
//! Nothing of the machine's own network is touched.

use std::net::Ipv6Addr;

use crate::{
    command::{run, run_with_input},
    error::Result,
    host::Host,
    process::LabId,
};

/// Name of the interface on every host.
pub const INTERFACE: &str = "eth0";
/// MTU of every cable, in bytes.
pub const MTU: u32 = 1500;
const BRIDGE: &str = "underlay";

/// The address of node number `index`, from 1.
pub fn node_address(lab: &LabId, index: u16) -> Ipv6Addr {
    address(lab, [1, index])
}

/// The address of replica number `index`, from 1.
pub fn replica_address(lab: &LabId, index: u16) -> Ipv6Addr {
    address(lab, [0xc, index])
}

/// The /64 of all hosts, in a ULA that follows from the lab's id, so that labs do not meet.
pub fn prefix(lab: &LabId) -> String {
    format!("{}/64", address(lab, [0, 0]))
}

fn address(lab: &LabId, host: [u16; 2]) -> Ipv6Addr {
    let [a, b, c] = lab.underlay_groups();
    Ipv6Addr::new(0xfd5e, a, b, c, 0, 0, host[0], host[1])
}

/// Makes the bridge.
pub fn build(lab: &LabId, switch: &Host) -> Result<()> {
    let batch = format!(
        "link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set {BRIDGE} addrgenmode none\n\
         link set {BRIDGE} up\n"
    );
    run_with_input(switch.command(lab, "ip").args(["-batch", "-"]), &batch).map(drop)
}

/// Plugs a host in, under this address.
pub fn attach(lab: &LabId, switch: &Host, host: &Host, address: Ipv6Addr) -> Result<()> {
    let (port, pid) = (port(host), host.holder);
    let batch = format!(
        "link add {port} mtu {MTU} type veth peer name {INTERFACE} mtu {MTU} netns {pid}\n\
         link set {port} addrgenmode none master {BRIDGE}\n\
         link set {port} up\n"
    );
    run_with_input(switch.command(lab, "ip").args(["-batch", "-"]), &batch)?;
    // Nobody else has the address, so it may be used without waiting for an objection.
    let batch = format!(
        "address add {address}/64 dev {INTERFACE} nodad\n\
         link set {INTERFACE} up\n"
    );
    run_with_input(host.command(lab, "ip").args(["-batch", "-"]), &batch).map(drop)
}

/// Takes a host's cable away, both ends of it.
pub fn detach(lab: &LabId, switch: &Host, host: &Host) -> Result<()> {
    run(switch.command(lab, "ip").args(["link", "delete", &port(host)])).map(drop)
}

/// Cuts a host off or plugs it in again, at the switch: the host's own interface stays.
pub fn set_cable(lab: &LabId, switch: &Host, host: &Host, plugged: bool) -> Result<()> {
    let state = if plugged { "up" } else { "down" };
    run(switch.command(lab, "ip").args(["link", "set", &port(host), state])).map(drop)
}

/// The switch's end of a host's cable. The pid keeps it short whatever the host's name is.
fn port(host: &Host) -> String {
    format!("port{}", host.holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_the_lab_id() {
        let lab = LabId::new([0xab; 16]);
        assert_eq!(prefix(&lab), "fd5e:abab:abab:abab::/64");
        assert_eq!(node_address(&lab, 17).to_string(), "fd5e:abab:abab:abab::1:11");
        assert_ne!(node_address(&lab, 1), replica_address(&lab, 1));
    }
}
