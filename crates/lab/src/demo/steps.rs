//! The steps of the demo. Each does one thing to the lab and checks what follows from it.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant, SystemTime},
};

use sextant_model::Timestamp;
use time::OffsetDateTime;

use super::{DemoError, transcript::Transcript};
use crate::{
    command::run,
    description::{LabDescription, NodeDescription},
    interrupt::Interrupt,
    lab::{Lab, Target},
    operator::Operator,
    ping::{ContinuousPing, Tally, ping_all, table},
    wait::until,
    wireguard,
};

pub(super) type Step<T = ()> = Result<T, DemoError>;

/// How long each step may take to become true.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
/// How long a fault is left in place, so that there are pings to count.
const FAULT: Duration = Duration::from_secs(4);

/// Who the nodes are.
pub(super) fn nodes(lab: &Lab, transcript: &mut Transcript) {
    transcript.heading("The nodes");
    transcript.explain(
        "Each node made its own WireGuard key, enrolled with a token that works once, and was \
         given an address in the mesh and a prefix for its workloads.",
    );
    let text = |value: Option<String>| value.unwrap_or_default();
    let mut rows = vec![["NODE", "UNDERLAY", "OVERLAY", "PREFIX"].map(str::to_owned).to_vec()];
    rows.extend(lab.description().nodes.iter().map(|node| {
        vec![
            node.name.clone(),
            node.underlay.to_string(),
            text(node.overlay.map(|address| address.to_string())),
            text(node.prefix.map(|prefix| prefix.to_string())),
        ]
    }));
    transcript.table(&rows);
}

/// Every pair pings, and what WireGuard says.
pub(super) fn mesh(lab: &Lab, transcript: &mut Transcript) -> Step {
    transcript.heading("The mesh");
    transcript.explain(
        "Every node pings every other through WireGuard. Round trips in milliseconds, from the \
         node in the row to the node in the column:",
    );
    let lab = lab.description();
    let pings = ping_all(lab)?;
    transcript.table(&table(lab, &pings));
    hold(pings.iter().all(|ping| ping.rtt_ms.is_some()), "every pair of nodes pings")?;
    transcript.say("");
    transcript.explain("Seconds since WireGuard's last handshake, as `wg show` says on each node:");
    transcript.table(&handshakes(lab)?);
    Ok(())
}

fn handshakes(lab: &LabDescription) -> Step<Vec<Vec<String>>> {
    let now = SystemTime::now();
    let devices: Result<Vec<_>, _> =
        lab.nodes.iter().map(|node| wireguard::device(lab, node)).collect();
    let devices = devices?;
    let names = lab.nodes.iter().map(|node| node.name.clone());
    let mut rows = vec![std::iter::once("node \\ peer".to_owned()).chain(names).collect()];
    for (node, device) in lab.nodes.iter().zip(&devices) {
        let expected = lab.nodes.len() - 1;
        let what = format!("{} has exactly {expected} peers", node.name);
        hold(device.peers.len() == expected, &what)?;
        let cells = devices.iter().map(|other| match device.peers.get(&other.public_key) {
            Some(peer) => match peer.handshake_age(now) {
                Some(age) => age.to_string(),
                None => "never".to_owned(),
            },
            None => "-".to_owned(),
        });
        rows.push(std::iter::once(node.name.clone()).chain(cells).collect());
    }
    Ok(rows)
}

/// No host has an IPv4 address.
pub(super) fn no_ipv4(lab: &Lab, transcript: &mut Transcript) -> Step {
    transcript.heading("No IPv4 anywhere");
    transcript.explain(
        "`ip -4 address` on every host of the lab, loopback included. All that was shown so far \
         went over IPv6.",
    );
    let description = lab.description();
    for host in description.hosts() {
        let mut command = host.command(&description.lab_id, "ip");
        let found = run(command.args(["-4", "-o", "address", "show"]))?;
        hold(found.is_empty(), &format!("{} has no IPv4 address; it has {found}", host.name))?;
        transcript.seen(&format!("{}: none", host.name));
    }
    Ok(())
}

/// An agent dies and comes back; nobody on the mesh notices.
pub(super) fn agent_killed(lab: &mut Lab, transcript: &mut Transcript) -> Step {
    transcript.heading("An agent is killed and comes back");
    let victim = last_node(lab);
    let watcher = lab.description().nodes[0].name.clone();
    transcript.explain(&format!(
        "{watcher} pings {victim} ten times a second. The agent on {victim} is killed (SIGKILL), \
         stays away for {} s, and is started again. It must leave WireGuard as it is.",
        FAULT.as_secs()
    ));
    let before = interface(lab, &victim)?;
    let pings = ContinuousPing::start(lab.description(), &watcher, &victim)?;
    let target = Target::Host(victim.clone());
    lab.kill(&target)?;
    transcript.seen(&format!("the agent on {victim} is dead"));
    pause(lab, FAULT)?;
    let restarted = now();
    lab.start(&target)?;
    let operator = Operator::of(lab.description())?;
    lab.await_converged(&operator, Some(restarted), LIMIT)?;
    transcript.seen("it is back, has found its state and reports to the control plane");
    count(pings, transcript)?;
    let after = interface(lab, &victim)?;
    hold(before == after, "the WireGuard interface and its peers are the same as before")?;
    transcript.seen("the WireGuard interface and its peers are the same as before");
    Ok(())
}

/// One more node, while all is running.
pub(super) fn node_added(lab: &mut Lab, transcript: &mut Transcript) -> Step {
    transcript.heading("A node is added");
    let others = lab.description().nodes.clone();
    transcript.explain(
        "One more machine enrols. The time is from the commit of its enrolment in Postgres until \
         WireGuard on every other node has it as a peer.",
    );
    let operator = Operator::of(lab.description())?;
    let name = lab.add_node(&operator, None)?;
    let joined = until("the node to be known by all", LIMIT, lab.interrupt(), || {
        known_by_all(lab.description(), &operator, &name, &others)
    })?;
    transcript.seen(&format!("{name} was known to all after {} ms", joined.as_millis()));
    lab.await_converged(&operator, None, LIMIT)?;
    let pings = ping_all(lab.description())?;
    transcript.seen("and every pair pings:");
    transcript.table(&table(lab.description(), &pings));
    hold(pings.iter().all(|ping| ping.rtt_ms.is_some()), "every pair of nodes pings")
}

fn known_by_all(
    lab: &LabDescription,
    operator: &Operator,
    name: &str,
    others: &[NodeDescription],
) -> crate::Result<ControlFlow<Duration, String>> {
    let status = operator.status()?;
    let joined = status.nodes.iter().find(|node| node.node.name.as_str() == name);
    let Some(joined) = joined else {
        return Ok(ControlFlow::Continue(format!("{name} has not enrolled")));
    };
    let key = joined.node.public_key.to_string();
    for other in others {
        if !wireguard::device(lab, other)?.peers.contains_key(&key) {
            return Ok(ControlFlow::Continue(format!("{} does not know {name}", other.name)));
        }
    }
    Ok(ControlFlow::Break(now().since(joined.node.enrolled_at)))
}

/// Nothing of the control plane is left, and packets flow.
pub(super) fn control_plane_away(lab: &mut Lab, transcript: &mut Transcript) -> Step {
    transcript.heading("The control plane goes away");
    let nodes = &lab.description().nodes;
    let (watcher, watched) = (nodes[0].name.clone(), nodes[1].name.clone());
    let victim = last_node(lab);
    transcript.explain(&format!(
        "{watcher} pings {watched}. Both replicas are stopped, then Postgres. Meanwhile the agent \
         on {victim} is killed and started again: it has nothing but its own saved state."
    ));
    let before = all_interfaces(lab)?;
    let pings = ContinuousPing::start(lab.description(), &watcher, &watched)?;
    let replicas: Vec<_> =
        lab.description().replicas.iter().map(|replica| replica.name.clone()).collect();
    for replica in &replicas {
        lab.stop(&Target::Host(replica.clone()))?;
    }
    lab.stop(&Target::Postgres)?;
    transcript.seen("no replica and no database is running");
    lab.kill(&Target::Host(victim.clone()))?;
    lab.start(&Target::Host(victim.clone()))?;
    pause(lab, FAULT)?;
    lab.await_pings(LIMIT)?;
    transcript.seen("every pair of nodes pings");

    lab.start(&Target::Postgres)?;
    let restarted = now();
    for replica in &replicas {
        lab.start(&Target::Host(replica.clone()))?;
    }
    transcript.seen("Postgres and both replicas are back");
    let operator = Operator::of(lab.description())?;
    let start = Instant::now();
    lab.await_converged(&operator, Some(restarted), LIMIT)?;
    let seconds = start.elapsed().as_secs_f64();
    transcript.seen(&format!("every agent has reported again, {seconds:.1} s later"));
    count(pings, transcript)?;
    hold(before == all_interfaces(lab)?, "no WireGuard interface or peer has changed")?;
    transcript.seen("no WireGuard interface or peer has changed");
    Ok(())
}

/// What must not change: the interface itself, its key, its peers and what goes to them.
type Interface = (u32, String, Vec<(String, Vec<String>)>);

fn interface(lab: &Lab, name: &str) -> Step<Interface> {
    let lab = lab.description();
    let node = lab.node(name)?;
    let device = wireguard::device(lab, node)?;
    let peers = device.peers.into_iter().map(|(key, peer)| (key, peer.allowed_ips)).collect();
    Ok((wireguard::interface_index(lab, node)?, device.public_key, peers))
}

fn all_interfaces(lab: &Lab) -> Step<Vec<Interface>> {
    lab.description().nodes.iter().map(|node| interface(lab, &node.name)).collect()
}

fn count(pings: ContinuousPing, transcript: &mut Transcript) -> Step {
    let tally: Tally = pings.finish()?;
    let (sent, lost) = (tally.sent, tally.lost.len());
    transcript.seen(&format!("{sent} pings were sent meanwhile, {lost} were lost"));
    hold(sent > 0 && lost == 0, "no ping is lost")
}

fn last_node(lab: &Lab) -> String {
    lab.description().nodes.last().map(|node| node.name.clone()).unwrap_or_default()
}

pub(super) fn hold(held: bool, what: &str) -> Step {
    if held { Ok(()) } else { Err(DemoError::NotHeld(what.to_owned())) }
}

fn now() -> Timestamp {
    Timestamp(OffsetDateTime::now_utc())
}

/// Lets a fault last, unless Ctrl-C ends it.
pub(super) fn pause(lab: &Lab, span: Duration) -> Step {
    let end = Instant::now() + span;
    let interrupt: &Interrupt = lab.interrupt();
    Ok(until("the end of a pause", span + LIMIT, interrupt, || {
        Ok(if Instant::now() >= end {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(String::new())
        })
    })?)
}
