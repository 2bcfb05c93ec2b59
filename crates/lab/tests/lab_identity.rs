//! Nodes on bad days: clocks that are wrong, certificates that have expired, and machines that are
//! copies of others. Needs root or user namespaces, and the programs of the workspace beside this one.

use std::{
    ffi::OsString,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use sextant_api::resource::status::{NodeStatus, Status};
use sextant_lab::{
    Lab, Programs, Progress, ScratchDirectory, Size, Target,
    clock::shifted,
    command::run,
    directory::{private_directory, write_config},
    interrupt::Interrupt,
    node::INTERFACE,
    operator::Operator,
    process::{self, Daemon},
    wait::until,
};
use sextant_model::Timestamp;
use time::OffsetDateTime;

const LIMIT: Duration = Duration::from_secs(90);
/// A second machine is named within ten seconds; the rest is for a busy machine.
const NAMED: Duration = Duration::from_secs(30);

fn up(place: &ScratchDirectory, nodes: u16) -> Lab {
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    let programs = Programs::in_directory(lab.parent().expect("a directory"));
    let size = Size { nodes, replicas: 2 };
    Lab::up(place.directory(), programs, size, Interrupt::never(), Progress::start())
        .expect("the lab comes up")
}

fn now() -> Timestamp {
    Timestamp(OffsetDateTime::now_utc())
}

fn host(name: &str) -> Target {
    Target::Host(name.to_owned())
}

fn status_of<'s>(status: &'s Status, name: &str) -> &'s NodeStatus {
    status.nodes.iter().find(|node| node.node.name.as_str() == name).expect("a node")
}

fn await_status(operator: &Operator, what: &str, limit: Duration, holds: impl Fn(&Status) -> bool) {
    until(what, limit, &Interrupt::never(), || {
        let status = operator.status()?;
        Ok(if holds(&status) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(format!("{:?}", status.nodes))
        })
    })
    .expect(what);
}

fn events(operator: &Operator, event_type: &str) -> usize {
    let page = operator.ask("read events", operator.client().events(None, Some(1000)));
    let text = serde_json::to_string(&page.expect("events").frames).expect("json");
    text.matches(&format!("\"event_type\":\"{event_type}\"")).count()
}

fn log(lab: &Lab, name: &str) -> String {
    std::fs::read_to_string(lab.directory().log(name)).expect("a log")
}

/// Signs a client certificate that ended a month ago for the key of a node.
fn expire_certificate(lab: &Lab, name: &str) {
    let node = lab.description().node(name).expect("a node").state.clone();
    let identity = std::fs::read_to_string(node.join("node.json")).expect("node.json");
    let identity: serde_json::Value = serde_json::from_str(&identity).expect("JSON");
    let subject = format!("/CN={}", identity["node_id"].as_str().expect("an id"));
    let extensions = node.join("extensions");
    std::fs::write(&extensions, "extendedKeyUsage=clientAuth\n").expect("written");
    let request = node.join("request.pem");
    let openssl = || Command::new("openssl");
    run(openssl()
        .args(["req", "-new", "-subj", &subject, "-key"])
        .arg(node.join("client.key"))
        .arg("-out")
        .arg(&request))
    .expect("a request");
    let ca = &lab.description().ca_file;
    let certificate = node.join("client.crt");
    let mut sign = openssl();
    sign.args(["x509", "-req", "-days", "30", "-CA"])
        .arg(ca)
        .arg("-CAkey")
        .arg(ca.with_extension("key"))
        .args(["-set_serial", "7", "-in"])
        .arg(&request)
        .arg("-extfile")
        .arg(&extensions)
        .arg("-out")
        .arg(&certificate)
        .envs(shifted(-60).expect("libfaketime"));
    run(&mut sign).expect("a certificate");
    for file in [request, extensions] {
        std::fs::remove_file(file).expect("removed");
    }
}

#[test]
fn agents_forty_days_off_in_either_direction_come_back_by_themselves_and_renew_nothing_for_it() {
    let place = ScratchDirectory::new().expect("make");
    let mut lab = up(&place, 2);
    let operator = Operator::of(lab.description()).expect("operator");
    for days in [40, -40] {
        for name in ["n1", "n2"] {
            lab.stop(&host(name)).expect("stop");
            lab.set_clock(name, days);
        }
        let restarted = now();
        let before = events(&operator, "node-certificate-issued");
        for name in ["n1", "n2"] {
            lab.start(&host(name)).expect("start");
        }
        lab.await_converged(&operator, Some(restarted), LIMIT).expect("back in the mesh");
        // What happens now reaches them: they follow, and do not only report.
        let side = if days > 0 { "ahead" } else { "behind" };
        let marker = sextant_model::DnsLabel::new(format!("marker-{side}"));
        operator.create_network(&marker.expect("label"), &format!("{days}")).expect("an event");
        let head = operator.status().expect("status").settled;
        await_status(&operator, "the agents to follow", LIMIT, |status| {
            let follows = |name| status_of(status, name).revision.is_some_and(|at| at >= head);
            follows("n1") && follows("n2")
        });
        await_status(&operator, "the clock to be named", LIMIT, |status| {
            let problems = status_of(status, "n1").report.as_ref().map(|report| &report.problems);
            problems.is_some_and(|all| all.iter().any(|one| one.contains("clock is 40 days")))
        });
        let renewed = events(&operator, "node-certificate-issued") - before;
        assert_eq!(renewed, 0, "a wrong clock is no reason to renew");
    }
    drop(lab);
    place.remove().expect("down");
}

#[test]
fn a_node_whose_certificate_expired_comes_back_by_its_key_even_with_a_wrong_clock() {
    let place = ScratchDirectory::new().expect("make");
    let mut lab = up(&place, 3);
    let operator = Operator::of(lab.description()).expect("operator");
    let clocks = [("n1", 0), ("n2", 40), ("n3", -40)];
    for (name, days) in clocks {
        lab.stop(&host(name)).expect("stop");
        expire_certificate(&lab, name);
        lab.set_clock(name, days);
    }
    let (restarted, before) = (now(), events(&operator, "node-certificate-issued"));
    for (name, _) in clocks {
        lab.start(&host(name)).expect("start");
    }
    lab.await_converged(&operator, Some(restarted), LIMIT).expect("back in the mesh");
    assert_eq!(events(&operator, "node-certificate-issued") - before, 3, "one each");
    drop(lab);
    place.remove().expect("down");
}

#[test]
fn a_node_that_was_removed_while_it_was_locked_out_learns_of_it() {
    let place = ScratchDirectory::new().expect("make");
    let mut lab = up(&place, 2);
    let operator = Operator::of(lab.description()).expect("operator");
    lab.stop(&host("n2")).expect("stop");
    expire_certificate(&lab, "n2");
    lab.set_clock("n2", 40);
    let id = operator.node("n2").expect("a member").id;
    operator.withdraw_node(id).expect("removed");
    lab.start(&host("n2")).expect("start");
    lab.await_departed("n2", LIMIT).expect("it takes its interface away");
    lab.await_released(&operator, id, LIMIT).expect("released");
    drop(lab);
    place.remove().expect("down");
}

/// Starts the agent of a copy of `name` on a host of its own.
fn start_copy(lab: &mut Lab, name: &str) -> (u32, PathBuf) {
    let original = lab.directory().node(name);
    let copy = lab.directory().node("copy");
    private_directory(&copy).expect("a folder");
    run(Command::new("cp").arg("-a").arg(original.join("state")).arg(copy.join("state")))
        .expect("copied");
    let config = std::fs::read_to_string(original.join("agent.toml")).expect("a configuration");
    let config = config.replace(original.to_str().expect("a path"), copy.to_str().expect("a path"));
    let file = copy.join("agent.toml");
    write_config(&file, &serde_json::json!({})).expect("made");
    std::fs::write(&file, config).expect("written");
    let lab_id = lab.description().lab_id.clone();
    let address = sextant_lab::underlay::node_address(&lab_id, 99);
    let host = lab.add_host("copy", address).expect("a host");
    let mut command = host.entry();
    let agent = Path::new(env!("CARGO_BIN_EXE_sextant-lab")).with_file_name("sextant-agent");
    command.extend([agent.into(), "run".into(), "--config".into(), OsString::from(file)]);
    let log = lab.directory().log("copy");
    let daemon = Daemon { command, log: Some(&log), listener: None };
    let pid = daemon.start(&lab_id).expect("started");
    let has_interface = move |lab: &Lab| {
        let mut show = host.command(&lab.description().lab_id, "ip");
        run(show.args(["link", "show", INTERFACE])).is_ok()
    };
    until("the copy to be refused", NAMED, &Interrupt::never(), || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let refused = log.contains("this machine is refused") && !has_interface(lab);
        Ok(if refused { ControlFlow::Break(()) } else { ControlFlow::Continue(log) })
    })
    .expect("the copy is refused and silent");
    (pid, log)
}

#[test]
fn a_copy_of_a_machine_is_named_and_refused_and_an_honest_restart_is_not() {
    let place = ScratchDirectory::new().expect("make");
    let mut lab = up(&place, 2);
    let operator = Operator::of(lab.description()).expect("operator");

    // A restart within a second is a new process too.
    let restarted = now();
    lab.kill(&host("n2")).expect("kill");
    lab.start(&host("n2")).expect("start");
    lab.await_converged(&operator, Some(restarted), LIMIT).expect("converges");

    let (copy, copy_log) = start_copy(&mut lab, "n1");
    let n1 = lab.description().node("n1").expect("n1").underlay;
    let copied = sextant_lab::underlay::node_address(&lab.description().lab_id, 99);
    await_status(&operator, "both machines to be named", NAMED, |status| {
        status_of(status, "n1").duplicates == [n1.to_string(), copied.to_string()]
    });
    let text = std::fs::read_to_string(&copy_log).expect("a log");
    for part in [n1.to_string(), copied.to_string(), "empty its state folder".into()] {
        assert!(text.contains(&part), "{part} in {text}");
    }
    let warned = ["c1", "c2"].map(|name| log(&lab, name)).concat();
    assert!(warned.contains("two machines run as one node"), "{warned}");
    assert!(status_of(&operator.status().expect("status"), "n2").duplicates.is_empty());
    lab.await_pings(LIMIT).expect("the mesh is as it was");

    // The one that is served may restart beside the copy.
    let restarted = now();
    lab.kill(&host("n1")).expect("kill");
    lab.start(&host("n1")).expect("start");
    lab.await_converged(&operator, Some(restarted), LIMIT).expect("converges");
    assert!(!log(&lab, "n1").contains("this machine is refused"));
    assert!(!log(&lab, "n2").contains("this machine is refused"));

    // When the original is gone, the copy takes its place: it may be the restored machine.
    lab.kill(&host("n1")).expect("kill");
    until("the copy to be let in", LIMIT, &Interrupt::never(), || {
        let text = std::fs::read_to_string(&copy_log).expect("the log of the copy");
        let goes_on = text.contains("no other machine runs as this node any more");
        Ok(if goes_on { ControlFlow::Break(()) } else { ControlFlow::Continue(String::new()) })
    })
    .expect("let in");
    process::stop(&lab.description().lab_id, &[copy], Signal::TERM).expect("stop");
    drop(lab);
    place.remove().expect("down");
}
