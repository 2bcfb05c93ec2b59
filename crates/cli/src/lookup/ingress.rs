//! Hostnames, routes and edges.

use std::{fmt, str::FromStr};

use sextant_api::{
    Client,
    client::RouteQuery,
    resource::{edge::Edge, hostname::EnvironmentHostname, port::PortGrant, route::Route},
};
use sextant_model::{EnvironmentId, HostPattern, RouteId};

use super::{Candidate, Kind, all, find, id, id_beginning, page};
use crate::{exit::Failure, named::Named, values};

const ROUTE: Kind =
    Kind { noun: "route", given: "HOST[:PORT], :PORT or its id", list: "sextant route list" };

/// A route: its id, or the hostname it answers to, with the port if there are several; or the port
/// alone of one that has no hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteRef {
    /// By id.
    Id(RouteId),
    /// By the beginning of its id.
    IdBeginning(String),
    /// By what it answers to.
    Name(Option<HostPattern>, Option<u16>),
}

impl FromStr for RouteRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "a route is given as HOST[:PORT], as :PORT, or by its id";
        if let Some(id) = id(text) {
            return Ok(Self::Id(RouteId(id)));
        }
        match (values::host_and_port(text, FORM, HostPattern::new), id_beginning(text)) {
            (Ok((host, port)), _) => Ok(Self::Name(host, port)),
            // What ends with a hyphen is no hostname.
            (Err(_), Some(beginning)) => Ok(Self::IdBeginning(beginning)),
            (Err(error), None) => Err(error),
        }
    }
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::IdBeginning(text) => text.fmt(f),
            Self::Name(host, port) => {
                host.as_ref().map_or(Ok(()), |host| host.fmt(f))?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
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

/// The route with this id, hostname, port, or hostname and port.
pub async fn route_id(client: &Client, wanted: &RouteRef) -> Result<RouteId, Failure> {
    let (host, port) = match wanted {
        RouteRef::Id(id) => return Ok(*id),
        RouteRef::IdBeginning(_) => (None, None),
        RouteRef::Name(host, port) => (host.as_ref(), *port),
    };
    let is_named = |route: &Route| {
        matches!(wanted, RouteRef::Name(..))
            && route.hostname.as_ref() == host
            && port.is_none_or(|port| route.listen_port == port)
    };
    let text = wanted.to_string();
    let query = RouteQuery { hostname: host.cloned(), ..RouteQuery::default() };
    let mut found = routes(client, query).await?;
    // A word that is no route's hostname may be the beginning of an id.
    if !found.iter().any(is_named) && host.is_some() && id_beginning(&text).is_some() {
        found = routes(client, RouteQuery::default()).await?;
    }
    let candidates = found.iter().map(|route| {
        let shown = format!("{} of {}", route.name(), route.environment);
        Candidate::new(route.id, route.id.0, is_named(route), shown)
    });
    find(ROUTE, &text, candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_named_by_id_or_by_what_it_answers_to() {
        for text in [
            "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e",
            "0198f7a2-",
            "shop.example.com",
            "*.example.com:8443",
            ":25",
        ] {
            assert_eq!(text.parse::<RouteRef>().expect(text).to_string(), text);
        }
        for (bad, why) in [
            ("shop.example.com:", "\"\" is not a port"),
            ("shop.example.com:0", "\"0\" is not a port"),
            ("shop.example.com:https", "HOST[:PORT]"),
            ("https://shop.example.com/", "is a URL; give shop.example.com"),
            ("a_b", "contains '_'"),
            ("", "HOST[:PORT]"),
        ] {
            let error = bad.parse::<RouteRef>().expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
