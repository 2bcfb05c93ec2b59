//! Hosts, underlay and Postgres, without any daemon of Sextant. Needs root or user namespaces.

use std::{
    fs::File,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use sextant_lab::{
    Lab, LabDescription, LabDirectory, Programs, Progress, ScratchDirectory, command::run,
    directory, down, host::Host, interrupt::Interrupt, postgres, process, process::LabId, underlay,
    wait::until,
};

/// Who asked for a neighbour in vain asks again a second later.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

fn new_lab(place: &ScratchDirectory) -> Lab {
    let (interrupt, progress) = (Interrupt::never(), Progress::silent());
    Lab::create(place.directory(), programs(), interrupt, progress).expect("create")
}

fn scratch() -> ScratchDirectory {
    ScratchDirectory::new().expect("make")
}

fn programs() -> Programs {
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    Programs::in_directory(lab.parent().expect("a directory"))
}

fn on(lab: &Lab, host: &Host, words: &[&str]) -> String {
    run(host.command(&lab.description().lab_id, words[0]).args(&words[1..])).expect("run")
}

fn netns_names() -> String {
    run(Command::new("ip").args(["netns", "list"])).expect("list")
}

fn two_hosts(lab: &mut Lab) -> [(Host, std::net::Ipv6Addr); 2] {
    [1, 2].map(|index| {
        let address = underlay::node_address(&lab.description().lab_id, index);
        (lab.add_host(&format!("h{index}"), address).expect("host"), address)
    })
}

#[test]
fn hosts_reach_each_other_over_ipv6_and_have_nothing_else() {
    let place = scratch();
    let mut lab = new_lab(&place);
    let hosts = two_hosts(&mut lab);
    let [(one, _), (two, second)] = &hosts;
    on(&lab, one, &["ping", "-6", "-c", "1", "-W", "2", &second.to_string()]);
    for (host, address) in &hosts {
        assert_eq!(on(&lab, host, &["ip", "-4", "address", "show"]), "", "{host:?}");
        let addresses = on(&lab, host, &["ip", "-6", "-o", "address", "show", "scope", "global"]);
        assert_eq!(addresses.lines().count(), 1, "{addresses}");
        assert!(addresses.contains(&format!("{address}/64")), "{addresses}");
        on(&lab, host, &["ping", "-6", "-c", "1", "::1"]);
        assert!(!process::same_network(host.holder, std::process::id()));
    }
    let sockets = on(&lab, one, &["ls", "/run"]);
    assert_eq!(sockets.trim(), "wireguard", "a /run of its own");
    on(&lab, one, &["touch", "/run/wireguard/here"]);
    assert_eq!(on(&lab, two, &["ls", "/run/wireguard"]), "");
}

#[test]
fn a_cable_can_be_pulled_and_plugged() {
    let place = scratch();
    let mut lab = new_lab(&place);
    let [(one, _), (_, second)] = two_hosts(&mut lab);
    let lab_id = lab.description().lab_id.clone();
    let switch = lab.description().host("switch").expect("switch");
    let ping = || {
        let mut command = one.command(&lab_id, "ping");
        run(command.args(["-6", "-c", "1", "-W", "1", &second.to_string()])).is_ok()
    };
    assert!(ping(), "packets pass as soon as a host is attached");
    underlay::pull_cable(&lab_id, &switch, &one).expect("pull");
    assert!(!ping());
    underlay::plug_cable(&lab_id, &switch, &one, &Interrupt::never()).expect("plug");
    until("an answer", ANSWER_LIMIT, &Interrupt::never(), || {
        Ok(if ping() { ControlFlow::Break(()) } else { ControlFlow::Continue(String::new()) })
    })
    .expect("plugged");
}

#[test]
fn down_removes_everything_also_what_nobody_wrote_down() {
    let place = scratch();
    let mut lab = new_lab(&place);
    let hosts = two_hosts(&mut lab);
    lab.start_postgres().expect("postgres");
    lab.create_database().expect("database");
    let lab_id = lab.description().lab_id.clone();
    // What a crash right after a start leaves: a process that no file mentions.
    let forgotten = process::Daemon {
        command: hosts[0].0.entry().into_iter().chain(["sleep", "1000"].map(Into::into)).collect(),
        log: None,
        listener: None,
    };
    forgotten.start(&lab_id).expect("start");
    assert!(lab_id.processes().len() >= 5, "switch, two hosts, postgres, sleep");
    drop(lab);

    assert!(down(&place.directory()).expect("down"));
    assert_gone(&place.directory(), &lab_id);
    assert!(!down(&place.directory()).expect("down twice"), "nothing is left to take down");
}

#[test]
fn down_copes_with_a_killed_postgres_and_killed_holders() {
    let place = scratch();
    let mut lab = new_lab(&place);
    two_hosts(&mut lab);
    lab.start_postgres().expect("postgres");
    let lab_id = lab.description().lab_id.clone();
    process::signal(&lab_id, &lab_id.processes(), Signal::KILL);
    drop(lab);
    assert!(down(&place.directory()).expect("down"));
    assert_gone(&place.directory(), &lab_id);
}

#[test]
fn postgres_can_be_stopped_killed_and_started_with_its_data() {
    let place = scratch();
    let mut lab = new_lab(&place);
    lab.start_postgres().expect("start");
    lab.create_database().expect("database");
    let url = lab.description().postgres_url.clone();
    postgres::psql(&url, &["CREATE TABLE t (n int)"]).expect("write");
    let target = "postgres".parse().expect("a target");
    lab.stop(&target).expect("stop");
    assert!(postgres::psql(&url, &["SELECT 1"]).is_err());
    assert!(lab.stop(&target).is_err(), "is stopped already");
    lab.start(&target).expect("start");
    assert!(lab.start(&target).is_err(), "runs already");
    postgres::psql(&url, &["INSERT INTO t VALUES (1)"]).expect("write");
    lab.kill(&target).expect("kill");
    lab.start(&target).expect("start after a crash");
    postgres::psql(&url, &["SELECT 1 / count(*) FROM t"]).expect("what was committed is there");
}

#[test]
fn a_second_lab_in_the_same_directory_is_refused_and_harmless() {
    let place = scratch();
    let mut lab = new_lab(&place);
    let hosts = two_hosts(&mut lab);
    let again = Lab::create(place.directory(), programs(), Interrupt::never(), Progress::silent());
    let error = again.expect_err("in use").to_string();
    assert!(error.contains("sextant-lab down"), "{error}");
    on(&lab, &hosts[0].0, &["true"]);
    assert!(
        Lab::open(place.directory(), Interrupt::never(), Progress::silent()).is_err(),
        "claimed"
    );
    drop(lab);
    let lab = Lab::open(place.directory(), Interrupt::never(), Progress::silent()).expect("free");
    let lab_id = lab.description().lab_id.clone();
    lab.down().expect("down");
    assert_gone(&place.directory(), &lab_id);
}

#[test]
fn the_command_line_enters_hosts_and_passes_exit_codes_on() {
    let place = scratch();
    let lab = new_lab(&place);
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sextant-lab"));
        command.arg("--dir").arg(place.directory().path()).args(words).output().expect("run")
    };
    let output = run(&["exec", "switch", "--", "ip", "-br", "link", "show", "type", "bridge"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("underlay"), "{output:?}");
    assert_eq!(run(&["exec", "switch", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    let output = run(&["exec", "n9", "--", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no host \"n9\""), "{output:?}");
    let lab_id = lab.description().lab_id.clone();
    drop(lab);
    assert!(run(&["down"]).status.success());
    assert_gone(&place.directory(), &lab_id);
    let output = run(&["ping"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("sextant-lab up"), "{output:?}");
}

#[test]
fn the_command_line_says_the_true_cause_and_what_helps() {
    let place = scratch();
    let lab = new_lab(&place);
    let dir = place.directory().path().display().to_string();
    let down = format!("`sextant-lab down --dir {dir}`");
    let run = |words: &[&str], out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sextant-lab"));
        command.args(words).stdout(out).stderr(Stdio::piped());
        let output = command.spawn().and_then(Child::wait_with_output).expect("run");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let lab_id = lab.description().lab_id.clone();
    drop(lab);
    let (code, _, error) = run(&["kill", "switch", "--dir", &dir], Stdio::piped());
    assert_eq!(code, Some(1));
    assert!(error.trim_end().ends_with("there are: postgres"), "{error}");

    let (code, table, error) = run(&["status", "--dir", &dir], Stdio::piped());
    assert_eq!(code, Some(1), "Postgres is stopped: {table}{error}");
    let full = File::options().write(true).open("/dev/full").expect("open");
    let (code, _, error) = run(&["status", "--dir", &dir], full.into());
    assert_eq!(code, Some(1));
    assert!(error.contains("cannot write to stdout"), "{error}");
    let (code, exports, error) = run(&["env", "--dir", &dir], Stdio::piped());
    assert_eq!(code, Some(0), "{error}");
    assert!(exports.contains(&format!("export SEXTANT_CA_FILE={dir}/control/ca.crt")), "{exports}");

    let file = place.directory().path().join("log/switch.holder.log").display().to_string();
    let log = place.directory().path().join("log").display().to_string();
    let busy = format!("a lab is there already; run {down} first");
    for (dir, cause) in [(&dir, busy.as_str()), (&file, "not a directory"), (&log, "not empty")] {
        let (code, _, error) = run(&["up", "--dir", dir], Stdio::piped());
        assert_eq!(code, Some(1));
        assert!(error.contains(cause) && !error.contains("the lab is not up"), "{error}");
    }

    std::fs::remove_file(place.directory().description()).expect("remove");
    for command in ["ping", "status", "add-node"] {
        let (code, _, error) = run(&[command, "--dir", &dir], Stdio::piped());
        assert_eq!(code, Some(1));
        assert!(error.contains(&down) && !error.contains("sextant-lab up"), "{error}");
    }
    place.remove().expect("down");
    assert_eq!(lab_id.processes(), Vec::<u32>::new());
}

fn assert_gone(place: &LabDirectory, lab_id: &LabId) {
    assert_eq!(lab_id.processes(), Vec::<u32>::new());
    assert!(!netns_names().contains(lab_id.short()), "{}", netns_names());
    assert!(!place.path().exists());
    assert!(LabDescription::read(place).is_err());
    let data = place.path().join("postgres/data");
    assert_eq!(process::working_in(&data, "postgres"), Vec::<u32>::new());
    assert!(!Path::new("/run/netns").join(format!("sx-{}-switch", lab_id.short())).exists());
}

/// The lab's directory is private before anything is in it.
#[test]
fn the_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().expect("make");
    let path = temporary.path().join("a/b");
    directory::private_directory(&path).expect("make");
    assert_eq!(path.metadata().expect("exists").permissions().mode() & 0o777, 0o700);
}
