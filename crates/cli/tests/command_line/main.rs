//! The program as a shell sees it: standard output, standard error and exit codes, with no control
//! plane at the other end, or something else than one.

mod home;
mod usage;

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    sync::Arc,
};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

use home::{Ended, Home, ca, listener};

/// A TLS server with a certificate of `issuer` that answers every request with `answer`.
fn serve(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    params: CertificateParams,
    answer: &'static str,
) -> String {
    let key = KeyPair::generate().expect("key");
    let certificate = params.signed_by(&key, issuer).expect("certificate");
    let private_key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(sextant_api::client::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private_key)
        .expect("certificate and key fit");
    let (config, (listener, url)) = (Arc::new(config), listener());
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let session = ServerConnection::new(config.clone()).expect("session");
            let mut stream = StreamOwned::new(session, tcp);
            // A client that does not believe the certificate hangs up here.
            if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    url
}

fn names(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        .expect("names")
}

#[test]
fn a_control_plane_that_is_not_there_is_exit_3_in_one_line() {
    let home = Home::new();
    let (listener, url) = listener();
    drop(listener);
    let ended = home.ask(&url, &["status"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.starts_with("error: cannot reach the control plane at"), "{ended:?}");
    assert!(ended.stderr.contains("refused") && ended.stderr.contains("sextant doctor"));
    assert_eq!((ended.stderr.lines().count(), ended.stdout.as_str()), (1, ""));

    let ended = home.ask(&url, &["network", "create", "mesh", "--json"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let error: serde_json::Value = serde_json::from_str(&ended.stderr).expect("JSON");
    assert_eq!(error["exit_code"], 3);
    assert!(error["problem"].is_null());
}

#[test]
fn a_certificate_that_is_not_believed_says_why_and_what_to_do() {
    let home = Home::new();
    let mut expired = names(&["::1"]);
    expired.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(3);
    expired.not_after = time::OffsetDateTime::now_utc() - time::Duration::days(2);
    let stranger = ca();
    for (url, said, finding) in [
        (serve(&stranger, names(&["::1"]), ""), "--ca-file", "not from the CA in the CA file"),
        (serve(&home.ca, names(&["cp.example"]), ""), "tls.names", "made for other names"),
        (serve(&home.ca, expired, ""), "check the clocks", "is expired"),
    ] {
        let ended = home.ask(&url, &["status"]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");

        let ended = home.ask(&url, &["doctor"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stdout.contains(finding), "{finding}: {ended:?}");
        assert!(ended.stdout.contains("skip  nodes"), "{ended:?}");
    }
}

#[test]
fn a_server_that_is_no_control_plane_is_told_apart() {
    let home = Home::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let url = serve(&home.ca, names(&["::1"]), answer);
    let ended = home.ask(&url, &["node", "list"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("is this the control plane's URL?"), "{ended:?}");
}

#[test]
fn the_doctor_finds_what_is_wrong_on_this_machine() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let (listener, url) = listener();
    drop(listener);
    let public = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(home.path().join("token"), public).expect("mode");
    let ended = home.ask(&url, &["doctor", "--json"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let examination: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let findings: Vec<&str> = examination["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .flat_map(|check| check["findings"].as_array().expect("findings"))
        .map(|finding| finding["what"].as_str().expect("what"))
        .collect();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("mode 0644"), "{findings:?}");
    assert!(findings[1].contains("no connection to [::1]"), "{findings:?}");

    let ended = home.run(&["doctor"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stdout.contains("no API URL is known"), "{ended:?}");
}

#[test]
fn contexts_are_stored_chosen_and_forgotten() {
    let home = Home::new();
    let add = |name: &str, url: &str| home.ask(url, &["context", "add", name]);
    assert_eq!(add("lab", "https://[::1]:1").code, Some(0));
    assert_eq!(add("prod", "https://[::1]:2").code, Some(0));
    assert_eq!(add("lab", "https://[::1]:3").code, Some(6), "a name is taken once");
    let shown = home.run(&["context", "show"]).stdout;
    assert!(shown.contains("https://[::1]:1/"), "{shown}");
    let token = home.path().join("token");
    assert!(shown.contains(token.to_str().expect("path")), "paths are absolute: {shown}");
    assert_eq!(home.run(&["context", "ls", "-o", "name"]).stdout, "lab\nprod\n");
    assert_eq!(home.run(&["context", "use", "prod"]).code, Some(0));
    let refused = home.run(&["status"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("https://[::1]:2/"), "{refused:?}");
    let other = home.run(&["status", "--context", "lab"]).stderr;
    assert!(other.contains("https://[::1]:1/"), "{other}");
    assert_eq!(home.run(&["context", "remove", "prod"]).code, Some(0));
    assert_eq!(home.run(&["context", "show", "prod"]).code, Some(5));
    assert_eq!(home.run(&["context", "show"]).code, Some(5));
}

#[test]
fn a_broken_contexts_file_is_told_and_left_alone() {
    let home = Home::new();
    let path = home.path().join("sextant/contexts.toml");
    std::fs::create_dir(home.path().join("sextant")).expect("folder");
    std::fs::write(&path, "current = \"lab\n").expect("written");
    for arguments in [&["context", "list"][..], &["context", "add", "x"], &["status"]] {
        let arguments = if arguments[0] == "status" {
            home.run(arguments)
        } else {
            home.ask("https://[::1]:1", arguments)
        };
        assert_eq!(arguments.code, Some(2), "{arguments:?}");
        assert!(arguments.stderr.contains("contexts.toml"), "{arguments:?}");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "current = \"lab\n");
}

#[test]
fn a_secret_file_that_exists_is_refused_before_anything_is_made() {
    let home = Home::new();
    let arguments = ["api-token", "create", "ops", "--role", "admin", "--output", "token"];
    let ended = home.ask("https://[::1]:1", &arguments);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("it exists"), "{ended:?}");
}

#[test]
fn an_edge_is_asked_without_a_control_plane() {
    let home = Home::new();
    let socket = home.path().join("edge.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let answer =
        r#"{"revision":7,"port":443,"served":false,"why":["no route listens on port 443"]}"#;
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        let mut request = [0; 4096];
        let length = stream.read(&mut request).expect("read");
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())
            .expect("answered");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let ended = home.run(&["route", "explain", "Shop.example.com", "--edge", "edge.sock"]);
    let request = serving.join().expect("served");
    assert!(request.starts_with("GET /explain?port=443&host=shop.example.com "), "{request}");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("because     no route listens on port 443"), "{ended:?}");

    std::fs::remove_file(&socket).expect("removed");
    let ended = home.run(&["route", "explain", "x", "--edge", "edge.sock", "--json"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let error: serde_json::Value = serde_json::from_str(&ended.stderr).expect("JSON");
    assert!(error["error"].as_str().expect("text").contains("sextant-edge runs"), "{error}");
}

#[test]
fn the_doctor_says_what_it_waits_for() {
    let home = Home::new();
    // It takes connections and says nothing.
    let (_listener, url) = listener();
    let mut command = home.sextant(&["doctor", "--api-url", &url]);
    command.args(["--token-file", "token", "--ca-file", "ca.crt"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("started");
    let mut said = String::new();
    let stderr = child.stderr.take().expect("a pipe");
    BufReader::new(stderr).read_line(&mut said).expect("a line");
    child.kill().and_then(|()| child.wait()).expect("ended");
    assert_eq!(said, format!("waiting for the certificate of {url}/ ...\n"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    let mut command = home.sextant(&["completions", "bash"]);
    let ended = Ended::from(command.stdout(writer).output().expect("started"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("device");
    let mut command = home.sextant(&["completions", "bash"]);
    let ended = Ended::from(command.stdout(full).output().expect("started"));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("cannot write to standard output"), "{ended:?}");
}

#[test]
fn ctrl_c_ends_a_wait_with_130() {
    let home = Home::new();
    let (listener, url) = listener();
    let mut command = home.sextant(&["status", "--watch", "--api-url", &url]);
    command.args(["--token-file", "token", "--ca-file", "ca.crt"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    // It waits for an answer that never comes.
    let _connection = listener.accept().expect("connected");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill").success());
    assert_eq!(child.wait().expect("ended").code(), Some(130));
}

#[test]
fn a_token_may_come_from_standard_input() {
    let home = Home::new();
    let (listener, url) = listener();
    drop(listener);
    let arguments = ["status", "--api-url", &url, "--token-file", "-", "--ca-file", "ca.crt"];
    let mut command = home.sextant(&arguments);
    let token = std::fs::File::open(home.path().join("token")).expect("token");
    let ended = Ended::from(command.stdin(token).output().expect("started"));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let ended = Ended::from(home.sextant(&arguments).output().expect("started"));
    assert_eq!(ended.code, Some(2), "nothing on standard input: {ended:?}");
}
