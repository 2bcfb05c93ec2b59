//! What can only be said of a file as a whole: listeners that routes need, loops, and what hides what.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use sextant_model::routing::{Matching, ServedRoute};

use super::{Mistake, Reading, RouteFile};
use crate::{listen, own_address};

/// Offsets of what is said of a route.
#[derive(Debug)]
pub struct Place {
    pub label: String,
    pub listen_at: usize,
    pub hostname_at: usize,
    /// Of each backend.
    pub backends_at: Vec<usize>,
}

const HTTP: u16 = 80;

impl Reading<'_> {
    pub fn finish(mut self) -> Result<RouteFile, Vec<Mistake>> {
        let used: BTreeSet<SocketAddr> = self.table.listeners().map(|(listen, _)| listen).collect();
        // Routes with mistakes may be missing from the table: only a clean file can be judged.
        if self.mistakes.is_empty() {
            self.check_listeners(&used);
        }
        self.find_loops(&used);
        self.mistakes.sort_by_key(|mistake| mistake.line);
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        let mut warnings = self.plain_http();
        warnings.extend(self.hidden(&used));
        warnings.sort_by_key(|warning| warning.line);
        Ok(RouteFile { warnings, ..self.file })
    }

    fn check_listeners(&mut self, used: &BTreeSet<SocketAddr>) {
        let sockets = listen::wanted(used, true);
        for (listen, label, offset) in std::mem::take(&mut self.listeners) {
            let reason = if !used.contains(&listen) {
                format!("no route listens on {listen}; remove it, or add one")
            } else if sockets.iter().any(|socket| socket.address == listen) {
                continue;
            } else {
                let port = listen.port();
                format!(
                    "{listen} shares the socket of every address; set it for that one, with port {port}"
                )
            };
            self.mistake(offset, Some(label), Some("listen"), reason);
        }
    }

    /// Refuses backends that are listeners of the same file: a connection would come back for ever.
    fn find_loops(&mut self, used: &BTreeSet<SocketAddr>) {
        let mut found = Vec::new();
        for (route, place) in self.file.routes.iter().zip(&self.places) {
            for (backend, offset) in route.backends.iter().zip(&place.backends_at) {
                if let Some(listen) = self.comes_back(*backend, used) {
                    let reason = format!(
                        "{backend} is where {listen} of this file listens, so connections would come back for ever; give the address of a server"
                    );
                    found.push((*offset, place.label.clone(), reason));
                }
            }
        }
        for (offset, label, reason) in found {
            self.mistake(offset, Some(label), Some("backends"), reason);
        }
    }

    /// The listener at which a connection to `backend` would arrive.
    fn comes_back(&self, backend: SocketAddr, used: &BTreeSet<SocketAddr>) -> Option<SocketAddr> {
        let address = SocketAddr::new(backend.ip().to_canonical(), backend.port());
        if used.contains(&address) {
            return Some(address);
        }
        self.table.listener(address)?;
        own_address::is_own(backend).then(|| general(address, used)).flatten()
    }

    /// Routes that expect TLS where browsers speak plain HTTP.
    fn plain_http(&self) -> Vec<Mistake> {
        let plain = |(route, _): &(&ServedRoute, &Place)| {
            route.listen.port() == HTTP && matches!(route.matching, Matching::Sni(_))
        };
        let routes = self.file.routes.iter().zip(&self.places).filter(plain);
        let warning = |(_, place): (&ServedRoute, &Place)| {
            Mistake {
            line: self.lines.line(place.hostname_at),
            record: Some(place.label.clone()),
            field: Some("hostname"),
            reason: "expects TLS on port 80, where browsers speak plain HTTP; set match_host = true to tell requests apart by their Host".into(),
        }
        };
        routes.map(warning).collect()
    }

    /// Particular addresses whose clients do not find the routes of every address.
    fn hidden(&self, used: &BTreeSet<SocketAddr>) -> Vec<Mistake> {
        let mut named = BTreeSet::new();
        let mut warnings = Vec::new();
        for (route, place) in self.file.routes.iter().zip(&self.places) {
            let listen = route.listen;
            let Some(general) = general(listen, used).filter(|general| *general != listen) else {
                continue;
            };
            if named.insert(listen) {
                warnings.push(Mistake {
                    line: self.lines.line(place.listen_at),
                    record: Some(place.label.clone()),
                    field: Some("listen"),
                    reason: format!(
                        "whoever connects to {listen} finds the routes of this address alone, and none of those of {general}"
                    ),
                });
            }
        }
        warnings
    }
}

/// The listener for every address, of those that are used, that would take connections to `address`
/// if there was none for it alone.
fn general(address: SocketAddr, used: &BTreeSet<SocketAddr>) -> Option<SocketAddr> {
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    let candidates = match address.ip() {
        IpAddr::V4(_) => vec![v4, v6],
        IpAddr::V6(_) => vec![v6],
    };
    candidates.into_iter().find(|candidate| used.contains(candidate))
}
