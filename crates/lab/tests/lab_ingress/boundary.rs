//! The boundary between a host, a tenant and another tenant on its nodes.

use std::{
    net::Ipv6Addr,
    path::{Path, PathBuf},
    process::Command,
};

use sextant_api::resource::{environment::Environment, workload::Workload};
use sextant_lab::{
    NodeDescription, Target,
    command::run,
    serve::{Answer, HTTP_PORT},
    visitor,
};

use super::fixture::{LIMIT, Program, Site, eventually, https};

/// What a server of root listens on, on every address of its host.
const OF_ROOT: &str = "9100";

/// What curl gets from there; nothing if no answer comes within two seconds.
fn get(mut curl: Command, url: &str) -> Option<String> {
    curl.args(["-sSfk", "--noproxy", "*", "--max-time", "2"]);
    run(curl.arg(url)).ok()
}

/// What a workload gets.
fn ask(site: &Site, from: &Workload, url: &str) -> Option<String> {
    let description = site.description();
    let host = description.workload_host(from.address).expect("its host");
    get(host.workload_command(&description.lab_id, from.id, "curl"), url)
}

fn of_root(on: &NodeDescription) -> String {
    format!("https://[{}]:{OF_ROOT}/", on.overlay.expect("a member"))
}

fn reaches(site: &Site, from: &Workload, to: &Workload) -> bool {
    let url = format!("http://[{}]:{HTTP_PORT}/", to.address);
    let Some(body) = ask(site, from, &url) else { return false };
    let answer: Answer = serde_json::from_str(&body).expect("an answer");
    assert_eq!((answer.workload, answer.peer.ip()), (to.address, from.address.into()));
    true
}

fn deploy(site: &Site, environment: &Environment) -> Vec<Workload> {
    let release = site.operator.deploy(environment.id, &[("web", 2)]).expect("deploy");
    let live = site.operator.await_live(release.id, LIMIT, site.lab.interrupt()).expect("live");
    site.lab.await_edges(&site.operator, LIMIT).expect("the edges know");
    assert_ne!(live.workloads[0].node_id, live.workloads[1].node_id, "one on each node");
    live.workloads
}

#[test]
fn a_workload_is_open_to_its_environment_and_to_edges_and_to_nobody_else() {
    let site = Site::new(2);
    let shop = deploy(&site, &site.environment);
    let other = site.operator.create_environment("rival/web/prod").expect("an environment");
    let rivals = deploy(&site, &other);
    assert!(reaches(&site, &shop[0], &shop[1]) && reaches(&site, &shop[1], &shop[0]));
    for from in &rivals {
        for to in &shop {
            assert!(!reaches(&site, from, to), "{} to {}", from.node_name, to.node_name);
        }
    }

    // Nodes are not the tenants', nor are workloads the nodes'.
    let directory = tempfile::tempdir().expect("directory");
    pair(directory.path());
    let description = site.description();
    let workers: Vec<&NodeDescription> =
        description.nodes.iter().filter(|node| node.is_worker()).collect();
    let _servers: Vec<Program> = workers
        .iter()
        .map(|node| {
            let host = description.host_of(node);
            server(host.command(&description.lab_id, "openssl"), directory.path())
        })
        .collect();
    for node in workers {
        let curl = || description.host_of(node).command(&description.lab_id, "curl");
        eventually("the server of root", || get(curl(), &of_root(node)).is_some());
        for from in &rivals {
            assert_eq!(ask(&site, from, &of_root(node)), None, "{} to a node", from.node_name);
        }
        let url = format!("http://[{}]:{HTTP_PORT}/", shop[0].address);
        assert_eq!(get(curl(), &url), None, "a node is no edge");
    }
}

/// A key and a certificate for it, in files.
fn pair(directory: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = (directory.join("key"), directory.join("certificate"));
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=host", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate))
    .expect("a certificate");
    (key, certificate)
}

/// `openssl`, listening on every address where the command leads.
fn server(mut command: Command, directory: &Path) -> Program {
    command.args(["s_server", "-quiet", "-www", "-accept", &format!("[::]:{OF_ROOT}")]);
    command.arg("-key").arg(directory.join("key"));
    Program::start(command.arg("-cert").arg(directory.join("certificate")))
}

#[test]
fn a_route_publishes_what_runs_in_the_workload_and_never_what_the_host_serves() {
    let mut site = Site::new(1);
    let directory = tempfile::tempdir().expect("directory");
    let (_, certificate) = pair(directory.path());
    let own = visitor::file_fingerprint(&certificate).expect("readable");
    let workload = site.workload();
    let node = site.description().node(workload.node_name.as_str()).expect("its node").clone();
    let lab_id = site.description().lab_id.clone();
    let host = site.description().host_of(&node);
    let _root = server(host.command(&lab_id, "openssl"), directory.path());
    let curl = || host.command(&lab_id, "curl");
    eventually("the server of root", || get(curl(), &of_root(&node)).is_some());

    let name = site.tls_route("wild", OF_ROOT.parse().expect("a port"));
    let client = site.description().client_host().expect("client");
    let look = |site: &Site, edge: Ipv6Addr| {
        visitor::certificate(site.description(), &client, https(edge), &name)
    };
    for (edge, address) in site.edges() {
        look(&site, address).expect_err(&format!("the host's, through {edge}"));
    }

    // The same route, once something answers where it leads; rules outlive their agent.
    let inside = host.workload_command(&lab_id, workload.id, "openssl");
    let _server = server(inside, directory.path());
    for agent in [true, false] {
        if !agent {
            site.lab.kill(&Target::Host(node.name.clone())).expect("kill");
        }
        for (edge, address) in site.edges() {
            eventually("the workload to answer", || look(&site, address).is_ok());
            assert_eq!(look(&site, address).expect("a certificate"), own, "through {edge}");
        }
        assert_eq!(ask(&site, &workload, &of_root(&node)), None, "with an agent: {agent}");
    }
}
