//! The answer of one edge, by its own table.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use sextant_model::Hostname;

use super::{ExplainArgs, connection};
use crate::{
    edge_admin::EdgeAddress,
    exit::{Exit, Failure},
    output::{Output, details, or_dash, table},
};

/// What an edge answers. What it says beyond this is for programs.
#[derive(Debug, Deserialize)]
struct Answer {
    revision: u64,
    listener: Option<Listener>,
    route: Option<Route>,
    backend: Option<SocketAddr>,
    source: Option<Source>,
    served: bool,
    why: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Listener {
    listen: SocketAddr,
    kind: String,
    routes: usize,
    open: bool,
}

#[derive(Debug, Deserialize)]
struct Route {
    key: String,
    protocol_hint: String,
    hostname: Option<String>,
    connections: u32,
    backends: Vec<Backend>,
}

#[derive(Debug, Deserialize)]
struct Backend {
    address: SocketAddr,
    health: String,
    state: String,
    connections: u32,
}

#[derive(Debug, Deserialize)]
struct Source {
    address: IpAddr,
    connections: u32,
    connections_limit: u32,
    prereads: u32,
    prereads_limit: u32,
}

/// What is asked, as a query.
struct Question<'a> {
    port: u16,
    host: Option<&'a str>,
    from: Option<IpAddr>,
    local: Option<IpAddr>,
}

impl Question<'_> {
    fn path(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("port", &self.port.to_string());
        let addresses = [("from", self.from), ("local", self.local)];
        query.extend_pairs(self.host.map(|host| ("host", host)));
        for (key, address) in addresses {
            query.extend_pairs(address.map(|address| (key, address.to_string())));
        }
        format!("/explain?{}", query.finish())
    }
}

/// Asks the edge and shows its answer.
pub async fn run(
    args: &ExplainArgs,
    address: &EdgeAddress,
    output: &Output,
) -> Result<Exit, Failure> {
    let question = Question {
        port: args.connection.port,
        host: args.connection.host.as_ref().map(Hostname::as_str),
        from: args.from,
        local: args.local,
    };
    let value = address.get(&question.path()).await?;
    let answer: Answer =
        Answer::deserialize(&value).map_err(|error| address.unexpected(error.to_string()))?;
    let asked = connection(&args.connection, args.from);
    output.show(&value, |_| described(&answer, asked, address))?;
    Ok(if answer.served { Exit::Success } else { Exit::Finding })
}

fn described(answer: &Answer, asked: String, address: &EdgeAddress) -> String {
    let listener = answer.listener.as_ref().map(|listener| {
        let Listener { listen, kind, routes, open } = listener;
        let plural = if *routes == 1 { "" } else { "s" };
        format!("{listen}, {kind}, {routes} route{plural}{}", if *open { "" } else { ", not open" })
    });
    let route = answer.route.as_ref().map(|route| {
        let name = route.hostname.as_ref().map_or_else(String::new, |name| format!(" for {name}"));
        let Route { key, protocol_hint, connections, .. } = route;
        format!("{key}: {protocol_hint}{name}, {connections} connections")
    });
    let mut lines = vec![
        ("connection", asked),
        ("edge", format!("{address} at revision {}", answer.revision)),
        ("listener", or_dash(listener)),
        ("route", or_dash(route)),
        ("chosen", or_dash(answer.backend)),
    ];
    if let Some(source) = &answer.source {
        let Source { address, connections, connections_limit, prereads, prereads_limit } = source;
        lines.push((
            "source",
            format!(
                "{address} has {connections} of {connections_limit} connections, {prereads} of \
                 {prereads_limit} not routed yet"
            ),
        ));
    }
    lines.push(("served", if answer.served { "yes" } else { "no" }.into()));
    lines.extend(answer.why.iter().map(|why| ("because", why.clone())));
    let text = details(lines);
    match &answer.route {
        None => text,
        Some(route) => format!("{text}\n{}", backends(&route.backends)),
    }
}

fn backends(backends: &[Backend]) -> String {
    let rows = backends.iter().map(|backend| {
        vec![
            backend.address.to_string(),
            backend.health.clone(),
            backend.state.clone(),
            backend.connections.to_string(),
        ]
    });
    table(&["backend", "health", "state", "connections"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_query() {
        let mut question =
            Question { port: 443, host: Some("a&b"), from: "::1".parse().ok(), local: None };
        assert_eq!(question.path(), "/explain?port=443&host=a%26b&from=%3A%3A1");
        (question.host, question.from) = (None, None);
        question.local = "fd00::1".parse().ok();
        assert_eq!(question.path(), "/explain?port=443&local=fd00%3A%3A1");
    }
}
