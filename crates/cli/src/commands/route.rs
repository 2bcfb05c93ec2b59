//! `sextant route`: which connections go where.

mod explain;

use std::str::FromStr;

use clap::{Args, Subcommand};
use sextant_api::{
    Client, ClientError, Problem,
    client::RouteQuery,
    resource::route::{NewRoute, Route, RoutePatch},
};
use sextant_model::{
    DnsLabel, EnvironmentId, HostPattern,
    routing::{Endpoint, HealthSource, ProtocolHint},
};

use crate::{
    args::{Globals, examples, one_of},
    commands::hostname::quoted,
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup::{self, RouteRef},
    output::{Output, Row, details, or_dash, table, word},
    path::EnvironmentRef,
    values,
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
    #[command(visible_alias = "ls", after_long_help = examples(&[
        "sextant route list",
        "sextant route list shop/web/production --json",
        "sextant route list --hostname shop.example.com",
    ]))]
    List {
        /// Only those of this environment
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: Option<EnvironmentRef>,
        /// Only those with exactly this hostname
        #[arg(long, value_name = "NAME", value_parser = values::pattern, add = completed(Things::Hostnames))]
        hostname: Option<HostPattern>,
    },
    /// Show a route and its backends
    #[command(after_long_help = examples(&["sextant route show shop.example.com"]))]
    Show {
        /// Which one
        #[arg(value_name = "HOST[:PORT]|ID", add = completed(Things::Routes))]
        route: RouteRef,
    },
    /// Change who answers a route; established connections stay where they are
    #[command(after_long_help = examples(&[
        "sextant route update shop.example.com --to web:9443",
        "sextant route update shop.example.com:443 --proxy-protocol true --health tcp:9000",
    ]))]
    Update {
        /// Which one
        #[arg(value_name = "HOST[:PORT]|ID", add = completed(Things::Routes))]
        route: RouteRef,
        /// What becomes of it
        #[command(flatten)]
        change: Change,
    },
    /// Delete a route; its hostname stays the environment's own
    #[command(visible_aliases = ["rm", "remove"], after_long_help = examples(&["sextant route delete shop.example.com --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "HOST[:PORT]|ID", add = completed(Things::Routes))]
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
    #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
    environment: EnvironmentRef,
    /// The name it answers to: exact, or a wildcard over one label; for raw TCP it is for DNS alone
    #[arg(long, value_name = "NAME", value_parser = values::pattern, add = completed(Things::Hostnames))]
    hostname: Option<HostPattern>,
    /// The port edges listen on; with --match-host 80
    #[arg(long, default_value_t = 443, default_value_if("match_host", "true", "80"), value_parser = values::port)]
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
        let (process_type, port) = values::pair(text, ':', FORM, values::port)?;
        Ok(Self { process_type, port })
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
            output.one(&create(&client, args).await?, |made| described(made, output))?;
        }
        RouteCommand::List { environment, hostname } => {
            let client = connect(globals).await?;
            let environment_id = match environment {
                Some(environment) => Some(lookup::environment_id(&client, environment).await?),
                None => None,
            };
            let hostname = hostname.clone();
            let query = RouteQuery { environment_id, hostname, ..RouteQuery::default() };
            output.list(&lookup::routes(&client, query).await?, |found| listing(found, output))?;
        }
        RouteCommand::Show { route } => {
            let client = connect(globals).await?;
            let id = lookup::route_id(&client, route).await?;
            output.one(&client.route(id).await?.value, |found| described(found, output))?;
        }
        RouteCommand::Update { route, change } => {
            let client = connect(globals).await?;
            output.one(&update(&client, route, change).await?, |made| described(made, output))?;
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
    match (lookup::create(send).await, &args.hostname) {
        (Err(ClientError::Problem(problem)), Some(hostname))
            if problem.code == "hostname-unproved" =>
        {
            Err(unproved(client, environment, args, hostname, problem).await?)
        }
        (made, _) => Ok(made?.value),
    }
}

/// What is left to do for a hostname before it can have a route.
async fn unproved(
    client: &Client,
    id: EnvironmentId,
    args: &CreateArgs,
    hostname: &HostPattern,
    problem: Box<Problem>,
) -> Result<Failure, Failure> {
    let claims = lookup::hostnames(client, id).await?;
    let is_claimed = claims.iter().any(|claim| claim.hostname == *hostname);
    let (environment, quoted) = (&args.environment, quoted(hostname));
    let detail = if is_claimed {
        format!(
            "hostname \"{hostname}\" is claimed and not proved yet; publish the TXT record that \
             `sextant hostname list {environment}` shows, then run `sextant hostname verify \
             {environment} {quoted}`"
        )
    } else {
        format!(
            "hostname \"{hostname}\" is not claimed by {environment}; run `sextant hostname claim \
             {environment} {quoted}`"
        )
    };
    Ok(Failure::Explained { problem, detail })
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

fn listing(routes: &[Route], output: &Output) -> String {
    let rows = routes.iter().map(|route| {
        let cells = vec![
            or_dash(route.hostname.as_ref()),
            route.listen_port.to_string(),
            route.environment.clone(),
            target(route),
            format!("{}/{}", route.status.healthy, route.status.backends),
            protocol(route),
            output.moments.age(route.created_at),
            route.id.to_string(),
        ];
        Row::marked(cells, route.status.healthy == 0)
    });
    let age = format!("+{}", output.moments.title("created at"));
    let header = ["hostname", "port", "environment", "to", "healthy", "+protocol", &age, "+id"];
    output.table(&header, rows)
}

fn described(route: &Route, output: &Output) -> String {
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
        ("created at", output.moments.full(route.created_at)),
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
            (
                "web:https",
                "\"https\" is not a port; give a number from 1 to 65535; write a process",
            ),
            ("web:0", "\"0\" is not a port"),
            ("web:99999", "\"99999\" is not a port"),
            ("web:", "\"\" is not a port"),
            (":80", "has 0 characters"),
            ("w_b:80", "contains '_'"),
        ] {
            let error = bad.parse::<Target>().expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
