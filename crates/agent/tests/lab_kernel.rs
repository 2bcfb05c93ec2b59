//! Passes over a real interface: real rtnetlink, real (userspace or kernel) WireGuard, and a peer
//! that is set up with `ip` and `wg` alone. Each test runs in network, mount and process
//! namespaces of its own, so nothing of the machine is touched and nothing is left behind.

#[path = "lab_kernel/boundary.rs"]
mod boundary;
#[path = "lab_kernel/running.rs"]
mod running;
#[path = "lab_kernel/sandbox.rs"]
mod sandbox;

use std::{io::ErrorKind, sync::Arc, time::Duration};

use sandbox::{PEER, PEER_OVERLAY, Sandbox, ip, run, wait_for};
use sextant_agent::{
    key::PrivateKey,
    probe::{self, Targets},
    reconcile::{Pass, Reconciler},
};
use sextant_daemon::clock::SystemEntropy;
use sextant_model::membership::Membership;

const INTERFACE: &str = "sextant0";

async fn good(reconciler: &mut Reconciler, membership: &Membership) -> Pass {
    let pass = reconciler.pass(membership, sandbox::ME).await;
    assert!(pass.complete, "{:?}", pass.problems);
    assert_eq!(pass.problems, []);
    pass
}

/// One pass repairs what somebody else did, the next one finds nothing to do.
async fn repaired(reconciler: &mut Reconciler, membership: &Membership, what: &str) {
    let pass = good(reconciler, membership).await;
    assert_ne!(pass.steps, 0, "{what}");
    assert!(pass.drift.is_drift(), "{what}");
    assert_eq!(pass.drift, pass.done, "{what}: all of it was drift");
    assert_eq!(good(reconciler, membership).await.steps, 0, "{what}: the second pass");
}

#[test]
fn a_pair_talks_and_drift_is_repaired() {
    Sandbox::enter("a_pair_talks_and_drift_is_repaired", async |sandbox: Sandbox| {
        let (mut reconciler, membership) = (sandbox.reconciler(), sandbox.membership());
        let pass = good(&mut reconciler, &membership).await;
        assert_ne!(pass.steps, 0);
        assert_eq!(pass.underlay_mtu, Some(1500));
        let found = pass.observation.expect("observed").interface;
        assert!(found.up);
        assert_eq!(found.mtu, 1420);
        assert_eq!(good(&mut reconciler, &membership).await.steps, 0, "all is well");

        // The independent tool sees what was meant, and no IPv4 came with it.
        let dump = run("wg", &["show", INTERFACE, "dump"]);
        assert!(dump.contains(&sandbox.peer_key().to_string()), "{dump}");
        assert!(dump.contains("[fd5e:1::2]:51820") && dump.contains("fd00:0:0:2::/64"), "{dump}");
        assert!(dump.contains("\toff\n"), "no keepalive: {dump}");
        assert_eq!(ip(&["-4", "address", "show", "dev", INTERFACE]), "");
        let route = ip(&["-6", "route", "show", "fd00::/48"]);
        assert!(route.contains("dev sextant0") && route.contains("proto static"), "{route}");

        // The probe is what makes the two shake hands.
        let probe = probe::start(Arc::new(SystemEntropy)).expect("socket");
        probe.set_targets(Targets::from([(PEER, PEER_OVERLAY)]));
        wait_for("a round trip", async || probe.measurements().rtts.contains_key(&PEER)).await;
        let observed = reconciler.observe().await.expect("readable").expect("there");
        let peer = &observed.interface.peers[&sandbox.peer_key()];
        assert!(peer.handshake_age.expect("handshake") < Duration::from_secs(60));
        assert_ne!(observed.traffic[&sandbox.peer_key()].rx_bytes, 0);

        let key = sandbox.peer_key().to_string();
        run("wg", &["set", INTERFACE, "peer", &key, "remove"]);
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.drift.to_string(), "peer-added=1");
        let stranger = run("wg", &["genkey"]);
        let stranger = sandbox::public(&stranger);
        run("wg", &["set", INTERFACE, "peer", &stranger, "allowed-ips", "fd00:0:0:9::/64"]);
        repaired(&mut reconciler, &membership, "stranger").await;
        run("wg", &["set", INTERFACE, "listen-port", "51999"]);
        repaired(&mut reconciler, &membership, "port").await;
        ip(&["-6", "address", "del", "fd00:0:0:1::1/128", "dev", INTERFACE]);
        repaired(&mut reconciler, &membership, "address").await;
        ip(&["-6", "address", "add", "fd00:0:0:1::9/128", "dev", INTERFACE]);
        repaired(&mut reconciler, &membership, "foreign address").await;
        ip(&["-6", "route", "del", "fd00::/48"]);
        repaired(&mut reconciler, &membership, "route").await;
        ip(&["-6", "route", "add", "fd77::/48", "dev", INTERFACE]);
        repaired(&mut reconciler, &membership, "foreign route").await;
        ip(&["link", "set", INTERFACE, "mtu", "1300"]);
        repaired(&mut reconciler, &membership, "mtu").await;
        ip(&["link", "set", INTERFACE, "down"]);
        repaired(&mut reconciler, &membership, "down").await;
        ip(&["link", "del", INTERFACE]);
        repaired(&mut reconciler, &membership, "link").await;
        sandbox.kill_userspace(INTERFACE).await;
        repaired(&mut reconciler, &membership, "killed, with its socket left behind").await;

        // After all that the pair still talks, as soon as the node starts a new session.
        probe.hurry();
        sandbox.ping_from_peer("fd00:0:0:1::1").await;
    });
}

#[test]
fn members_come_move_and_go_without_touching_the_others() {
    let name = "members_come_move_and_go_without_touching_the_others";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        let before = good(&mut reconciler, &membership).await.observation.expect("there");
        sandbox.ping_from_peer("fd00:0:0:1::1").await;
        let handshakes = run("wg", &["show", INTERFACE, "latest-handshakes"]);

        let third = sandbox::member(3, sandbox::key(3));
        membership.members.insert(third.node_id, third.clone());
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.done.to_string(), "firewall-set=1 peer-added=1", "one new peer");
        assert!(!pass.drift.is_drift(), "the membership changed: {}", pass.drift);
        let moved = "[fd5e:1::33]:1234".parse().expect("endpoint");
        membership.members.get_mut(&third.node_id).expect("third").endpoint = moved;
        assert_eq!(good(&mut reconciler, &membership).await.steps, 1, "moved");
        let endpoints = run("wg", &["show", INTERFACE, "endpoints"]);
        assert!(endpoints.contains("[fd5e:1::33]:1234"), "{endpoints}");
        membership.members.remove(&third.node_id);
        assert_eq!(good(&mut reconciler, &membership).await.steps, 2, "gone");

        let after = good(&mut reconciler, &membership).await.observation.expect("there");
        assert_eq!(after.index, before.index, "the interface is the same");
        assert_eq!(run("wg", &["show", INTERFACE, "latest-handshakes"]), handshakes);

        // A restarted agent finds all as it should be.
        let mut restarted = sandbox.reconciler();
        assert_eq!(good(&mut restarted, &membership).await.steps, 0);

        restarted.remove().await.expect("removed");
        assert!(restarted.observe().await.expect("readable").is_none());
        restarted.remove().await.expect("removing twice is fine");
    });
}

#[test]
fn on_the_host_a_workload_is_there_as_soon_as_it_is_placed_and_nowhere_once_it_is_released() {
    let name =
        "on_the_host_a_workload_is_there_as_soon_as_it_is_placed_and_nowhere_once_it_is_released";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        reconciler.carry(&sandbox::on_host());
        good(&mut reconciler, &membership).await;
        sandbox.ping_from_peer("fd00:0:0:1::1").await;
        let handshakes = run("wg", &["show", INTERFACE, "latest-handshakes"]);
        let (first, second) = ("fd00:0:0:1::98", "fd00:0:0:1::99");
        for (n, address) in [(1, first), (2, second)] {
            sandbox::place(&mut membership, (n, 1), address);
        }
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.done.to_string(), "address-added=2 firewall-set=1", "no peer was touched");
        assert!(!pass.drift.is_drift(), "the membership changed: {}", pass.drift);
        // A process can listen on it at once, and the mesh leads there.
        let at = |address: &str| format!("[{address}]:0");
        let listener = std::net::TcpListener::bind(at(second)).expect("usable at once");
        sandbox.ping_from_peer(second).await;

        // What is nobody's is answered at once, here and to the peer, and goes round nowhere.
        let nobody = listener.local_addr().map(|mut address| {
            address.set_ip("fd00:0:0:1::97".parse().expect("address"));
            address
        });
        let refused = std::net::TcpStream::connect(nobody.expect("address")).expect_err("nobody");
        let unreachable = [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
        assert!(unreachable.contains(&refused.kind()), "{refused:?}");
        sandbox.unreachable_from_peer("fd00:0:0:1::97").await;

        sandbox::release(&mut membership, 2);
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.done.to_string(), "address-removed=1 firewall-set=1");
        sandbox.unreachable_from_peer(second).await;
        sandbox.ping_from_peer(first).await;
        assert_eq!(run("wg", &["show", INTERFACE, "latest-handshakes"]), handshakes);

        let unreachable = || ip(&["-6", "route", "show", "type", "unreachable"]);
        assert!(unreachable().contains("fd00:0:0:1::/64"), "{}", unreachable());
        ip(&["-6", "route", "del", "unreachable", "fd00:0:0:1::/64"]);
        repaired(&mut reconciler, &membership, "unreachable").await;
        let mut restarted = sandbox.reconciler();
        restarted.carry(&sandbox::on_host());
        assert_eq!(good(&mut restarted, &membership).await.steps, 0, "after a restart");
        reconciler.remove().await.expect("removed");
        assert!(!unreachable().contains("fd00:"), "{}", unreachable());
    });
}

#[test]
fn the_mtu_follows_the_underlay_and_too_narrow_is_refused() {
    let name = "the_mtu_follows_the_underlay_and_too_narrow_is_refused";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, membership) = (sandbox.reconciler(), sandbox.membership());
        good(&mut reconciler, &membership).await;
        ip(&["link", "set", "eth0", "mtu", "1400"]);
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.observation.expect("there").interface.mtu, 1320);
        // A route may be narrower than its interface.
        ip(&["-6", "route", "replace", "fd5e:1::2/128", "dev", "eth0", "mtu", "1380"]);
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.underlay_mtu, Some(1380));
        ip(&["-6", "route", "del", "fd5e:1::2/128"]);

        ip(&["link", "set", "eth0", "mtu", "1350"]);
        let pass = reconciler.pass(&membership, sandbox::ME).await;
        assert!(pass.problems[0].text.contains("at least 1360"), "{:?}", pass.problems);
        assert!(pass.complete, "what flows is not stopped");
        ip(&["link", "del", INTERFACE]);
        let pass = reconciler.pass(&membership, sandbox::ME).await;
        assert!(!pass.complete && pass.observation.is_none(), "and nothing new is brought up");
        assert!(pass.problems[0].text.contains("at least 1360"), "{:?}", pass.problems);
        ip(&["link", "set", "eth0", "mtu", "1500"]);
        good(&mut reconciler, &membership).await;
    });
}

#[test]
fn what_belongs_to_others_is_left_alone_and_named() {
    Sandbox::enter("what_belongs_to_others_is_left_alone_and_named", async |sandbox: Sandbox| {
        let (mut reconciler, membership) = (sandbox.reconciler(), sandbox.membership());
        ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "other"]);
        let pass = reconciler.pass(&membership, sandbox::ME).await;
        assert!(!pass.complete);
        assert!(pass.problems[0].text.contains("no WireGuard interface"), "{:?}", pass.problems);
        assert!(ip(&["-d", "link", "show", INTERFACE]).contains("veth"));
        ip(&["link", "del", INTERFACE]);
        ip(&["tuntap", "add", "mode", "tun", "dev", INTERFACE]);
        let pass = reconciler.pass(&membership, sandbox::ME).await;
        assert!(
            pass.problems[0].text.contains("no userspace WireGuard serves"),
            "{:?}",
            pass.problems
        );
        ip(&["link", "del", INTERFACE]);

        ip(&["-6", "route", "add", "fd00::/48", "dev", "eth0"]);
        let pass = reconciler.pass(&membership, sandbox::ME).await;
        assert!(!pass.complete);
        assert_eq!(pass.problems.len(), 1, "the other steps were done: {:?}", pass.problems);
        assert!(
            pass.problems[0].text.contains("another interface has a route"),
            "{:?}",
            pass.problems
        );
        assert!(ip(&["-6", "route", "show", "fd00::/48"]).contains("dev eth0"));
        ip(&["-6", "route", "del", "fd00::/48", "dev", "eth0"]);
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.done.to_string(), "route-added=1");
        assert!(!pass.drift.is_drift(), "it was never there: {}", pass.drift);
    });
}

#[test]
fn another_key_than_the_nodes_touches_nothing_and_is_named() {
    let name = "another_key_than_the_nodes_touches_nothing_and_is_named";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let membership = sandbox.membership();
        good(&mut sandbox.reconciler(), &membership).await;
        sandbox.ping_from_peer("fd00:0:0:1::1").await;
        let before = run("wg", &["showconf", INTERFACE]);

        let mut swapped = sandbox::reconciler_with(PrivateKey::generate(&SystemEntropy));
        for _ in 0..2 {
            let pass = swapped.pass(&membership, sandbox::ME).await;
            assert!(pass.blocked && !pass.complete && pass.steps == 0);
            assert!(pass.observation.is_some(), "it is still reported");
            assert!(pass.problems[0].text.contains(sandbox::KEY_FILE), "{:?}", pass.problems);
            assert!(pass.problems[0].text.contains("restore the key"), "{:?}", pass.problems);
        }
        assert_eq!(run("wg", &["showconf", INTERFACE]), before);
        sandbox.ping_from_peer("fd00:0:0:1::1").await;
        ip(&["link", "del", INTERFACE]);
        assert!(swapped.pass(&membership, sandbox::ME).await.observation.is_none());
        good(&mut sandbox.reconciler(), &membership).await;
    });
}

#[test]
fn a_wireguard_that_hangs_is_named_and_recovers() {
    Sandbox::enter("a_wireguard_that_hangs_is_named_and_recovers", async |sandbox: Sandbox| {
        let (mut reconciler, membership) = (sandbox.reconciler(), sandbox.membership());
        good(&mut reconciler, &membership).await;
        let Some(process) = sandbox::userspace(INTERFACE) else { return };
        run("kill", &["-STOP", &process]);
        let pass = reconciler.pass(&membership, sandbox::ME).await;
        assert!(!pass.complete);
        assert!(pass.problems[0].text.contains("end that process"), "{:?}", pass.problems);
        run("kill", &["-CONT", &process]);
        assert_eq!(good(&mut reconciler, &membership).await.steps, 0);
    });
}

#[test]
fn a_thousand_peers_are_one_change_and_then_none() {
    let name = "a_thousand_peers_are_one_change_and_then_none";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        for n in 3..1003_u16 {
            let member = sandbox::member(n, sandbox::key(n));
            membership.members.insert(member.node_id, member);
        }
        good(&mut reconciler, &membership).await;
        assert_eq!(good(&mut reconciler, &membership).await.steps, 0);
        membership.members.remove(&sandbox::member(500, sandbox::key(500)).node_id);
        let pass = good(&mut reconciler, &membership).await;
        assert_eq!(pass.done.to_string(), "firewall-set=1 peer-removed=1");
        let peers = run("wg", &["show", INTERFACE, "peers"]);
        assert_eq!(peers.lines().count(), 1000);
    });
}

#[test]
fn small_and_large_echoes_are_answered_and_silence_is_noticed() {
    let name = "small_and_large_echoes_are_answered_and_silence_is_noticed";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let (mut reconciler, mut membership) = (sandbox.reconciler(), sandbox.membership());
        let silent = sandbox::member(3, sandbox::key(3));
        membership.members.insert(silent.node_id, silent.clone());
        good(&mut reconciler, &membership).await;
        sandbox.ping_from_peer("fd00:0:0:1::1").await;
        let away = silent.addresses.ipv6().expect("address");
        let targets = Targets::from([(PEER, PEER_OVERLAY), (silent.node_id, away)]);
        for size in [0, 1280, 1420] {
            let limit = Duration::from_millis(500);
            let answered = probe::answers(&targets, size, limit, &SystemEntropy).await;
            let answered = answered.expect("socket");
            assert!(answered.contains(&PEER), "{size}");
            assert!(!answered.contains(&silent.node_id), "{size}");
        }
    });
}
