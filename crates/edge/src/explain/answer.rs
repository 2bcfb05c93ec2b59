//! Routes and backends as answers show them.

use std::net::SocketAddr;

use serde::Serialize;
use sextant_model::routing::{Matching, ServedRoute};

use crate::{
    balance::{Backend, Health, Usability},
    table::Route,
    timer::Moment,
};

/// A route with its backends.
#[derive(Debug, Serialize)]
pub struct RouteAnswer {
    key: String,
    listen: SocketAddr,
    protocol_hint: &'static str,
    match_host: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    proxy_protocol: bool,
    health_source: String,
    connections: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<u32>,
    backends: Vec<BackendAnswer>,
}

#[derive(Debug, Serialize)]
struct BackendAnswer {
    address: SocketAddr,
    health: &'static str,
    /// `usable`, `ejected` or `down`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ejected_for_ms: Option<u64>,
    connections: u32,
}

/// The name that a route is found by.
pub fn pattern(served: &ServedRoute) -> Option<String> {
    match &served.matching {
        Matching::Whole => None,
        Matching::Sni(pattern) | Matching::RequestHost(pattern) => Some(pattern.to_string()),
    }
}

impl RouteAnswer {
    /// The route as it is now.
    pub fn of(route: &Route) -> Self {
        let served = route.served();
        let now = Moment::now();
        Self {
            key: served.key.to_string(),
            listen: served.listen,
            protocol_hint: match served.matching {
                Matching::Sni(_) => "tls_passthrough",
                Matching::Whole | Matching::RequestHost(_) => "tcp_raw",
            },
            match_host: matches!(served.matching, Matching::RequestHost(_)),
            hostname: pattern(served),
            proxy_protocol: served.proxy_protocol,
            health_source: served.health_source.to_string(),
            connections: route.connections(),
            max_connections: served.max_connections,
            backends: route
                .backends()
                .iter()
                .map(|backend| BackendAnswer::of(backend, now))
                .collect(),
        }
    }
}

impl BackendAnswer {
    fn of(backend: &Backend, now: Moment) -> Self {
        let usability = backend.usability(now);
        let ejected_for = match usability {
            Usability::Ejected(until) => Some(until.since(now)),
            Usability::Usable | Usability::Down => None,
        };
        Self {
            address: backend.address(),
            health: match backend.health() {
                Health::Unknown => "unknown",
                Health::Up => "up",
                Health::Down => "down",
            },
            state: match usability {
                Usability::Usable => "usable",
                Usability::Ejected(_) => "ejected",
                Usability::Down => "down",
            },
            ejected_for_ms: ejected_for
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            connections: backend.connections(),
        }
    }
}
