//! TLS ends in the workload, whichever edge it comes through.

use std::{net::SocketAddrV6, process::Command};

use sextant_lab::{command::run, serve::TLS_PORT, visitor};

use super::fixture::{LIMIT, Program, Site, eventually, https};

#[test]
fn the_certificate_seen_through_every_edge_is_the_workloads_own() {
    let site = Site::new(2);
    let workloads = site.deploy(&[("web", 1)]);
    let workload = &workloads[0];
    let name = site.tls_route("shop", TLS_PORT);
    let description = site.description();
    let client = description.client_host().expect("client");
    let addressed = description.client.clone().expect("client").underlay;

    // As the host of an edge sees it, without the edge.
    let other = description.nodes.iter().find(|node| node.is_edge());
    let other = description.host_of(other.expect("an edge"));
    let at = SocketAddrV6::new(workload.address, TLS_PORT, 0, 0);
    let direct = visitor::certificate(description, &other, at, &name).expect("over the mesh");
    let file = description.certificate_file(workload.address, &name).expect("a worker");
    assert_eq!(direct, visitor::file_fingerprint(&file).expect("written"));

    for (edge, address) in site.edges() {
        let seen = visitor::certificate(description, &client, https(address), &name);
        assert_eq!(seen.expect("openssl connects"), direct, "through {edge}");
        let answer = site.get(address, &name).expect("curl gets an answer");
        assert_eq!(answer.workload, workload.address, "through {edge}");
        assert_eq!(answer.server_name.as_deref(), Some(name.as_str()));
        // Without a PROXY header a workload sees the edge, by its address in the mesh.
        let edge = description.edge(&edge).expect("an edge");
        assert_eq!(Some(answer.peer.ip()), edge.overlay.map(Into::into));
        assert_ne!(answer.peer.ip(), std::net::IpAddr::V6(addressed));
    }
    let mut ping = client.command(&description.lab_id, "ping");
    ping.args(["-6", "-c", "1", "-W", "1", &workload.address.to_string()]);
    assert!(run(&mut ping).is_err(), "the client is not in the mesh");
}

#[test]
fn a_name_nobody_has_is_refused_with_an_alert() {
    let site = Site::new(1);
    site.deploy(&[("web", 1)]);
    site.tls_route("shop", TLS_PORT);
    for (edge, address) in site.edges() {
        let error = site.get(address, "other.lab.test").expect_err("no route").to_string();
        assert!(error.contains("unrecognized name"), "through {edge}: {error}");
    }
}

#[test]
fn openssl_as_a_workload_shows_its_certificate_through_every_edge() {
    let site = Site::new(1);
    let workload = &site.deploy(&[("web", 1)])[0];
    let name = site.tls_route("openssl", 9443);
    let description = site.description();
    let directory = tempfile::tempdir().expect("directory");
    let (key, certificate) = (directory.path().join("key"), directory.path().join("certificate"));
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", &format!("/CN={name}"), "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate))
    .expect("a certificate");
    let own = visitor::file_fingerprint(&certificate).expect("readable");

    let host = description.workload_host(workload.address).expect("its host");
    let mut server = host.workload_command(&description.lab_id, workload.id, "openssl");
    server.args(["s_server", "-quiet", "-www", "-accept"]);
    server.arg(format!("[{}]:9443", workload.address));
    let _server = Program::start(server.arg("-key").arg(&key).arg("-cert").arg(&certificate));

    let client = description.client_host().expect("client");
    for (edge, address) in site.edges() {
        let look = || visitor::certificate(description, &client, https(address), &name);
        eventually("openssl to answer", || look().is_ok());
        assert_eq!(look().expect("a certificate"), own, "through {edge}");
        let mut curl = client.command(&description.lab_id, "curl");
        let resolve = format!("{name}:443:[{address}]");
        let limit = LIMIT.as_secs().to_string();
        curl.args(["-sSfk", "--noproxy", "*", "--max-time", &limit, "--resolve", &resolve]);
        let page = run(curl.arg(format!("https://{name}/"))).expect("a page");
        assert!(page.contains("s_server -quiet -www"), "{page}");
    }
}
