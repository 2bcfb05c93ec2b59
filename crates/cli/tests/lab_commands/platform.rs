//! Networks, nodes, tokens and events.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;
use sextant_lab::Target;

use crate::desk::Desk;

#[test]
fn networks_and_tokens_are_managed_by_name_with_the_documented_exit_codes() {
    let desk = Desk::new(1);
    assert!(desk.done("network list").contains("mesh"));
    desk.done("network create spare --prefix fd12:3456:789a::/48");
    assert!(desk.refused(6, "network create spare").contains("name-taken"));
    assert!(desk.refused(4, "network create x --ip-stack-mode dual").contains("not supported"));
    assert!(desk.refused(4, "network create x --prefix 10.0.0.0/8").contains("IPv6 only"));
    assert!(desk.refused(2, "token create --node n9").contains("mesh, spare"));
    assert_eq!(desk.json("network rename spare second")["name"], "second");
    desk.refused(5, "network show spare");
    assert!(desk.refused(2, "network delete second").contains("--yes"));
    assert_eq!(desk.json("network delete second --yes")["name"], "second");
    assert!(desk.refused(6, "network delete mesh --yes").contains("network-in-use"));

    let token = desk.done("token create --node n9 --role edge --expires-in 15m");
    assert!(token.starts_with("sxe_") && token.lines().count() == 1, "{token}");
    let invited = desk.json("token create --node n8 --output n8.token");
    assert!(invited["token"].is_null(), "a token goes to one place: {invited}");
    let id = invited["id"].as_str().expect("id");
    assert_eq!(desk.json(&format!("token revoke {id}"))["phase"], "revoked");
    let again = desk.run(&format!("token revoke {id}"));
    assert!(again.code == 0 && again.stderr.contains("already"), "{again:?}");
    let tokens = desk.json("token list");
    let mut tokens = tokens.as_array().expect("tokens").iter();
    let used = tokens.find(|token| token["phase"] == "used").expect("that of n1");
    let used = desk.refused(6, &format!("token revoke {}", used["id"].as_str().expect("id")));
    assert!(used.contains("by node n1; use `sextant node remove n1`"), "{used}");
    assert!(desk.refused(6, "token revoke n1").contains("by node n1"), "by the node's name");
    let listed = desk.done("token list");
    assert!(
        listed.contains("n9 ") && !listed.contains("n8 ") && !listed.contains("n1 "),
        "{listed}"
    );
    desk.done("token revoke n9");
    let namesake = desk.run("token create --node n1");
    assert!(namesake.code == 0 && namesake.stdout.starts_with("sxe_"), "{namesake:?}");
    assert!(namesake.stderr.contains("warning: a node \"n1\" exists"), "{namesake:?}");
    assert!(desk.done("token list --all").lines().any(|line| line.contains("revoked")));
    desk.refused(5, "token revoke 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e");

    let made = desk.json("api-token create eyes --role viewer --expires-in 1h --output eyes");
    desk.done("--token-file eyes node list");
    assert!(desk.refused(4, "--token-file eyes network create x").contains("forbidden"));
    let revoked = desk.json(&format!("api-token revoke {}", made["id"].as_str().expect("id")));
    assert_eq!(revoked["revoked"], true);
    assert!(desk.refused(4, "--token-file eyes node list").contains("revoked"));
    assert_eq!(desk.run("--token-file eyes doctor").code, 2);

    assert!(desk.refused(4, "node set-endpoint n1 [fe80::1]:1").contains("endpoint-unusable"));
    desk.refused(5, "node show n7");
    assert!(desk.done("events --type network-renamed").contains("now second"));
    assert_eq!(desk.done("events --tail 2").lines().count(), 2);
    events_are_found(&desk);
    things_are_named_by_the_beginning_of_their_id(&desk);
    let elsewhere = desk.refused(4, &format!("events --after {id}:1"));
    assert!(elsewhere.contains("--after 0"), "{elsewhere}");
}

fn events_are_found(desk: &Desk) {
    let last = desk.done("events");
    assert!(last.lines().last().expect("a line").contains("api-token-revoked"), "{last}");
    assert_eq!(desk.done("events -n 1"), last.lines().last().expect("a line").to_owned() + "\n");
    assert_eq!(desk.done("events --since 1h"), desk.done("events --after 0 --limit 10000"));
    assert_eq!(desk.done("events --since 2999-01-01"), "");
    let of_node = desk.done("events --since 1h --subject node/n1");
    assert!(of_node.lines().count() > 0, "{of_node}");
    assert!(of_node.lines().all(|line| line.contains("  node/n1 ")), "{of_node}");
    let by_admin = desk.done("events --actor first-admin");
    assert!(by_admin.lines().count() > 0, "{by_admin}");
    assert!(by_admin.lines().all(|line| line.contains("by first-admin")), "{by_admin}");
}

fn things_are_named_by_the_beginning_of_their_id(desk: &Desk) {
    let node = desk.json("node show n1");
    let id = node["id"].as_str().expect("id");
    assert_eq!(desk.json(&format!("node show {}", &id[..13]))["name"], "n1");
    assert_eq!(
        desk.json(&format!("network show {}", &node["network_id"].as_str().expect("id")[..13]))["name"],
        "mesh"
    );
    assert!(desk.refused(5, "node show ffff").contains("no node \"ffff\""));
    assert_eq!(desk.done("node list -o name"), "n1\n");
    let narrow = desk.done("node list");
    assert!(narrow.lines().all(|line| line.len() <= 80), "{narrow}");
    assert!(!narrow.contains(id) && desk.done("node list -o wide").contains(id), "{narrow}");
    assert!(narrow.contains("AGE") && desk.done("node list --utc").contains("ENROLLED AT"));
    assert_eq!(desk.done("node list --phase withdrawn").lines().count(), 1);
    assert_eq!(desk.done("node list --network mesh --phase active").lines().count(), 2);
}

#[test]
fn a_leave_is_waited_for_and_a_sick_platform_is_told_from_a_healthy_one() {
    let mut desk = Desk::new(3);
    desk.until(0, "status");
    let healthy = desk.until(0, "doctor");
    let last = "all is well; on a node, `sextant-agent doctor` looks closer\n";
    assert!(healthy.stdout.ends_with(last), "{healthy:?}");

    // A node that does not drop it holds the leave up, and is named.
    desk.lab.kill(&Target::Host("n2".into())).expect("kill");
    let held = desk.run("node remove n3 --yes --wait --timeout 2s");
    assert_eq!(held.code, 1, "{held:?}");
    assert!(held.stderr.contains("waiting for n2 (1 event behind)"), "{held:?}");
    assert!(desk.done("node status n3").contains("n2 (1 event behind)"));
    desk.lab.start(&Target::Host("n2".into())).expect("start");
    let left = desk.run("node remove n3 --wait --timeout 60s");
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.stderr.contains("is withdrawn already"), "{left:?}");
    assert!(left.stderr.contains("is released"), "{left:?}");
    desk.refused(5, "node show n3");
    assert_eq!(desk.json("node list").as_array().expect("nodes").len(), 2);
    let last = desk.done("events --tail 1");
    assert!(last.contains("node-released") && last.contains("node/n3"), "{last}");

    desk.lab.kill(&Target::Host("c1".into())).expect("kill");
    let missing = desk.until(1, "status");
    assert!(missing.stdout.contains("(replica-silent)"), "{missing:?}");
    let sick = desk.until(1, "doctor");
    let gone = desk.lab.description().api_urls[0].as_str();
    assert!(sick.stdout.contains("Connection refused") && sick.stdout.contains(gone), "{sick:?}");
    desk.lab.kill(&Target::Host("c2".into())).expect("kill");
    desk.refused(3, "status");
    assert_eq!(desk.run("doctor").code, 2);
}

#[test]
fn followed_events_come_once_each_across_a_restart_of_the_control_plane() {
    let mut desk = Desk::new(1);
    let listing = desk.done("events --tail 1 --json");
    let bookmark: Value =
        serde_json::from_str(listing.lines().last().expect("line")).expect("JSON");
    let from = bookmark["cursor"].as_str().expect("cursor");
    let follow = format!("events --follow --after {from} --json --type network-created --limit 2");
    let mut command = desk.sextant(&follow);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("started");
    let mut notices = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut frames = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || loop {
        let line = frames.next().expect("a line").expect("text");
        let frame: Value = serde_json::from_str(&line).expect("JSON");
        if frame["frame"] == "event" {
            break frame["event"]["payload"]["name"].clone();
        }
    };
    desk.done("network create before");
    assert_eq!(next(), "before");
    for replica in ["c1", "c2"] {
        desk.lab.kill(&Target::Host(replica.into())).expect("kill");
    }
    let notice = notices.next().expect("a notice").expect("text");
    assert!(notice.contains("interrupted"), "{notice}");
    desk.lab.start(&Target::Host("c2".into())).expect("start");
    desk.done("network create after");
    assert_eq!(next(), "after");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    let notice = notices.next().expect("a notice").expect("text");
    assert!(notice.contains("connected again"), "{notice}");
}
