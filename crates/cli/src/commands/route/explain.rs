//! `sextant route explain`: where a connection goes, as the control plane or one edge sees it.

mod edge;

use std::{net::IpAddr, str::FromStr};

use clap::Args;
use sextant_api::{
    client::ExplainQuery,
    resource::route::{ExplainedEdge, ListenerKind, RouteExplanation},
};

use super::{backends, summary};
use sextant_model::Hostname;

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    connection::connect,
    edge_admin::EdgeAddress,
    exit::{Exit, Failure},
    output::{Output, details, or_dash, table},
    values,
};

/// The beginning of `sextant route explain --help`.
pub const ABOUT: &str = "\
    Say where a connection goes, and why.\n\nThe control plane answers: which edges serve the newest \
    routes, how connections to the port are told apart, the route, and its backends. With --edge \
    one edge answers, by its own table: it knows the state of each backend at this moment, which \
    one it would choose, and how much of its limits a source uses. That needs no control \
    plane.\n\nExits 0 if the connection is served, 1 if it is not, or not by every edge.";

/// Arguments of `sextant route explain`.
#[derive(Args, Debug)]
#[command(after_long_help = examples(&[
    "sextant route explain shop.example.com",
    "sextant route explain shop.example.com:8443 --from 2001:db8::7",
    "sextant route explain :5432",
    "sextant route explain shop.example.com --edge /run/sextant-edge/admin.sock --from 2001:db8::7",
]))]
pub struct ExplainArgs {
    /// The name the connection asks for and its port; 443 if not given, :PORT for no name
    #[arg(value_name = "HOST[:PORT]", add = completed(Things::Routes))]
    pub connection: Asked,
    /// Where it comes from
    #[arg(long, value_name = "ADDR", value_parser = values::address)]
    pub from: Option<IpAddr>,
    /// Ask this edge: the path of its admin socket, or http://HOST:PORT
    #[arg(long, value_name = "PATH|URL")]
    pub edge: Option<EdgeAddress>,
    /// The edge's address it arrives at, where routes listen on several
    #[arg(long, value_name = "ADDR", requires = "edge", value_parser = values::address)]
    pub local: Option<IpAddr>,
}

/// What a connection asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    host: Option<Hostname>,
    port: u16,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "give HOST[:PORT], or :PORT for a connection without a name";
        let (host, port) = values::host_and_port(text, FORM, Hostname::new)?;
        Ok(Self { host, port: port.unwrap_or(443) })
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host.as_ref().map_or("", Hostname::as_str), self.port)
    }
}

/// Asks and shows the answer.
pub async fn run(args: &ExplainArgs, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    if let Some(address) = &args.edge {
        return edge::run(args, address, output).await;
    }
    let client = connect(globals).await?;
    let Asked { host, port } = args.connection.clone();
    let host = host.map(|host| host.to_string());
    let query = ExplainQuery { host, port: Some(port), from: args.from };
    let explanation = client.explain_route(&query).await?;
    output.show(&explanation, |explanation| described(explanation, &args.connection))?;
    Ok(if obstacles(&explanation).is_empty() { Exit::Success } else { Exit::Finding })
}

/// The connection for people.
fn connection(args: &Asked, from: Option<IpAddr>) -> String {
    from.map_or_else(|| args.to_string(), |from| format!("{args} from {from}"))
}

fn described(explanation: &RouteExplanation, asked: &Asked) -> String {
    let listener = explanation.listener.map(|kind| match kind {
        ListenerKind::Raw => "raw: one route has the port",
        ListenerKind::Tls => "tls: the server name of the ClientHello decides",
        ListenerKind::Http => "http: the Host of the first request decides",
    });
    let mut lines = vec![
        ("connection", connection(asked, explanation.from)),
        ("listener", or_dash(listener)),
        ("route", or_dash(explanation.route.as_ref().map(summary))),
        ("route id", or_dash(explanation.route.as_ref().map(|route| route.id))),
        ("because", explanation.reason.clone()),
    ];
    if explanation.route.as_ref().is_some_and(|route| route.status.healthy > 0) {
        lines.push((
            "backend",
            "each edge takes the healthy one it has the fewest connections to; --edge asks one"
                .into(),
        ));
    }
    if explanation.from.is_some() {
        lines.push(("source", "limits by source are known to the edges; --edge asks one".into()));
    }
    lines.push(("as of", format!("event {}", explanation.revision)));
    let mut text = details(lines);
    if let Some(route) = explanation.route.as_ref().filter(|route| route.status.backends > 0) {
        text = format!("{text}\n{}", backends(route));
    }
    if !explanation.edges.is_empty() {
        text = format!("{text}\n{}", edges(explanation));
    }
    obstacles(explanation).iter().fold(text, |text, remedy| format!("{text}\nwhat to do: {remedy}"))
        + if obstacles(explanation).is_empty() { "" } else { "\n" }
}

fn edges(explanation: &RouteExplanation) -> String {
    let what = if explanation.route.is_some() { "serves it" } else { "up to date" };
    let rows = explanation.edges.iter().map(|edge: &ExplainedEdge| {
        let serves = match (&edge.refused, edge.in_sync) {
            (Some(reason), _) => format!("no: {reason}"),
            (None, true) => "yes".into(),
            (None, false) => "not yet".into(),
        };
        vec![edge.name.to_string(), or_dash(edge.revision), serves]
    });
    table(&["edge", "revision", what], rows)
}

/// What keeps the connection from being served, each with what to do about it.
fn obstacles(explanation: &RouteExplanation) -> Vec<String> {
    let port = explanation.port;
    let host = explanation.host.as_deref();
    let mut found = Vec::new();
    match &explanation.route {
        None => found.push(match host {
            Some(host) => format!(
                "make a route with `sextant route create ORG/APP/ENVIRONMENT --hostname {host} \
                 --port {port} --to TYPE:PORT`; `sextant route list` shows those there are"
            ),
            None if explanation.listener.is_some() => {
                "let the client send a name, or give the port to one raw TCP route".into()
            }
            None => format!(
                "make a route with `sextant route create ORG/APP/ENVIRONMENT --port {port} \
                 --protocol tcp_raw --to TYPE:PORT`"
            ),
        }),
        Some(route) if route.status.backends == 0 => found.push(format!(
            "run it with `sextant deploy {} {}=1`",
            route.environment, route.backend_process_type
        )),
        Some(route) if route.status.healthy == 0 => found.push(format!(
            "see what ails its workloads with `sextant workload list {}`",
            route.environment
        )),
        Some(_) => {}
    }
    if explanation.edges.iter().any(|edge| !edge.in_sync || edge.refused.is_some()) {
        found.push("see what ails the edges with `sextant edge status`".into());
    }
    found
}

#[cfg(test)]
mod tests {
    use sextant_api::resource::route::RouteStatus;

    use super::*;

    #[test]
    fn a_connection_asks_for_a_name_and_a_port() {
        for (text, host, port) in [
            ("shop.example.com", Some("shop.example.com"), 443),
            ("shop.example.com:8443", Some("shop.example.com"), 8443),
            (":5432", None, 5432),
        ] {
            let asked = text.parse::<Asked>().expect(text);
            assert_eq!((asked.host.as_ref().map(Hostname::as_str), asked.port), (host, port));
        }
        for (bad, why) in [
            ("", "HOST[:PORT]"),
            ("a:0", "\"0\" is not a port"),
            ("https://h/", "is a URL; give h"),
            ("a:https", "\"https\" is not a port"),
            ("192.0.2.1", "is an IP address"),
            ("[2001:db8::1]:443", "is an IP address"),
            ("2001:db8::1", "is an IP address"),
            ("a_b", "contains '_'"),
        ] {
            let error = bad.parse::<Asked>().expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    fn explanation() -> RouteExplanation {
        serde_json::from_value(serde_json::json!({
            "host": "shop.example.com", "port": 443, "revision": 42, "listener": "tls",
            "reason": "the server name decides",
            "route": {
                "id": "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e",
                "org_id": "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a90",
                "environment_id": "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a91",
                "environment": "shop/web/production",
                "network_id": "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a92",
                "hostname": "shop.example.com", "listen_port": 443,
                "protocol_hint": "tls_passthrough", "match_host": false,
                "backend_process_type": "web", "backend_port": 8443, "proxy_protocol": false,
                "ipv4_required": false, "health_source": "none", "endpoint": "ipv6_only",
                "status": { "backends": 1, "healthy": 1, "workloads": [{
                    "workload_id": "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a93",
                    "address": "fd00::1", "port": 8443, "health": "healthy" }] },
                "version": 1, "created_at": "2026-01-01T00:00:00Z"
            },
            "edges": [{
                "node_id": "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a94", "name": "e1",
                "revision": 42, "in_sync": true
            }]
        }))
        .expect("an explanation")
    }

    #[test]
    fn what_is_served_has_no_obstacle_and_what_is_not_has_a_remedy() {
        type Change = fn(&mut RouteExplanation);
        assert_eq!(obstacles(&explanation()), [""; 0]);
        let changes: [(Change, &str); 6] = [
            (|found| found.route = None, "--hostname shop.example.com --port 443"),
            (|found| (found.route, found.host) = (None, None), "let the client send a name"),
            (
                |found| (found.route, found.host, found.listener) = (None, None, None),
                "--protocol tcp_raw",
            ),
            (
                |found| found.route.as_mut().expect("route").status = RouteStatus::default(),
                "sextant deploy shop/web/production web=1",
            ),
            (
                |found| found.route.as_mut().expect("route").status.healthy = 0,
                "sextant workload list shop/web/production",
            ),
            (|found| found.edges[0].in_sync = false, "sextant edge status"),
        ];
        for (change, remedy) in changes {
            let mut found = explanation();
            change(&mut found);
            let obstacles = obstacles(&found);
            assert_eq!(obstacles.len(), 1, "{obstacles:?}");
            assert!(obstacles[0].contains(remedy), "{remedy}: {obstacles:?}");
        }
    }

    #[test]
    fn the_answer_names_route_backends_and_edges() {
        let mut found = explanation();
        found.edges[0].refused = Some("taken".into());
        let asked = "shop.example.com".parse().expect("asked");
        let text = described(&found, &asked);
        let squeezed: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in [
            "connection shop.example.com:443",
            "route shop.example.com:443 to web:8443 of shop/web/production",
            "[fd00::1]:8443 healthy 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a93",
            "e1 42 no: taken",
            "what to do: see what ails the edges with `sextant edge status`",
        ] {
            assert!(squeezed.iter().any(|found| found == line), "{line}:\n{text}");
        }
    }
}
