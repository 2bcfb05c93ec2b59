//! The network below the mesh: a bridge in the switch's namespace, one cable to each host.
//! Nothing of the machine's own network is touched.

use std::{net::Ipv6Addr, ops::ControlFlow, time::Duration};

use crate::{
    command::{run, run_with_input},
    error::Result,
    host::Host,
    interrupt::Interrupt,
    process::LabId,
    wait::until,
};

/// Name of the interface on every host.
pub const INTERFACE: &str = "eth0";
/// MTU of every cable, in bytes.
pub const MTU: u32 = 1500;
const BRIDGE: &str = "underlay";
/// A port of the bridge that passes packets on, as `ip -details` writes it.
const FORWARDING: &str = "state forwarding";
/// An interface whose carrier the kernel has noticed.
const OPERATIONAL: &str = "state UP";
const CARRIER_LIMIT: Duration = Duration::from_secs(15);

/// The address of node number `index`, from 1.
pub fn node_address(lab: &LabId, index: u16) -> Ipv6Addr {
    address(lab, [1, index])
}

/// The address of replica number `index`, from 1.
pub fn replica_address(lab: &LabId, index: u16) -> Ipv6Addr {
    address(lab, [0xc, index])
}

/// The address of edge number `index`, from 1.
pub fn edge_address(lab: &LabId, index: u16) -> Ipv6Addr {
    address(lab, [0xe, index])
}

/// The address of the machine outside the mesh.
pub fn client_address(lab: &LabId) -> Ipv6Addr {
    address(lab, [0xff, 1])
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

/// Plugs a host in, under this address, and waits until packets pass.
pub fn attach(
    lab: &LabId,
    switch: &Host,
    host: &Host,
    address: Ipv6Addr,
    interrupt: &Interrupt,
) -> Result<()> {
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
    run_with_input(host.command(lab, "ip").args(["-batch", "-"]), &batch)?;
    await_carrier(lab, switch, host, interrupt)
}

/// The kernel notices a carrier in its own time, and until then both ends drop what they are given.
fn await_carrier(lab: &LabId, switch: &Host, host: &Host, interrupt: &Interrupt) -> Result<()> {
    let port = port(host);
    for (end, interface, sign) in [(switch, &*port, FORWARDING), (host, INTERFACE, OPERATIONAL)] {
        let what = format!("the cable of host \"{}\"", host.name);
        until(&what, CARRIER_LIMIT, interrupt, || {
            let mut show = end.command(lab, "ip");
            let seen = run(show.args(["-details", "link", "show", "dev", interface]))?;
            let passes = seen.contains(sign);
            Ok(if passes { ControlFlow::Break(()) } else { ControlFlow::Continue(seen) })
        })?;
    }
    Ok(())
}

/// Takes a host's cable away, both ends of it.
pub fn detach(lab: &LabId, switch: &Host, host: &Host) -> Result<()> {
    run(switch.command(lab, "ip").args(["link", "delete", &port(host)])).map(drop)
}

/// Cuts a host off at the switch: the host's own interface stays.
pub fn pull_cable(lab: &LabId, switch: &Host, host: &Host) -> Result<()> {
    run(switch.command(lab, "ip").args(["link", "set", &port(host), "down"])).map(drop)
}

/// Plugs a host in again, and waits until packets pass.
pub fn plug_cable(lab: &LabId, switch: &Host, host: &Host, interrupt: &Interrupt) -> Result<()> {
    run(switch.command(lab, "ip").args(["link", "set", &port(host), "up"]))?;
    await_carrier(lab, switch, host, interrupt)
}

/// Sets the MTU of the switch's end of a host's cable, which drops longer packets to the host; the
/// host does not see it.
pub fn narrow_cable(lab: &LabId, switch: &Host, host: &Host, mtu: u32) -> Result<()> {
    let mtu = mtu.to_string();
    run(switch.command(lab, "ip").args(["link", "set", &port(host), "mtu", &mtu])).map(drop)
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
