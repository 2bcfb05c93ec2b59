//! `GET /v1/routes/explain`: what the edges do with a connection, and why.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::{Json as Answered, extract::State};
use sextant_api::{
    Problem,
    resource::{
        edge::Edge,
        route::{ExplainedEdge, ListenerKind, Route, RouteExplanation},
    },
};
use sextant_model::{
    AggregateKind, DnsLabel, Hostname,
    routing::table::{self, NoRoute},
};
use sextant_store::read::{Candidates, PageRequest};

use crate::{
    app::App,
    auth::{OrgReader, Scope},
    error::ApiError,
    extract::Query,
};

/// Most edges that are named.
const MOST_EDGES: u32 = 1000;

/// The connection to explain.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// The name it asks for; absent if it gives none.
    #[param(max_length = 254)]
    pub host: Option<String>,
    /// The port it arrives at; 443 if absent.
    #[param(minimum = 1, maximum = 65535)]
    pub port: Option<u16>,
    /// Where it comes from. Said again in the answer; limits by source are the edge's to explain.
    #[param(value_type = Option<String>)]
    pub from: Option<IpAddr>,
}

/// Explains what the edges do with a connection, as far as the log was projected.
#[utoipa::path(get, path = "/v1/routes/explain", tag = "ingress", params(ExplainQuery),
    responses((status = 200, body = RouteExplanation), (status = "4XX", body = Problem)))]
pub async fn explain(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Query(query): Query<ExplainQuery>,
) -> Result<Answered<RouteExplanation>, ApiError> {
    let port = query.port.unwrap_or(443);
    if port == 0 {
        return Err(ApiError::invalid("port 0 is no port; give one from 1 to 65535"));
    }
    let host = query.host.as_deref().filter(|host| !host.is_empty()).map(Hostname::new);
    let host = host.transpose().map_err(|error| ApiError::invalid(format!("host: {error}")))?;
    let org = scope.limit(None)?;
    let (cursor, networks) = app.store.route_candidates(port, host.as_ref(), org).await?;
    let verdicts: Vec<_> =
        networks.iter().filter_map(|found| decide(found, port, host.as_ref(), scope)).collect();
    let reason = reasons(&verdicts, port, host.as_ref(), scope);
    // Where several networks have routes on the port, the one that answers.
    let answers = |verdict: &&Verdict<'_>| matches!(verdict.end, End::Route(_));
    let chosen = verdicts.iter().find(answers).or_else(|| verdicts.first());
    let listener = chosen.map(|verdict| verdict.listener);
    let route = chosen.and_then(|verdict| match verdict.end {
        End::Route(route) => Some(route.clone()),
        End::Others | End::Refused(_) => None,
    });
    let revision = cursor.event_id;
    let edges = match scope {
        Scope::Platform => edges(&app, revision, route.as_ref()).await?,
        Scope::Org(_) => vec![],
    };
    let host = host.map(|host| host.to_string());
    let from = query.from;
    Ok(Answered(RouteExplanation { host, port, from, revision, listener, route, reason, edges }))
}

/// What the edges of one network do.
struct Verdict<'f> {
    network: &'f DnsLabel,
    listener: ListenerKind,
    end: End<'f>,
}

/// Where a connection ends.
enum End<'f> {
    Route(&'f Route),
    /// At a route that whoever asks may not know of.
    Others,
    Refused(NoRoute),
}

/// Asks the table of a network's edges; `None` if none of them listens on the port.
fn decide<'f>(
    found: &'f Candidates,
    port: u16,
    host: Option<&Hostname>,
    scope: Scope,
) -> Option<Verdict<'f>> {
    let local = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
    let table = found.table.listener(local)?;
    let listener = match table.kind() {
        table::ListenerKind::Raw => ListenerKind::Raw,
        table::ListenerKind::Tls => ListenerKind::Tls,
        table::ListenerKind::Http => ListenerKind::Http,
    };
    let id = match (listener, host) {
        (ListenerKind::Raw, _) | (_, None) => table.without_name(),
        (_, Some(host)) => table.by_name(host.as_str()),
    };
    let route = id.map(|id| found.routes.iter().find(|route| route.id == *id));
    let end = match route {
        Ok(Some(route)) if scope.check(route.org_id, AggregateKind::Route).is_ok() => {
            End::Route(route)
        }
        Ok(_) => End::Others,
        Err(reason) => End::Refused(reason),
    };
    Some(Verdict { network: &found.network, listener, end })
}

fn reasons(verdicts: &[Verdict<'_>], port: u16, host: Option<&Hostname>, scope: Scope) -> String {
    match (verdicts, scope) {
        ([], Scope::Platform) => {
            format!("no route listens on port {port}: nobody answers there")
        }
        ([], Scope::Org(_)) => format!(
            "no route listens on port {port} in a network of this org: nobody answers there"
        ),
        ([only], _) => reason(only, port, host, scope),
        (several, _) => {
            let each = several.iter().map(|verdict| {
                format!("in network \"{}\" {}", verdict.network, reason(verdict, port, host, scope))
            });
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// An org is not told what belongs to others, nor that a name does.
fn reason(verdict: &Verdict<'_>, port: u16, host: Option<&Hostname>, scope: Scope) -> String {
    let told = match verdict.listener {
        ListenerKind::Raw => "the port belongs to one route, whatever the connection says",
        ListenerKind::Tls => "the server name of the ClientHello decides",
        ListenerKind::Http => "the Host of the first request decides",
    };
    let named = host.filter(|_| verdict.listener != ListenerKind::Raw);
    match (&verdict.end, named, scope) {
        (End::Route(route), ..) => reason_of_route(route, told, host),
        (End::Refused(NoRoute::NameNeeded), ..) => format!(
            "{told}; without a name it is refused, because more than one route is on port {port}"
        ),
        (_, Some(host), Scope::Org(_)) => format!(
            "{told}, and no route of this org on port {port} has the name \"{host}\": this org never sees it"
        ),
        (_, Some(host), Scope::Platform) => {
            format!("{told}, and no route on port {port} has the name \"{host}\": it is refused")
        }
        (End::Others, None, _) => {
            format!("{told}, and the one on port {port} is another org's: this org never sees it")
        }
        (End::Refused(NoRoute::UnknownName), None, _) => {
            format!("{told}, and no route fits: it is refused")
        }
    }
}

fn reason_of_route(route: &Route, told: &str, host: Option<&Hostname>) -> String {
    let matched = match (&route.hostname, host) {
        (Some(pattern), Some(host)) if pattern.is_wildcard() => {
            format!("\"{host}\" is covered by \"{pattern}\"")
        }
        (Some(pattern), Some(_)) => format!("\"{pattern}\" has a route"),
        (Some(pattern), None) => format!("\"{pattern}\" is the only route there"),
        (None, _) => "it has a route".to_owned(),
    };
    let status = &route.status;
    let end = match (status.backends, status.healthy) {
        (0, _) => "no workload of its process type is there: it is closed".to_owned(),
        (all, 0) => format!("none of its {all} workloads is healthy: it is closed"),
        (all, healthy) => format!("{healthy} of its {all} workloads are healthy"),
    };
    let (environment, process) = (&route.environment, &route.backend_process_type);
    format!("{told}; {matched}: it goes to \"{process}\" of environment \"{environment}\"; {end}")
}

async fn edges(
    app: &App,
    revision: i64,
    route: Option<&Route>,
) -> Result<Vec<ExplainedEdge>, ApiError> {
    let page = PageRequest { after: None, limit: MOST_EDGES };
    let edges = app.store.edges(page, app.now()).await?.items;
    let network = route.map(|route| route.network_id);
    let concerned = edges.into_iter().filter(|edge| network.is_none_or(|id| id == edge.network_id));
    Ok(concerned.map(|edge| explained(edge, revision, route)).collect())
}

fn explained(edge: Edge, revision: i64, route: Option<&Route>) -> ExplainedEdge {
    let refused = edge.report.iter().flat_map(|report| &report.refused);
    let mut refused = refused.filter(|refused| route.is_some_and(|r| r.id == refused.route_id));
    let due = edge.newest.min(revision);
    ExplainedEdge {
        node_id: edge.node_id,
        name: edge.name,
        revision: edge.revision,
        in_sync: edge.revision.is_some_and(|revision| revision >= due),
        refused: refused.next().map(|refused| refused.reason.clone()),
    }
}
