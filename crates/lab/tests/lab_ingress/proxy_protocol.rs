//! PROXY protocol version 2 as HAProxy and nginx read it: they must see the client.

use std::{fs, path::Path, process::Command};

use sextant_lab::{LabDescription, command::run, host::Host};

use super::fixture::{Program, Site, eventually, name};

/// What a receiver read from the header.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    source: String,
    destination: String,
}

/// A key and a certificate in one file.
fn pem(directory: &Path) -> std::path::PathBuf {
    let (key, certificate) = (directory.join("key.pem"), directory.join("certificate.pem"));
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=lab.test", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate))
    .expect("a certificate");
    let both = directory.join("both.pem");
    let read = |path: &Path| fs::read_to_string(path).expect("readable");
    fs::write(&both, read(&certificate) + &read(&key)).expect("write");
    both
}

/// Asks through an edge and says what the receiver has seen, beside what is true.
fn ask(lab: &LabDescription, client: &Host, edge: &str, url: &str, name: &str) -> (Seen, Seen) {
    let mut curl = client.command(&lab.lab_id, "curl");
    curl.args(["-sSfk", "--noproxy", "*", "--max-time", "5"]);
    for port in ["443", "80"] {
        curl.args(["--resolve", &format!("{name}:{port}:[{edge}]")]);
    }
    curl.args(["--write-out", "%{local_ip} %{local_port} %{remote_ip} %{remote_port}"]);
    let written = run(curl.arg(url)).expect("an answer");
    let lines: Vec<Vec<&str>> =
        written.lines().map(|line| line.split_whitespace().collect()).collect();
    let seen = |words: &[&str]| Seen {
        source: format!("[{}]:{}", words[0], words[1]),
        destination: format!("[{}]:{}", words[2], words[3]),
    };
    (seen(&lines[0]), seen(&lines[1]))
}

fn check(site: &Site, url: &str, name: &str) {
    let description = site.description();
    let client = description.client_host().expect("client");
    let own = description.client.clone().expect("client").underlay.to_string();
    for (edge, address) in site.edges() {
        eventually("the receiver to answer", || {
            let mut curl = client.command(&description.lab_id, "curl");
            curl.args(["-sfk", "--noproxy", "*", "--max-time", "5"]);
            for port in ["443", "80"] {
                curl.args(["--resolve", &format!("{name}:{port}:[{address}]")]);
            }
            run(curl.arg(url)).is_ok()
        });
        let (seen, truth) = ask(description, &client, &address.to_string(), url, name);
        assert_eq!(seen, truth, "through {edge}");
        assert!(seen.source.starts_with(&format!("[{own}]:")), "{seen:?}");
    }
}

fn proxied(site: &Site, label: &str, port: u16, http: bool) -> String {
    let name = name(label);
    let mut new = sextant_lab::tenant::tls_route(&name, port).expect("a name");
    new.proxy_protocol = true;
    if http {
        new.listen_port = 80;
        new.protocol_hint = sextant_model::routing::ProtocolHint::TcpRaw;
        new.match_host = true;
    }
    site.route(&new);
    name
}

#[test]
fn haproxy_and_nginx_see_the_client_behind_both_edges() {
    let site = Site::new(1);
    let placed = site.deploy(&[("web", 1)]).remove(0);
    let workload = placed.address;
    let description = site.description();
    let host = description.workload_host(workload).expect("its host");
    let directory = tempfile::tempdir().expect("directory");
    let pem = pem(directory.path());
    let pem = pem.display();

    let config = directory.path().join("haproxy.cfg");
    let report = r#"http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]\n""#;
    fs::write(
        &config,
        format!(
            "defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n\
             frontend tls\n bind [{workload}]:9443 accept-proxy ssl crt {pem}\n {report}\n\
             frontend plain\n bind [{workload}]:9080 accept-proxy\n {report}\n"
        ),
    )
    .expect("write");
    let mut haproxy = host.workload_command(&description.lab_id, placed.id, "haproxy");
    let _haproxy = Program::start(haproxy.args(["-db", "-f"]).arg(&config));

    let config = directory.path().join("nginx.conf");
    let place = directory.path().display();
    let answer = r#"return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\n";"#;
    fs::write(
        &config,
        format!(
            "daemon off;\nmaster_process off;\nuser root;\npid {place}/nginx.pid;\n\
             error_log {place}/error.log;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {place}/body;\n\
             proxy_temp_path {place}/proxy;\nfastcgi_temp_path {place}/fastcgi;\n\
             uwsgi_temp_path {place}/uwsgi;\nscgi_temp_path {place}/scgi;\n\
             server {{\nlisten [{workload}]:9444 ssl proxy_protocol;\n\
             listen [{workload}]:9081 proxy_protocol;\nssl_certificate {pem};\n\
             ssl_certificate_key {pem};\nlocation / {{ {answer} }}\n}}\n}}\n"
        ),
    )
    .expect("write");
    let mut nginx = host.workload_command(&description.lab_id, placed.id, "nginx");
    let error_log = directory.path().join("error.log");
    let _nginx = Program::start(nginx.arg("-e").arg(error_log).arg("-c").arg(&config));

    for (label, port, http) in [
        ("haproxy", 9443, false),
        ("nginx", 9444, false),
        ("haproxy-plain", 9080, true),
        ("nginx-plain", 9081, true),
    ] {
        let name = proxied(&site, label, port, http);
        let scheme = if http { "http" } else { "https" };
        check(&site, &format!("{scheme}://{name}/"), &name);
    }
}
