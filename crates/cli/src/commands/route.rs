//! `sextant route`: which connections go where.

mod explain;

use std::str::FromStr;

use clap::{Args, Subcommand};
use sextant_api::{
    Client,
    client::RouteQuery,
    resource::route::{NewRoute, Route, RoutePatch},
};
use sextant_model::{
    DnsLabel, HostPattern,
    routing::{Endpoint, HealthSource, ProtocolHint},
};

use crate::{
    args::{Globals, examples, one_of},
    connection::connect,
    exit::{Exit, Failure},
    lookup::{self, RouteRef},
    output::{Output, details, or_dash, table, word},
    path::EnvironmentRef,
};

/// What to do with routes.
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Make a route: connections to a hostname or a port go to a process type
    #[command(after_long_help = examples(&[
        "sextant route create shop/web/production --hostname shop.example.com --to web:8443",
        "sextant route create shop/web/production --hostname shop.example.com --protocol tcp_raw --match-host --to web:8080",
        "sextant route create shop/db/production --port 5432 --protocol tcp_raw --to postgres:5432 --health tcp",
    ]))]
    Create(CreateArgs),
    /// List the routes: all, or those of an environment or a hostname
    #[command(after_long_help = examples(&[
        "sextant route list",
        "sextant route list shop/web/production --json",
        "sextant route list --hostname shop.example.com",
    ]))]
    List {
        /// Only those of this environment
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID")]
        environment: Option<EnvironmentRef>,
        /// Only those with exactly this hostname
        #[arg(long, value_name = "NAME")]
        hostname: Option<HostPattern>,
    },
    /// Show a route and its backends
    #[command(after_long_help = examples(&["sextant route show shop.example.com"]))]
    Show {
        /// Which one
        #[arg(value_name = "HOST[:PORT]|ID")]
        route: RouteRef,
    },
    /// Change who answers a route; established connections stay where they are
    #[command(after_long_help = examples(&[
        "sextant route update shop.example.com --to web:9443",
        "sextant route update shop.example.com:443 --proxy-protocol true --health tcp:9000",
    ]))]
    Update {
        /// Which one
        #[arg(value_name = "HOST[:PORT]|ID")]
        route: RouteRef,
        /// What becomes of it
        #[command(flatten)]
        change: Change,
    },
    /// Delete a route; its hostname stays the environment's own
    #[command(after_long_help = examples(&["sextant route delete shop.example.com --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "HOST[:PORT]|ID")]
        route: RouteRef,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Say where a connection goes, and why; exits 1 if it goes nowhere
    #[command(long_about = explain::ABOUT)]
    Explain(explain::ExplainArgs),
}

/// What a new route is like.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Which environment answers
    #[arg(value_name = "ORG/APP/ENVIRONMENT|ID")]
    environment: EnvironmentRef,
    /// The name it answers to: exact, or a wildcard over one label; for raw TCP it is for DNS alone
    #[arg(long, value_name = "NAME")]
    hostname: Option<HostPattern>,
    /// The port edges listen on; with --match-host 80
    #[arg(long, default_value_t = 443, default_value_if("match_host", "true", "80"), value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Which process type answers, and on which port
    #[arg(long, value_name = "TYPE:PORT")]
    to: Target,
    /// How connections are told apart: by the TLS server name, or by the port alone
    #[arg(long, default_value = "tls_passthrough", value_parser = one_of::<ProtocolHint>(&["tls_passthrough", "tcp_raw", "http_terminate"]))]
    protocol: ProtocolHint,
    /// Tell raw connections apart by the Host of their first HTTP request; port 80 only
    #[arg(long)]
    match_host: bool,
    /// Tell backends first who is connecting (PROXY protocol version 2)
    #[arg(long)]
    proxy_protocol: bool,
    /// What decides whether a backend may be used: none, tcp or tcp:PORT
    #[arg(long, value_name = "SOURCE", default_value = "none")]
    health: HealthSource,
    /// Where it is reached from outside
    #[arg(long, default_value = "ipv6_only", value_parser = one_of::<Endpoint>(&["ipv6_only", "dedicated_ipv4", "shared_ipv4_pool"]))]
    endpoint: Endpoint,
    /// It makes no sense without IPv4
    #[arg(long)]
    ipv4_required: bool,
}

/// What changes.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub struct Change {
    /// Which process type answers, and on which port
    #[arg(long, value_name = "TYPE:PORT")]
    to: Option<Target>,
    /// Whether backends are first told who is connecting (PROXY protocol version 2)
    #[arg(long, value_name = "BOOL")]
    proxy_protocol: Option<bool>,
    /// What decides whether a backend may be used: none, tcp or tcp:PORT
    #[arg(long, value_name = "SOURCE")]
    health: Option<HealthSource>,
}

/// `web:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    process_type: DnsLabel,
    port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write a process type and its port, like web:8443";
        let (name, port) = text.split_once(':').ok_or(FORM)?;
        let process_type = DnsLabel::new(name).map_err(|error| format!("{error}; {FORM}"))?;
        match port.parse() {
            Ok(port) if port != 0 => Ok(Self { process_type, port }),
            _ => Err(format!("port \"{port}\" is none; {FORM}")),
        }
    }
}

/// Does it.
pub async fn run(
    command: &RouteCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        RouteCommand::Create(args) => {
            let client = connect(globals).await?;
            output.show(&create(&client, args).await?, described)?;
        }
        RouteCommand::List { environment, hostname } => {
            let client = connect(globals).await?;
            let environment_id = match environment {
                Some(environment) => Some(lookup::environment_id(&client, environment).await?),
                None => None,
            };
            let hostname = hostname.clone();
            let query = RouteQuery { environment_id, hostname, ..RouteQuery::default() };
            output.show(&lookup::routes(&client, query).await?, |routes| listing(routes))?;
        }
        RouteCommand::Show { route } => {
            let client = connect(globals).await?;
            let id = lookup::route_id(&client, route).await?;
            output.show(&client.route(id).await?.value, described)?;
        }
        RouteCommand::Update { route, change } => {
            let client = connect(globals).await?;
            output.show(&update(&client, route, change).await?, described)?;
        }
        RouteCommand::Delete { route, yes } => {
            let client = connect(globals).await?;
            let id = lookup::route_id(&client, route).await?;
            let found = client.route(id).await?;
            let what = summary(&found.value);
            let question = format!("Delete the route {what} ({id})?");
            if let Some(exit) = output.confirmed(*yes, &question).await? {
                return Ok(exit);
            }
            client.delete_route(id, found.etag.as_deref()).await?;
            output.done(&format!("route {what} deleted"), &found.value)?;
        }
        RouteCommand::Explain(args) => return explain::run(args, globals, output).await,
    }
    Ok(Exit::Success)
}

async fn create(client: &Client, args: &CreateArgs) -> Result<Route, Failure> {
    let environment = lookup::environment_id(client, &args.environment).await?;
    let new = NewRoute {
        hostname: args.hostname.clone(),
        listen_port: args.port,
        protocol_hint: args.protocol,
        match_host: args.match_host,
        backend_process_type: args.to.process_type.clone(),
        backend_port: args.to.port,
        proxy_protocol: args.proxy_protocol,
        ipv4_required: args.ipv4_required,
        health_source: args.health,
        endpoint: args.endpoint,
    };
    let send = async |key: &str| client.create_route(environment, &new, Some(key)).await;
    Ok(lookup::create(send).await?.value)
}

async fn update(client: &Client, route: &RouteRef, change: &Change) -> Result<Route, Failure> {
    let id = lookup::route_id(client, route).await?;
    let etag = client.route(id).await?.etag.unwrap_or_default();
    let patch = RoutePatch {
        backend_process_type: change.to.as_ref().map(|to| to.process_type.clone()),
        backend_port: change.to.as_ref().map(|to| to.port),
        proxy_protocol: change.proxy_protocol,
        health_source: change.health,
    };
    Ok(client.patch_route(id, &patch, &etag).await?.value)
}

/// From where to where, on one line.
fn summary(route: &Route) -> String {
    let host = route.hostname.as_ref().map_or_else(String::new, ToString::to_string);
    format!(
        "{host}:{} to {}:{} of {}",
        route.listen_port, route.backend_process_type, route.backend_port, route.environment
    )
}

fn target(route: &Route) -> String {
    format!("{}:{}", route.backend_process_type, route.backend_port)
}

fn protocol(route: &Route) -> String {
    let host = if route.match_host { " by Host" } else { "" };
    format!("{}{host}", word(&route.protocol_hint))
}

fn listing(routes: &[Route]) -> String {
    let rows = routes.iter().map(|route| {
        vec![
            or_dash(route.hostname.as_ref()),
            route.listen_port.to_string(),
            protocol(route),
            route.environment.clone(),
            target(route),
            format!("{}/{}", route.status.healthy, route.status.backends),
            route.id.to_string(),
        ]
    });
    table(&["hostname", "port", "protocol", "environment", "to", "healthy", "id"], rows)
}

fn described(route: &Route) -> String {
    let text = details([
        ("hostname", or_dash(route.hostname.as_ref())),
        ("port", route.listen_port.to_string()),
        ("protocol", protocol(route)),
        ("environment", route.environment.clone()),
        ("to", target(route)),
        ("proxy protocol", if route.proxy_protocol { "v2" } else { "no" }.into()),
        ("health source", route.health_source.to_string()),
        ("endpoint", word(&route.endpoint)),
        ("healthy", format!("{}/{}", route.status.healthy, route.status.backends)),
        ("id", route.id.to_string()),
        ("created at", route.created_at.to_string()),
        ("version", route.version.to_string()),
    ]);
    if route.status.workloads.is_empty() { text } else { format!("{text}\n{}", backends(route)) }
}

/// A row for each backend.
fn backends(route: &Route) -> String {
    let rows = route.status.workloads.iter().map(|backend| {
        vec![
            format!("[{}]:{}", backend.address, backend.port),
            word(&backend.health),
            backend.workload_id.to_string(),
        ]
    });
    table(&["backend", "health", "workload id"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_process_type_and_a_port() {
        let target = "web:8443".parse::<Target>().expect("target");
        assert_eq!((target.process_type.as_str(), target.port), ("web", 8443));
        for (bad, why) in [
            ("web", "like web:8443"),
            ("web:0", "port \"0\""),
            ("web:99999", "port \"99999\""),
            ("web:", "port \"\""),
            (":80", "has 0 characters"),
            ("w_b:80", "contains '_'"),
        ] {
            let error = bad.parse::<Target>().expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
