//! Hostnames, routes and edges.

use std::{fmt, str::FromStr};

use sextant_api::{
    Client,
    client::RouteQuery,
    resource::{edge::Edge, hostname::EnvironmentHostname, port::PortGrant, route::Route},
};
use sextant_model::{EnvironmentId, HostPattern, RouteId};

use super::{all, id, one, page};
use crate::exit::Failure;

/// A route: its id, or the hostname it answers to, with the port if there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteRef {
    /// By id.
    Id(RouteId),
    /// By what it answers to.
    Name(HostPattern, Option<u16>),
}

impl FromStr for RouteRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(id) = id(text) {
            return Ok(Self::Id(RouteId(id)));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => match port.parse() {
                Ok(port) if port != 0 => (host, Some(port)),
                _ => {
                    return Err(format!(
                        "port \"{port}\" is none; give HOST[:PORT], or the route's id"
                    ));
                }
            },
            None => (text, None),
        };
        HostPattern::new(host)
            .map(|host| Self::Name(host, port))
            .map_err(|error| format!("{error}; a route is named HOST[:PORT], or by its id"))
    }
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(host, Some(port)) => write!(f, "{host}:{port}"),
            Self::Name(host, None) => host.fmt(f),
        }
    }
}

/// Every route, as `query` filters them.
pub async fn routes(client: &Client, query: RouteQuery) -> Result<Vec<Route>, Failure> {
    let query = |after| RouteQuery { page: page(after), ..query.clone() };
    all(async |after| client.routes(&query(after)).await).await
}

/// The hostnames of an environment.
pub async fn hostnames(
    client: &Client,
    id: EnvironmentId,
) -> Result<Vec<EnvironmentHostname>, Failure> {
    all(async |after| client.hostnames(id, &page(after)).await).await
}

/// The ports granted to an environment. They come in one piece.
pub async fn port_grants(client: &Client, id: EnvironmentId) -> Result<Vec<PortGrant>, Failure> {
    Ok(client.port_grants(id).await?.items)
}

/// Every edge.
pub async fn edges(client: &Client) -> Result<Vec<Edge>, Failure> {
    all(async |after| client.edges(&page(after)).await).await
}

/// The route with this id, hostname or hostname and port.
pub async fn route_id(client: &Client, wanted: &RouteRef) -> Result<RouteId, Failure> {
    let (host, port) = match wanted {
        RouteRef::Id(id) => return Ok(*id),
        RouteRef::Name(host, port) => (host, *port),
    };
    let query = RouteQuery { hostname: Some(host.clone()), ..RouteQuery::default() };
    let routes = routes(client, query).await?;
    let named = routes.iter().filter(|route| port.is_none_or(|port| route.listen_port == port));
    let candidates =
        named.map(|route| (route.id, format!("{} on port {}", route.id, route.listen_port)));
    one("route", &wanted.to_string(), candidates.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_named_by_id_or_by_what_it_answers_to() {
        for text in
            ["0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e", "shop.example.com", "*.example.com:8443"]
        {
            assert_eq!(text.parse::<RouteRef>().expect(text).to_string(), text);
        }
        for (bad, why) in [
            ("shop.example.com:", "port \"\""),
            ("shop.example.com:0", "port \"0\""),
            ("shop.example.com:https", "HOST[:PORT]"),
            ("a_b", "contains '_'"),
            ("", "HOST[:PORT]"),
        ] {
            let error = bad.parse::<RouteRef>().expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
