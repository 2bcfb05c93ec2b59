//! One `[[routes]]` record.

use std::net::{IpAddr, SocketAddr};

use sextant_model::{
    HostPattern, Prefix,
    routing::{HealthSource, Matching, ProtocolHint, RouteKey, ServedRoute},
};
use toml::de::DeValue;

use super::field::{self, Fields};
use crate::config;

pub const KEYS: [&str; 9] = [
    "name",
    "listen",
    "hostname",
    "protocol_hint",
    "match_host",
    "backends",
    "proxy_protocol",
    "health_source",
    "max_connections",
];

/// Reads route records.
pub struct Record;

impl Record {
    /// The route, unless a mistake makes it impossible to say where it is found; mistakes are in
    /// `fields`.
    pub fn read(fields: &mut Fields<'_, '_>) -> Option<ServedRoute> {
        let name = fields.optional("name", name);
        let listen = fields.required("listen", listen);
        let hostname = fields.optional("hostname", hostname);
        let match_host = fields.optional("match_host", field::boolean).unwrap_or_default();
        let default = if fields.has("hostname") && !match_host {
            ProtocolHint::TlsPassthrough
        } else {
            ProtocolHint::TcpRaw
        };
        let hint = fields.optional("protocol_hint", protocol_hint).unwrap_or(default);
        let matching = matching(fields, hint, hostname, match_host);
        let backends = backends(fields);
        let proxy_protocol = fields.optional("proxy_protocol", field::boolean).unwrap_or_default();
        let health_source = fields.optional("health_source", health_source).unwrap_or_default();
        let max_connections = fields.optional("max_connections", field::count);
        let (listen, matching) = (listen?, matching?);
        // Without backends it still has its place, which no other route may have.
        let backends = backends.unwrap_or_default();
        Some(ServedRoute {
            key: key(name, listen, &matching),
            environment_id: None,
            listen,
            matching,
            backends,
            proxy_protocol,
            health_source,
            max_connections,
        })
    }
}

/// A route without a name is known by where it is found.
fn key(name: Option<String>, listen: SocketAddr, matching: &Matching) -> RouteKey {
    let place = || match matching {
        Matching::Whole => listen.to_string(),
        Matching::Sni(pattern) | Matching::RequestHost(pattern) => format!("{listen}/{pattern}"),
    };
    RouteKey(name.unwrap_or_else(place).into())
}

fn matching(
    fields: &mut Fields<'_, '_>,
    hint: ProtocolHint,
    hostname: Option<HostPattern>,
    match_host: bool,
) -> Option<Matching> {
    match (hint, hostname, match_host) {
        (ProtocolHint::TlsPassthrough, _, true) => {
            fields.mistake(
                "match_host",
                "goes with \"tcp_raw\" only; TLS connections are told apart by their SNI",
            );
            None
        }
        (ProtocolHint::TlsPassthrough, Some(pattern), false) => Some(Matching::Sni(pattern)),
        (ProtocolHint::TcpRaw, Some(pattern), true) => Some(Matching::RequestHost(pattern)),
        (ProtocolHint::TcpRaw, None, false) => Some(Matching::Whole),
        (ProtocolHint::TcpRaw, Some(_), false) => {
            fields.mistake(
                "hostname",
                "means nothing to a \"tcp_raw\" route, which owns its port; leave it out, or set match_host = true to tell plain HTTP apart by Host",
            );
            None
        }
        // A hostname that was given and refused has been reported already.
        (ProtocolHint::TlsPassthrough, None, false) => {
            if !fields.has("hostname") {
                fields.mistake(
                    "hostname",
                    "is missing, and \"tls_passthrough\" needs one; use \"tcp_raw\" to pass the whole port",
                );
            }
            None
        }
        (ProtocolHint::TcpRaw, None, true) => {
            if !fields.has("hostname") {
                fields.mistake("hostname", "is missing, and match_host = true needs one");
            }
            None
        }
        (ProtocolHint::HttpTerminate, _, _) => None,
    }
}

fn name(value: &DeValue<'_>) -> Result<String, String> {
    let name = field::text(value)?;
    let plain = |c: char| c.is_alphanumeric() || "-_.:/@[]*".contains(c);
    if name.is_empty() || name.chars().count() > 64 || !name.chars().all(plain) {
        let short: String = name.chars().take(70).collect();
        return Err(format!("\"{short}\" is no name; use 1 to 64 letters, digits and -_.:/@[]*"));
    }
    Ok(name)
}

fn hostname(value: &DeValue<'_>) -> Result<HostPattern, String> {
    let text = field::text(value)?;
    HostPattern::new(&text).map_err(|error| error.to_string())
}

fn protocol_hint(value: &DeValue<'_>) -> Result<ProtocolHint, String> {
    match field::text(value)?.as_str() {
        "tls_passthrough" => Ok(ProtocolHint::TlsPassthrough),
        "tcp_raw" => Ok(ProtocolHint::TcpRaw),
        "http_terminate" => Err(
            "\"http_terminate\" is reserved: this edge never terminates; use \"tls_passthrough\" or \"tcp_raw\""
                .into(),
        ),
        other => {
            let short: String = other.chars().take(40).collect();
            Err(format!("\"{short}\" does not exist; use \"tls_passthrough\" or \"tcp_raw\""))
        }
    }
}

fn health_source(value: &DeValue<'_>) -> Result<HealthSource, String> {
    let unprefixed =
        |text: String| text.strip_prefix("health_source ").map(str::to_owned).unwrap_or(text);
    field::text(value)?
        .parse()
        .map_err(|error: sextant_model::routing::UnknownHealthSource| unprefixed(error.to_string()))
}

/// An address and port to listen on.
pub fn listen(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let address = socket_address(&field::text(value)?)?;
    if address.ip().is_multicast() {
        return Err(format!("{address} is a multicast address; TCP has none"));
    }
    if let SocketAddr::V6(scoped) = address
        && scoped.scope_id() != 0
    {
        return Err(format!(
            "{address} is an address of one interface only; listen on one without \"%\", or on every address"
        ));
    }
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn backends(fields: &mut Fields<'_, '_>) -> Option<Vec<SocketAddr>> {
    let backends = fields.required_list("backends", backend)?;
    if backends.is_empty() {
        fields.mistake("backends", "is empty; give at least one, like \"[fd00::1]:8443\"");
        return None;
    }
    for (index, (offset, backend)) in backends.iter().enumerate() {
        if backends[..index].iter().any(|(_, other)| other == backend) {
            let reason = format!("{backend} is listed twice");
            fields.mistakes.push((*offset, Some("backends"), reason));
        }
    }
    Some(backends.into_iter().map(|(_, backend)| backend).collect())
}

/// Where each backend is written.
pub fn places_of_backends(fields: &Fields<'_, '_>) -> Vec<usize> {
    fields.offsets_of("backends")
}

fn backend(text: &str) -> Result<SocketAddr, String> {
    let address = socket_address(text)?;
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(format!("{address} is no address of a backend; give a unicast address"));
    }
    Ok(address)
}

/// Prefixes, or addresses that stand for themselves.
pub fn prefixes(fields: &mut Fields<'_, '_>) -> Option<Vec<Prefix>> {
    let prefixes = fields.required_list("accept_proxy_from", config::check::prefix)?;
    Some(prefixes.into_iter().map(|(_, prefix)| prefix).collect())
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let short: String = text.chars().take(70).collect();
    let address: SocketAddr = text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => match without_brackets(text) {
            Some(meant) => format!("\"{short}\" is an address without a port; write \"{meant}\" for that port, or \"[{ip}]:443\""),
            None => format!("\"{short}\" has no port; write \"[{ip}]:443\""),
        },
        Ok(IpAddr::V4(ip)) => format!("\"{short}\" has no port; write \"{ip}:443\""),
        Err(_) => format!(
            "\"{short}\" is no address and port like \"[fd00::1]:443\" or \"192.0.2.1:443\""
        ),
    })?;
    if address.port() == 0 {
        return Err(format!("\"{short}\" has port 0; use 1 to 65535"));
    }
    Ok(address)
}

/// What somebody may have meant who wrote an IPv6 address and a port without brackets.
fn without_brackets(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    // `2001:db8::1` has no port; what ends in one has an address before it.
    let address = address.parse::<std::net::Ipv6Addr>().ok()?;
    Some(SocketAddr::new(address.into(), port.parse().ok().filter(|port| *port > 0)?))
}
