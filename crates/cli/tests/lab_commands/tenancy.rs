//! Orgs, apps, environments, releases and workloads.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use sextant_lab::Target;

use crate::desk::Desk;

#[test]
fn what_an_org_owns_is_made_and_deleted_by_path_from_the_bottom_up() {
    let desk = Desk::new(1);
    desk.done("org create shop");
    assert!(desk.refused(6, "org create shop").contains("name-taken"));
    assert!(desk.refused(5, "app create nobody/web").contains("there is no org \"nobody\""));
    desk.done("app create shop/web");
    assert!(desk.refused(5, "env create shop/api/production").contains("no app \"shop/api\""));
    desk.done("env create shop/web/production");
    desk.done("environment create shop/web/staging --network mesh");
    let listed = desk.json("env list shop/web");
    assert_eq!(listed.as_array().expect("a list").len(), 2, "{listed}");
    assert_eq!(desk.done("env list shop").lines().count(), 3);
    let id = desk.json("env show shop/web/staging")["id"].as_str().expect("id").to_owned();
    assert!(desk.done(&format!("env show {id}")).contains("shop/web/staging"));
    let missing = desk.refused(5, "env show shop/web/preview");
    assert!(missing.contains("`sextant environment list` shows all"), "{missing}");

    assert!(desk.refused(2, "org delete shop").contains("--yes"));
    assert!(desk.refused(6, "org delete shop --yes").contains("org-in-use"));
    assert!(desk.refused(6, "app delete shop/web --yes").contains("app-in-use"));
    for environment in ["production", "staging"] {
        let gone = desk.json(&format!("env delete shop/web/{environment} --yes"));
        assert_eq!(gone["name"], environment);
    }
    desk.done("app delete shop/web --yes");
    assert_eq!(desk.json("org delete shop --yes")["name"], "shop");
    desk.refused(5, "org delete shop --yes");
}

#[test]
fn a_deploy_is_waited_for_and_goes_on_without_whoever_waits() {
    let mut desk = Desk::new(2);
    for made in ["org create shop", "app create shop/web", "env create shop/web/production"] {
        desk.done(made);
    }
    let nothing = desk.refused(5, "release show shop/web/production");
    assert!(nothing.contains("no release yet"), "{nothing}");
    let first = desk.run("deploy shop/web/production web=2 worker=1 --wait --timeout 60s");
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.stdout.contains("pending"), "what it is at first: {first:?}");
    assert!(first.stderr.contains("release 1 of shop/web/production is live"), "{first:?}");

    // Its node says nothing, so a release on it stays pending.
    desk.lab.kill(&Target::Host("n1".into())).expect("kill");
    let late = desk.run("deploy shop/web/production web=2 --wait --timeout 1s --json");
    assert_eq!(late.code, 1, "{late:?}");
    assert!(late.stderr.contains("web on n1 (starting)"), "{late:?}");
    let late: serde_json::Value = serde_json::from_str(&late.stdout).expect("one line of JSON");
    assert_eq!((late["number"].clone(), late["status"].clone()), (2.into(), "pending".into()));

    let mut command = desk.sextant("deploy shop/web/production web=2 --wait");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("started");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    stderr.read_line(&mut said).expect("a line");
    assert!(said.contains("web on n1 (starting)"), "{said}");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill").success());
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    stderr.read_to_string(&mut said).expect("the rest");
    assert!(said.contains("the release goes on by itself"), "{said}");

    desk.lab.start(&Target::Host("n1".into())).expect("start");
    desk.until(0, "deploy shop/web/production web=1 --wait --timeout 60s");
    let releases = desk.json("release list shop/web/production");
    let statuses: Vec<_> =
        releases.as_array().expect("a list").iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["superseded", "superseded", "superseded", "live"], "{releases}");
    assert!(desk.done("release show shop/web/production 1").contains("superseded by  release "));
    let id = releases[3]["id"].as_str().expect("id");
    assert!(desk.done(&format!("release show {id}")).contains("4 of shop/web/production"));
    assert!(desk.refused(5, "release show shop/web/production 9").contains("the newest is 4"));
}

#[test]
fn the_token_of_an_org_does_what_the_org_may_and_no_more() {
    let desk = Desk::new(1);
    for made in ["org create shop", "org create rival", "app create rival/web"] {
        desk.done(made);
    }
    desk.done("env create rival/web/production");
    desk.done("api-token create deployer --org shop --role admin --output shop.token");
    assert!(desk.done("api-token list").lines().any(|line| line.contains("  shop  ")));
    let shop = |arguments: &str| format!("--token-file shop.token {arguments}");

    desk.done(&shop("app create shop/web"));
    desk.done(&shop("env create shop/web/production"));
    desk.done(&shop("deploy shop/web/production web=1 --wait --timeout 60s"));
    let registered = desk.json(&shop("workload register shop/web/production --process cron"));
    let id = registered["id"].as_str().expect("id");
    let said = desk.json(&shop(&format!("workload health {id} unhealthy")));
    assert_eq!(said["status"], "unhealthy");
    assert_eq!(desk.done(&shop("workload list --node n1")).lines().count(), 3);
    assert_eq!(desk.json(&shop(&format!("workload withdraw {id} --yes")))["status"], "withdrawn");
    let again = desk.run(&shop(&format!("workload withdraw {id} --yes")));
    assert!(again.code == 0 && again.stderr.contains(" already"), "{again:?}");
    let happened = desk.done(&shop("events --tail 2"));
    assert!(happened.contains("workload-withdrawn"), "{happened}");
    assert!(!desk.done(&shop("events")).contains("rival"));
    let listed = desk.done(&shop("workload list"));
    let short = listed.lines().nth(1).expect("a row").split_whitespace().last().expect("id");
    assert!(desk.done(&shop(&format!("workload show {short}"))).contains(short), "{listed}");

    assert_eq!(desk.done(&shop("org list")).lines().count(), 2);
    desk.refused(5, &shop("env show rival/web/production"));
    let foreign = desk.json("env show rival/web/production");
    let foreign = foreign["id"].as_str().expect("id");
    desk.refused(5, &shop(&format!("env show {foreign}")));
    for platform in [
        "status",
        "edge status",
        "org create more",
        "port policy set --allow none",
        &format!("port grant {foreign} 5432 --reason x"),
    ] {
        assert!(desk.refused(4, &shop(platform)).contains("forbidden"), "{platform}");
    }
    let by_name =
        desk.refused(4, &shop("workload register shop/web/production --process x --node n1"));
    assert!(by_name.contains("by its id only"), "{by_name}");
}
