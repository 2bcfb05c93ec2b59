//! What a visitor sees: curl and openssl, on the client's host or on any other one.

use std::{
    net::{Ipv6Addr, SocketAddrV6},
    path::Path,
    process::Command,
};

use crate::{
    command::{run, run_with_input},
    description::LabDescription,
    error::{LabError, Result},
    host::Host,
    serve::Answer,
};

/// Seconds that one visit may take.
const LIMIT: &str = "5";

/// Gets `https://NAME/` through this edge with curl. The certificate is not verified: it is its
/// own, see [`certificate`].
pub fn get(lab: &LabDescription, edge: Ipv6Addr, name: &str) -> Result<Answer> {
    let resolve = format!("{name}:443:[{edge}]");
    let url = format!("https://{name}/");
    let host = lab.client_host()?;
    let mut curl = host.command(&lab.lab_id, "curl");
    curl.args(["--silent", "--show-error", "--fail", "--insecure", "--max-time", LIMIT]);
    let body = run(curl.args(["--noproxy", "*", "--resolve", &resolve, &url]))?;
    serde_json::from_str(&body).map_err(|error| LabError::Command {
        command: format!("curl --resolve {resolve} {url}"),
        status: error.to_string(),
        output: body.clone(),
    })
}

/// The fingerprint (SHA-256) of the certificate that is shown for `name` at an address and port,
/// seen from `from` with `openssl s_client`.
pub fn certificate(
    lab: &LabDescription,
    from: &Host,
    address: SocketAddrV6,
    name: &str,
) -> Result<String> {
    let connect = address.to_string();
    let mut openssl = from.command(&lab.lab_id, "timeout");
    openssl.args([LIMIT, "openssl", "s_client", "-connect", &connect, "-servername", name]);
    // What it reads it sends; at the end of it the connection ends.
    let shown = run_with_input(&mut openssl, "Q\n")?;
    fingerprint(Command::new("openssl").arg("x509"), &shown)
}

/// The fingerprint (SHA-256) of the certificate in a file.
pub fn file_fingerprint(path: &Path) -> Result<String> {
    fingerprint(Command::new("openssl").arg("x509").arg("-in").arg(path), "")
}

fn fingerprint(x509: &mut Command, input: &str) -> Result<String> {
    let line = run_with_input(x509.args(["-noout", "-fingerprint", "-sha256"]), input)?;
    let value = line.trim().split_once('=').map(|(_, value)| value.to_owned());
    value.ok_or_else(|| LabError::Command {
        command: "openssl x509 -fingerprint".to_owned(),
        status: "unreadable".to_owned(),
        output: line.clone(),
    })
}

/// What a `sextant` command prints, in the lab as its first administrator.
pub fn sextant(lab: &LabDescription, words: &[&str]) -> Result<String> {
    let program = crate::Programs::in_directory(&lab.binaries).cli()?;
    run(Command::new(program).args(words).envs(lab.environment()))
}
