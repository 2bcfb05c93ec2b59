//! What a route file serves, in a few lines for people.

use std::{collections::BTreeMap, net::SocketAddr};

use sextant_model::routing::{Matching, ServedRoute, table::ListenerKind};

use super::RouteFile;

/// Most names that are listed of one listener.
const MOST_NAMES: usize = 20;

/// How many routes there are, and a line for each listener with its kind and names.
pub fn summary(file: &RouteFile) -> String {
    let mut listeners: BTreeMap<SocketAddr, (ListenerKind, Vec<String>)> = BTreeMap::new();
    for route in &file.routes {
        let kind = route.matching.kind();
        listeners.entry(route.listen).or_insert((kind, Vec::new())).1.push(name(route));
    }
    let routes = counted(file.routes.len(), "route");
    let mut lines = vec![format!("{routes} on {}", counted(listeners.len(), "listener"))];
    for (listen, (kind, names)) in listeners {
        let kind = match kind {
            ListenerKind::Raw => "raw",
            ListenerKind::Tls => "tls",
            ListenerKind::Http => "http",
        };
        let more = match names.len().saturating_sub(MOST_NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = names[..names.len().min(MOST_NAMES)].join(", ");
        lines.push(format!("  {listen} ({kind}): {names}{more}"));
    }
    lines.join("\n")
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn name(route: &ServedRoute) -> String {
    match &route.matching {
        Matching::Whole => route.key.to_string(),
        Matching::Sni(pattern) | Matching::RequestHost(pattern) => pattern.to_string(),
    }
}
