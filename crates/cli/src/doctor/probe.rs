//! One control plane: its name, its ports, its certificate, and its answer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{CertificateError, pki_types::ServerName};
use sextant_api::{
    Auth, Client, ClientConfig, ClientError, Trust,
    client::tls,
    resource::{edge::Edge, status::Status},
};
use sextant_model::Timestamp;
use time::OffsetDateTime;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::{Check, Finding, checks, local};
use crate::{exit::Failure, lookup, output::Output};

const TIMEOUT: Duration = Duration::from_secs(3);

/// What this machine brings along; what could not be read is absent.
#[derive(Debug)]
pub struct Credentials {
    /// CA certificate, PEM.
    pub ca: Option<String>,
    /// API token.
    pub token: Option<String>,
}

/// This machine's clock.
pub fn now() -> Timestamp {
    Timestamp(OffsetDateTime::now_utc())
}

/// Looks at the control plane at `url`, layer by layer, as far as it gets.
pub async fn replica(
    url: &Url,
    credentials: &Credentials,
    output: &Output,
) -> (Vec<Check>, Option<Status>) {
    let mut checks = Vec::new();
    let resolved = output.patiently(&format!("resolving the name of {url}"), resolve(url)).await;
    let addresses = match resolved {
        Ok(addresses) => {
            checks.push(Check::new(format!("name of {url}"), []));
            addresses
        }
        Err(finding) => return (vec![Check::new(format!("name of {url}"), [finding])], None),
    };
    let connected = connect(url, &addresses);
    let (tcp, findings) = output.patiently(&format!("connecting to {url}"), connected).await;
    checks.push(Check::new(format!("connection to {url}"), findings));
    let (Some(tcp), Some(ca)) = (tcp, &credentials.ca) else { return (checks, None) };

    let shown = certificate(url, tcp, ca);
    let findings = output.patiently(&format!("waiting for the certificate of {url}"), shown).await;
    checks.push(Check::new(format!("certificate of {url}"), findings));
    let Some(token) = &credentials.token else { return (checks, None) };

    let asked_at = now();
    let asked = ask(url, ca, token);
    let answer = output.patiently(&format!("waiting for the status from {url}"), asked).await;
    let answered_at = now();
    let findings = answer.as_ref().err().map(|error| refused(url, error));
    checks.push(Check::new(format!("answer of {url}"), findings));
    let status = answer.ok();
    checks.extend(
        status.iter().map(|said| checks::clock(url.as_str(), asked_at, said.now, answered_at)),
    );
    (checks, status)
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, Finding> {
    let port = url.port_or_known_default().unwrap_or(443);
    let name = match url.host() {
        Some(Host::Ipv6(address)) => return Ok(vec![(address, port).into()]),
        Some(Host::Ipv4(address)) => return Ok(vec![(address, port).into()]),
        Some(Host::Domain(name)) => name,
        None => "",
    };
    let unknown = |why: String| {
        let remedy =
            "correct the name in the URL, or the DNS record (AAAA) and this machine's resolver";
        Finding::new(format!("the name \"{name}\" does not resolve: {why}"), url.as_str(), remedy)
    };
    match tokio::time::timeout(TIMEOUT, lookup_host((name, port))).await {
        Err(_) => Err(unknown(format!("no answer within {} s", TIMEOUT.as_secs()))),
        Ok(Err(error)) => Err(unknown(error.to_string())),
        Ok(Ok(found)) => {
            let found: Vec<SocketAddr> = found.collect();
            if found.is_empty() { Err(unknown("it has no address".into())) } else { Ok(found) }
        }
    }
}

/// Tries every address, because clients may take any of them; keeps the first connection.
async fn connect(url: &Url, addresses: &[SocketAddr]) -> (Option<TcpStream>, Vec<Finding>) {
    let (mut first, mut findings) = (None, Vec::new());
    for address in addresses {
        let why = match tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                first.get_or_insert(tcp);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        findings.push(Finding::new(
            format!("no connection to {address}: {why}"),
            url.as_str(),
            "check that sextant-control runs there and that firewalls let this machine reach the port",
        ));
    }
    (first, findings)
}

async fn certificate(url: &Url, tcp: TcpStream, ca: &str) -> Vec<Finding> {
    let place = url.as_str();
    let broken = |why: String| {
        let remedy =
            "check that the URL is that of sextant-control and nothing in between speaks for it";
        vec![Finding::new(format!("no TLS session: {why}"), place, remedy)]
    };
    let name = match url.host() {
        Some(Host::Ipv6(address)) => ServerName::IpAddress(address.into()),
        Some(Host::Ipv4(address)) => ServerName::IpAddress(address.into()),
        Some(Host::Domain(name)) => match ServerName::try_from(name.to_owned()) {
            Ok(name) => name,
            Err(error) => return broken(error.to_string()),
        },
        None => return broken("the URL has no host".into()),
    };
    let config = match tls::client_config(&Trust::Ca(ca.to_owned()), &Auth::Nobody) {
        Ok(config) => Arc::new(config),
        Err(error) => return broken(error.to_string()),
    };
    let handshake = TlsConnector::from(config).connect(name, tcp);
    match tokio::time::timeout(TIMEOUT, handshake).await {
        Err(_) => broken(format!("no answer within {} s", TIMEOUT.as_secs())),
        Ok(Err(error)) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(reason)) => vec![untrusted(place, reason)],
            _ => broken(error.to_string()),
        },
        Ok(Ok(session)) => {
            let chain = session.get_ref().1.peer_certificates().unwrap_or_default();
            chain.first().map(|der| local::validity(der)).map_or_else(Vec::new, |validity| {
                match validity {
                    Ok((begin, end)) => checks::server_certificate(place, begin, end, now()),
                    Err(reason) => broken(reason),
                }
            })
        }
    }
}

fn untrusted(place: &str, reason: &CertificateError) -> Finding {
    let (what, remedy) = match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "the certificate is not from the CA in the CA file".to_owned(),
            "compare the CA file with the control plane's CA; if it has a new CA, copy that, else \
             somebody else answers at this URL",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the certificate is made for other names: {reason}"),
            "use one of those names in the URL, or add this one to `tls.names` of the control plane",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("the certificate is expired, or the clock here is ahead: {reason}"),
            "check both clocks; restart the control plane for a new certificate",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            format!("the certificate is not valid yet, so the clock here is behind: {reason}"),
            "set this machine's clock (NTP)",
        ),
        _ => (
            format!("the certificate is not accepted: {reason}"),
            "check that the URL is that of sextant-control",
        ),
    };
    Finding::new(what, place, remedy)
}

async fn ask(url: &Url, ca: &str, token: &str) -> Result<Status, ClientError> {
    client(url, ca, token)?.status().await
}

fn client(url: &Url, ca: &str, token: &str) -> Result<Client, ClientError> {
    Client::new(ClientConfig {
        api_urls: vec![url.clone()],
        trust: Trust::Ca(ca.to_owned()),
        auth: Auth::Token(token.to_owned()),
    })
}

/// Every edge and what it last reported.
pub async fn edges(url: &Url, credentials: &Credentials) -> Result<Vec<Edge>, Failure> {
    let (Some(ca), Some(token)) = (&credentials.ca, &credentials.token) else {
        return Err(Failure::BadInput(
            "without a CA certificate and a token nobody is asked".into(),
        ));
    };
    lookup::edges(&client(url, ca, token)?).await
}

fn refused(url: &Url, error: &ClientError) -> Finding {
    let remedy = match error.problem().map(|problem| problem.status) {
        Some(401) => {
            "the token is unknown, expired or revoked; create another with `sextant api-token create`"
        }
        Some(403) => "the token's role does not allow it; use one that may read the status",
        Some(502..=504) => "look at the control plane's log and at Postgres",
        Some(_) => "look at the control plane's log for this request",
        None => "check that the URL is that of sextant-control",
    };
    Finding::new(format!("no status: {error}"), url.as_str(), remedy)
}
