//! The whole platform in a lab: what the mesh is, and what it survives. Needs root or user
//! namespaces, and the programs of the workspace beside this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sextant_lab::{
    Lab, Programs, Progress, ScratchDirectory, Size, Target,
    command::run,
    down,
    interrupt::Interrupt,
    node::INTERFACE,
    operator::Operator,
    ping::{ContinuousPing, ping_all},
    process,
    wait::until,
    wireguard::{self, Device},
};
use sextant_model::Timestamp;
use time::OffsetDateTime;

/// How long a fault lasts: longer than the agents' first attempts to reconnect.
const FAULT: Duration = Duration::from_secs(4);
const LIMIT: Duration = Duration::from_secs(90);

fn programs() -> Programs {
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    Programs::in_directory(lab.parent().expect("a directory"))
}

fn up(place: &ScratchDirectory, nodes: u16) -> Lab {
    let size = Size { nodes, replicas: 2 };
    Lab::up(place.directory(), programs(), size, Interrupt::never(), Progress::start())
        .expect("the lab comes up")
}

fn devices(lab: &Lab) -> BTreeMap<String, Device> {
    let lab = lab.description();
    let device = |node| wireguard::device(lab, node).expect("wg show");
    lab.nodes.iter().map(|node| (node.name.clone(), device(node))).collect()
}

fn interfaces(lab: &Lab) -> Vec<u32> {
    let lab = lab.description();
    let index = |node| wireguard::interface_index(lab, node).expect("an interface");
    lab.nodes.iter().map(index).collect()
}

fn now() -> Timestamp {
    Timestamp(OffsetDateTime::now_utc())
}

#[test]
fn five_nodes_form_a_full_mesh_without_any_ipv4() {
    let place = ScratchDirectory::new().expect("make");
    let lab = up(&place, 5);
    let description = lab.description();

    let pings = ping_all(description).expect("ping");
    assert_eq!(pings.len(), 5 * 4);
    assert!(pings.iter().all(|ping| ping.rtt_ms.is_some()), "{pings:?}");

    for host in description.hosts() {
        let mut command = host.command(&description.lab_id, "ip");
        let found = run(command.args(["-4", "-o", "address", "show"])).expect("ip");
        assert_eq!(found, "", "IPv4 on {}", host.name);
    }

    let devices = devices(&lab);
    let keys: BTreeSet<&String> = devices.values().map(|device| &device.public_key).collect();
    assert_eq!(keys.len(), 5, "each node has a key of its own");
    for (name, device) in &devices {
        let peers: BTreeSet<&String> = device.peers.keys().collect();
        let others = keys.iter().copied().filter(|key| **key != device.public_key).collect();
        assert_eq!(peers, others, "{name} has exactly the other four");
        assert!(device.peers.values().all(|peer| peer.handshake.is_some()), "{name}: {device:?}");
    }

    let prefixes: BTreeSet<_> = description.nodes.iter().filter_map(|node| node.prefix).collect();
    assert_eq!(prefixes.len(), 5, "each node has a prefix of its own");
    place.remove().expect_err("the lab is claimed by this process");
    let place = lab.directory().clone();
    lab.down().expect("down");
    assert!(!place.path().exists());
}

#[test]
fn the_mesh_outlives_its_control_plane_and_converges_when_it_returns() {
    let place = ScratchDirectory::new().expect("make");
    let mut lab = up(&place, 3);
    let (before, indices) = (devices(&lab), interfaces(&lab));
    let pings = ContinuousPing::start(lab.description(), "n1", "n2").expect("ping");

    for target in ["c1", "c2", "postgres"] {
        lab.stop(&target.parse::<Target>().expect("a target")).expect("stop");
    }
    let operator = Operator::of(lab.description()).expect("operator");
    operator.status().expect_err("no control plane is left");

    // With nothing to ask, a restarted agent has only what it saved.
    let n3 = Target::Host("n3".to_owned());
    lab.kill(&n3).expect("kill");
    lab.start(&n3).expect("start");
    let end = Instant::now() + FAULT;
    while Instant::now() < end {
        let pings = ping_all(lab.description()).expect("ping");
        assert!(pings.iter().all(|ping| ping.rtt_ms.is_some()), "{pings:?}");
    }

    lab.start(&Target::Postgres).expect("start");
    let restarted = now();
    for replica in ["c1", "c2"] {
        lab.start(&Target::Host(replica.to_owned())).expect("start");
    }
    lab.await_converged(&operator, Some(restarted), LIMIT).expect("converges");

    let tally = pings.finish().expect("a tally");
    assert!(tally.sent > 10, "{tally:?}");
    assert!(tally.lost.is_empty(), "{tally:?}");
    assert_nothing_was_torn_down(&before, &devices(&lab));
    assert_eq!(indices, interfaces(&lab), "the same interfaces as before");
    drop(lab);
    place.remove().expect("down");
}

#[test]
fn a_node_that_lost_its_wireguard_rejoins_without_a_control_plane() {
    let place = ScratchDirectory::new().expect("make");
    let mut lab = up(&place, 3);
    let before = devices(&lab);
    for target in ["c1", "c2", "postgres"] {
        lab.kill(&target.parse::<Target>().expect("a target")).expect("kill");
    }
    // As after a reboot: no agent, no interface; only what was saved is left.
    let n2 = Target::Host("n2".to_owned());
    lab.kill(&n2).expect("kill");
    remove_interface(&lab, "n2");
    let node = lab.description().node("n2").expect("n2");
    wireguard::device(lab.description(), node).expect_err("no interface is left");

    lab.start(&n2).expect("start");
    lab.await_pings(LIMIT).expect("every pair pings");
    let after = devices(&lab);
    assert_eq!(before["n2"].public_key, after["n2"].public_key);
    let peers = |devices: &BTreeMap<String, Device>| {
        devices["n2"]
            .peers
            .iter()
            .map(|(key, peer)| (key.clone(), peer.allowed_ips.clone()))
            .collect()
    };
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (peers(&before), peers(&after));
    assert_eq!(old, new);
    drop(lab);
    place.remove().expect("down");
}

fn remove_interface(lab: &Lab, name: &str) {
    let lab = lab.description();
    if let Some(pid) = lab.node(name).expect("a node").pids.wireguard {
        process::stop(&lab.lab_id, &[pid], Signal::KILL).expect("kill");
    } else {
        let host = lab.host(name).expect("a host");
        let delete = ["link", "delete", INTERFACE];
        run(host.command(&lab.lab_id, "ip").args(delete)).expect("delete");
    }
}

/// Peers and what goes to them are the same, and no session began anew: a peer that is removed
/// and added again has had no handshake, or one on a schedule of its own.
fn assert_nothing_was_torn_down(
    before: &BTreeMap<String, Device>,
    after: &BTreeMap<String, Device>,
) {
    for (name, old) in before {
        let new = &after[name];
        assert_eq!(old.public_key, new.public_key, "{name}");
        assert_eq!(old.peers.len(), new.peers.len(), "{name}");
        for (key, peer) in &old.peers {
            assert_eq!(peer.allowed_ips, new.peers[key].allowed_ips, "{name}");
            assert_eq!(peer.handshake, new.peers[key].handshake, "{name}: a new session");
        }
    }
}

#[test]
fn a_killed_agent_and_a_node_that_comes_and_goes_disturb_nobody() {
    let place = ScratchDirectory::new().expect("make");
    let mut lab = up(&place, 2);
    let indices = interfaces(&lab);
    let pings = ContinuousPing::start(lab.description(), "n1", "n2").expect("ping");
    let n2 = Target::Host("n2".to_owned());
    lab.kill(&n2).expect("kill");

    let operator = Operator::of(lab.description()).expect("operator");
    let name = lab.add_node(&operator, Some("late")).expect("add");
    let enrolled = |status: sextant_api::resource::status::Status| {
        status.nodes.iter().any(|node| node.node.name.as_str() == name)
    };
    until("the node to enrol", LIMIT, &Interrupt::never(), || {
        Ok(if enrolled(operator.status()?) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue("not enrolled".to_owned())
        })
    })
    .expect("enrols while n2 has no agent");

    lab.start(&n2).expect("start");
    lab.await_converged(&operator, None, LIMIT).expect("converges");
    assert_eq!(ping_all(lab.description()).expect("ping").len(), 3 * 2);

    let holder = lab.description().node(&name).expect("late").pids.holder;
    lab.remove_node(&operator, &name, LIMIT).expect("remove");
    assert!(!lab.description().lab_id.marks(holder), "its host is gone");
    assert!(
        devices(&lab).values().all(|device| device.peers.len() == 1),
        "nobody has it as a peer"
    );
    let tally = pings.finish().expect("a tally");
    assert!(tally.lost.is_empty(), "{tally:?}");
    assert_eq!(indices, interfaces(&lab), "the same interfaces as before");
    drop(lab);
    place.remove().expect("down");
}

#[test]
fn nodes_that_were_removed_through_the_api_leave_a_lab_that_works() {
    let place = ScratchDirectory::new().expect("make");
    let mut lab = up(&place, 4);
    let operator = Operator::of(lab.description()).expect("operator");
    let n3 = Target::Host("n3".to_owned());
    // n2 leaves as it should; n3 is removed when it cannot notice.
    lab.kill(&n3).expect("kill");
    let left = ["n2", "n3"].map(|name| operator.node(name).expect("a member").id);
    for id in left {
        operator.withdraw_node(id).expect("remove");
    }
    for id in left {
        lab.await_released(&operator, id, LIMIT).expect("the others drop it");
    }
    lab.await_departed("n2", LIMIT).expect("it ends by itself");
    drop(lab);
    let dir = place.directory().path().display().to_string();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sextant-lab"));
        let output = command.args(["--dir", &dir]).args(words).output().expect("run");
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text.into_owned())
    };
    let holds = |words: &[&str], code: i32, part: &str| {
        let (found, text) = run(words);
        assert!(found == Some(code) && text.contains(part), "{words:?} {found:?}: {text}");
    };
    holds(&["ping"], 0, "n4");
    holds(&["status"], 0, "left");
    holds(&["start", "n2"], 1, "this node has left");
    holds(&["add-node"], 0, "n5 is a member");
    for name in ["n2", "n3"] {
        holds(&["remove-node", name], 0, "only its host is removed");
        holds(&["exec", name, "--", "true"], 1, "no host");
    }
    holds(&["ping"], 0, "n5");

    holds(&["stop", "n4"], 0, "");
    holds(&["status"], 1, "stopped");
    let key = place.directory().node("n4").join("state/wireguard.key");
    std::fs::write(&key, "garbled").expect("write");
    holds(&["start", "n4"], 1, "wireguard.key");
    holds(&["status"], 1, "stopped");
    holds(&["kill", "postgres"], 0, "");
    holds(&["stop", "c1"], 0, "");
    holds(&["start", "c1"], 1, "runs, but is not ready");
    place.remove().expect("down");
}

#[test]
fn up_killed_at_any_moment_leaves_nothing_after_down() {
    // By then so many processes of the lab are running.
    for moment in [1, 3, 5, 7, 10] {
        let place = ScratchDirectory::new().expect("make");
        let directory = place.directory();
        let mut up = Command::new(env!("CARGO_BIN_EXE_sextant-lab"))
            .args(["up", "--nodes", "3", "--dir"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        let lab = until("processes", LIMIT, &Interrupt::never(), || {
            assert!(up.try_wait().expect("look").is_none(), "`up` must not be done yet");
            let lab = directory.id()?.filter(|lab| lab.processes().len() >= moment);
            Ok(lab.map_or_else(|| ControlFlow::Continue("fewer".to_owned()), ControlFlow::Break))
        })
        .expect("so many processes");
        up.kill().expect("kill");
        up.wait().expect("wait");

        assert!(down(&directory).expect("down"));
        assert_eq!(lab.processes(), Vec::<u32>::new(), "killed at {moment} processes");
        let names = run(Command::new("ip").args(["netns", "list"])).expect("ip");
        assert!(!names.contains(lab.short()), "killed at {moment} processes: {names}");
        assert!(!directory.path().exists());
    }
}
