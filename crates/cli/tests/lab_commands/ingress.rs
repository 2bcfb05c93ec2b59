//! Hostnames, routes, ports and edges.

use sextant_lab::Target;

use crate::desk::Desk;

const HOME: &str = "shop/web/production";

/// A lab with an environment that runs `web` and `worker`, and an empty one beside it.
fn with_environments(edges: u16) -> Desk {
    let desk = Desk::with_edges(1, edges);
    for made in [
        "org create shop",
        "app create shop/web",
        "env create shop/web/production",
        "env create shop/web/staging",
        "deploy shop/web/production web=1 worker=1 --wait --timeout 60s",
    ] {
        desk.done(made);
    }
    desk
}

#[test]
fn hostnames_are_claimed_moved_and_given_back() {
    let desk = with_environments(0);
    let claimed = desk.run(&format!("hostname claim {HOME} shop.example.com"));
    assert_eq!(claimed.code, 0, "{claimed:?}");
    let record = "_sextant-challenge.shop.example.com. 300 IN TXT \"sextant-verification=";
    assert!(claimed.stdout.starts_with(record), "{claimed:?}");
    assert_eq!(claimed.stdout.lines().count(), 1, "nothing but the record: {claimed:?}");
    assert!(claimed.stderr.contains("sextant hostname verify"), "{claimed:?}");
    let again = desk.done(&format!("hostname claim {HOME} Shop.Example.com."));
    assert_eq!(again, claimed.stdout, "claiming it again changes nothing");
    let unproved = desk.refused(4, &format!("hostname verify {HOME} shop.example.com"));
    assert!(unproved.contains("is not proved"), "{unproved}");
    let route = format!("route create {HOME} --hostname shop.example.com --to web:8443");
    let unproved = desk.refused(6, &route);
    assert!(unproved.contains("is claimed and not proved yet; publish the TXT"), "{unproved}");
    let verify = format!("`sextant hostname verify {HOME} shop.example.com`");
    assert!(unproved.contains(&verify) && unproved.contains("hostname-unproved"), "{unproved}");

    // The platform's own domain needs no proof.
    assert_eq!(desk.json(&format!("hostname claim {HOME} shop.lab.test"))["state"], "owned");
    assert!(desk.done(&format!("hostname list {HOME}")).contains(record));
    desk.done(&format!("route create {HOME} --hostname shop.lab.test --to web:8443"));
    let taken = desk.refused(6, "hostname claim shop/web/staging shop.lab.test");
    assert!(taken.contains("hostname-taken") && taken.contains(HOME), "{taken}");
    let used = desk.refused(6, &format!("hostname release {HOME} shop.lab.test --yes"));
    assert!(used.contains("hostname-in-use"), "{used}");

    let transfer = format!("hostname move shop.lab.test --from {HOME} --to shop/web/staging");
    let question = desk.refused(2, &transfer);
    assert!(question.contains("with its route: port 443 to web:8443"), "{question}");
    let unfit = desk.refused(4, &format!("{transfer} --yes"));
    assert!(unfit.contains("process-type-unknown"), "{unfit}");
    desk.done("workload register shop/web/staging --process web");
    let moved = desk.run(&format!("{transfer} --yes"));
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved.stderr.contains("with its route: port 443 to web:8443"), "{moved:?}");
    assert_eq!(desk.json("route show shop.lab.test")["environment"], "shop/web/staging");

    desk.done("route delete shop.lab.test --yes");
    desk.done("hostname release shop/web/staging shop.lab.test --yes");
    desk.refused(5, "hostname release shop/web/staging shop.lab.test --yes");
}

#[test]
fn every_bad_route_is_refused_with_its_reason_and_nothing_changes() {
    let desk = with_environments(0);
    desk.done(&format!("route create {HOME} --hostname taken.lab.test --to web:8443"));
    let before = desk.json("status")["settled"].clone();
    let named = "--hostname new.lab.test";
    for (code, arguments, said) in [
        (6, "--hostname foreign.example.com --to web:1".to_owned(), "hostname-unproved"),
        (6, "--hostname taken.lab.test --to web:8443".to_owned(), "route-exists"),
        (4, format!("{named} --to web:8443 --port 25"), "listen_port 25 is denied"),
        (4, format!("{named} --to web:8443 --port 5432"), "ask an operator for a port grant"),
        (4, format!("{named} --to nope:8443"), "use one of \"web\", \"worker\""),
        (4, format!("{named} --to web:1 --protocol http_terminate"), "is reserved"),
        (4, format!("{named} --to web:1 --endpoint shared_ipv4_pool"), "is reserved"),
        (4, format!("{named} --to web:1 --endpoint dedicated_ipv4"), "IPv4 add-on"),
        (4, format!("{named} --to web:1 --ipv4-required"), "IPv4 add-on"),
        (4, "--to web:8443".to_owned(), "hostname is missing"),
        (2, "--hostname *.*.lab.test --to web:1".to_owned(), "wildcard over one label"),
        (2, "--hostname 192.0.2.1 --to web:1".to_owned(), "is an IP address"),
        (2, format!("{named} --to web"), "like web:8443"),
        (2, format!("{named} --to web:1 --health udp"), "health_source \"udp\""),
        (2, format!("{named} --to web:1 --port 0"), "\"0\" is not a port"),
    ] {
        let refused = desk.refused(code, &format!("route create {HOME} {arguments}"));
        assert!(refused.contains(said), "{arguments}: {refused}");
    }
    assert_eq!(desk.json("status")["settled"], before, "no event");
}

#[test]
fn ports_are_opened_by_policy_and_by_grant() {
    let desk = with_environments(0);
    let route = |port: u16| {
        format!("route create {HOME} --protocol tcp_raw --port {port} --to worker:5432")
    };
    let policy = desk.json("port policy");
    assert_eq!(policy["deny"], serde_json::json!(["25"]));
    assert!(desk.refused(4, &route(5432)).contains("port-not-granted"));
    desk.done(&format!("port grant {HOME} 5432 --reason ticket-4711"));
    assert!(desk.done(&format!("port grants {HOME}")).contains("ticket-4711"));
    let all = desk.done("port grants");
    assert!(all.contains(HOME) && all.contains("5432") && all.contains("first-admin"), "{all}");
    let made = desk.json(&route(5432));
    assert_eq!(desk.json("route show :5432")["id"], made["id"], "by its port alone");
    assert!(desk.refused(6, &format!("port revoke {HOME} 5432")).contains("port-grant-in-use"));
    assert!(desk.refused(6, &route(5432)).contains("port-taken"));

    assert!(desk.refused(4, &route(8001)).contains("port-not-granted"));
    let policy = desk.json("port policy set --allow 8000-8099");
    assert_eq!(policy["allow"], serde_json::json!(["8000-8099"]));
    assert_eq!(policy["deny"], serde_json::json!(["25"]), "what is not given stays");
    desk.done(&route(8001));
    let policy = desk.done("port policy set --allow none --deny 25,5432");
    assert!(policy.contains("could not be created now"), "{policy}");
    assert!(policy.contains("\n5432 ") && policy.contains("\n8001 "), "{policy}");

    desk.done(&format!("route delete {} --yes", made["id"].as_str().expect("id")));
    desk.done(&format!("port revoke {HOME} 5432"));
    desk.refused(5, &format!("port revoke {HOME} 5432"));
}

#[test]
fn a_route_is_explained_by_the_control_plane_and_by_an_edge_that_stands_alone() {
    let mut desk = with_environments(2);
    let overview = desk.json("status");
    assert_eq!(overview["counts"]["environments"]["count"], 2, "{overview}");
    assert_eq!(overview["counts"]["workloads"]["healthy"], 2, "{overview}");
    assert_eq!(overview["counts"]["edges"]["count"], 2, "{overview}");
    desk.done(&format!("route create {HOME} --hostname shop.lab.test --to web:8443"));
    let same = desk.done("edge status --wait --timeout 60s");
    assert!(same.ends_with("\nall 2 edges serve the same, newest routes\n"), "{same}");

    let explained = desk.done("route explain shop.lab.test --from 2001:db8::7");
    for said in ["shop.lab.test:443 to web:8443 of shop/web/production", "healthy", "e1", "e2"] {
        assert!(explained.contains(said), "{said}: {explained}");
    }
    let unknown = desk.run("route explain other.lab.test");
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stdout.contains("what to do: make a route"), "{unknown:?}");

    let edge = desk.lab.description().edge("e1").expect("e1").edge_admin.clone();
    let edge = edge.expect("an admin socket").display().to_string();
    let ask = |what: &str| format!("route explain {what} --edge {edge}");
    let chosen = desk.json(&ask("shop.lab.test --from 2001:db8::7"));
    assert_eq!(chosen["served"], true, "{chosen}");
    assert!(chosen["backend"].as_str().expect("a backend").ends_with(":8443"), "{chosen}");
    let text = desk.done(&ask("shop.lab.test --from 2001:db8::7"));
    assert!(text.contains("has the fewest connections") && text.contains("source  "), "{text}");
    assert!(desk.refused(2, &ask("a!b.lab.test")).contains("contains '!'"));

    // One edge is gone, the control plane says so; then it is gone itself, and the other edge
    // still says what it does.
    desk.lab.kill(&Target::Edge("e2".into())).expect("kill");
    desk.done(&format!("route create {HOME} --hostname more.lab.test --to web:8443"));
    let differ = desk.run("edge status --wait --timeout 2s");
    assert_eq!(differ.code, 1, "{differ:?}");
    let last = differ.stdout.lines().last().expect("a line");
    assert!(
        last.starts_with("not all edges serve the same, newest routes: e2 is at event"),
        "{last}"
    );
    assert!(differ.stderr.contains("waiting for e2 is at event"), "{differ:?}");
    let sick = desk.until(1, "doctor");
    assert!(sick.stdout.contains("FAIL  edge e2\n      what:   it is at event"), "{sick:?}");
    let status = desk.run("status --json");
    assert_eq!(status.code, 1, "{status:?}");
    let overview: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert!(overview["counts"]["edges"]["complaints"][0].as_str().is_some(), "{overview}");
    assert_eq!(overview["findings"][0]["kind"], "edge-behind", "{overview}");
    desk.lab.start(&Target::Edge("e2".into())).expect("start");
    desk.done("edge status --wait --timeout 60s");
    for replica in ["c1", "c2"] {
        desk.lab.kill(&Target::Host(replica.into())).expect("kill");
    }
    desk.refused(3, "route explain shop.lab.test");
    desk.done(&ask("more.lab.test"));
}
