//! Hostnames, ports, routes and edges.

use std::net::IpAddr;

use sextant_model::{EnvironmentId, HostPattern, OrgId, RouteId};

use super::{Call, Client, ClientError, PageQuery, Tagged};
use crate::{
    Frame,
    frame::{EventPage, StreamView},
    page::Page,
    resource::{
        edge::{Edge, EdgeReport},
        hostname::{EnvironmentHostname, HostnameMove, HostnameMoved, NewHostname},
        port::{NewPortGrant, NewPortPolicy, PortGrant, PortPolicy},
        route::{NewRoute, Route, RouteExplanation, RoutePatch},
    },
};

type Answer<T> = Result<T, ClientError>;

/// Which routes to list.
#[derive(Clone, Debug, Default)]
pub struct RouteQuery {
    /// Of this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Of this org.
    pub org_id: Option<OrgId>,
    /// With exactly this hostname.
    pub hostname: Option<HostPattern>,
    /// Which part of the list.
    pub page: PageQuery,
}

/// What to explain.
#[derive(Clone, Debug, Default)]
pub struct ExplainQuery {
    /// The name the connection asks for; none if it gives none.
    pub host: Option<String>,
    /// The port it arrives at; 443 if absent.
    pub port: Option<u16>,
    /// Where it comes from.
    pub from: Option<IpAddr>,
}

fn hostnames(environment: EnvironmentId) -> String {
    format!("/v1/environments/{environment}/hostnames")
}

/// A star may stand in a path as it is (RFC 3986 section 3.3).
fn hostname_at(environment: EnvironmentId, hostname: &HostPattern) -> String {
    format!("{}/{hostname}", hostnames(environment))
}

fn grants(environment: EnvironmentId) -> String {
    format!("/v1/environments/{environment}/port-grants")
}

fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in pairs {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    format!("{path}?{}", query.finish())
}

impl Client {
    /// `POST /v1/environments/{id}/hostnames`: claims it; owned at once where it needs no proof.
    pub async fn claim_hostname(
        &self,
        environment: EnvironmentId,
        new: &NewHostname,
        key: Option<&str>,
    ) -> Answer<EnvironmentHostname> {
        let call = Call::new(http::Method::POST, hostnames(environment));
        Ok(self.send(call.body(new).idempotency_key(key)).await?.value)
    }

    /// `GET /v1/environments/{id}/hostnames`.
    pub async fn hostnames(
        &self,
        environment: EnvironmentId,
        query: &PageQuery,
    ) -> Answer<Page<EnvironmentHostname>> {
        Ok(self.send(Call::get(query.path(&hostnames(environment)))).await?.value)
    }

    /// `POST /v1/environments/{id}/hostnames/{hostname}/verify`: asks DNS now.
    pub async fn verify_hostname(
        &self,
        environment: EnvironmentId,
        hostname: &HostPattern,
    ) -> Answer<EnvironmentHostname> {
        let path = format!("{}/verify", hostname_at(environment, hostname));
        Ok(self.send(Call::new(http::Method::POST, path).repeatable()).await?.value)
    }

    /// `POST /v1/environments/{id}/hostnames/{hostname}/move`: with every route that uses it.
    pub async fn move_hostname(
        &self,
        environment: EnvironmentId,
        hostname: &HostPattern,
        to: &HostnameMove,
        key: Option<&str>,
    ) -> Answer<HostnameMoved> {
        let path = format!("{}/move", hostname_at(environment, hostname));
        let call = Call::new(http::Method::POST, path);
        Ok(self.send(call.body(to).idempotency_key(key)).await?.value)
    }

    /// `DELETE /v1/environments/{id}/hostnames/{hostname}`.
    pub async fn release_hostname(
        &self,
        environment: EnvironmentId,
        hostname: &HostPattern,
    ) -> Answer<()> {
        let path = hostname_at(environment, hostname);
        self.send_empty(Call::new(http::Method::DELETE, path)).await
    }

    /// `GET /v1/port-policy`.
    pub async fn port_policy(&self) -> Answer<Tagged<PortPolicy>> {
        self.send(Call::get("/v1/port-policy")).await
    }

    /// `PUT /v1/port-policy`.
    pub async fn set_port_policy(
        &self,
        new: &NewPortPolicy,
        etag: Option<&str>,
    ) -> Answer<Tagged<PortPolicy>> {
        let call = Call::new(http::Method::PUT, "/v1/port-policy");
        self.send(call.body(new).if_match(etag)).await
    }

    /// `POST /v1/environments/{id}/port-grants`.
    pub async fn grant_port(
        &self,
        environment: EnvironmentId,
        new: &NewPortGrant,
        key: Option<&str>,
    ) -> Answer<PortGrant> {
        let call = Call::new(http::Method::POST, grants(environment));
        Ok(self.send(call.body(new).idempotency_key(key)).await?.value)
    }

    /// `GET /v1/environments/{id}/port-grants`: all of them.
    pub async fn port_grants(&self, environment: EnvironmentId) -> Answer<Page<PortGrant>> {
        Ok(self.send(Call::get(grants(environment))).await?.value)
    }

    /// `DELETE /v1/environments/{id}/port-grants/{port}`.
    pub async fn revoke_port_grant(&self, environment: EnvironmentId, port: u16) -> Answer<()> {
        let path = format!("{}/{port}", grants(environment));
        self.send_empty(Call::new(http::Method::DELETE, path)).await
    }

    /// `POST /v1/environments/{id}/routes`.
    pub async fn create_route(
        &self,
        environment: EnvironmentId,
        new: &NewRoute,
        key: Option<&str>,
    ) -> Answer<Tagged<Route>> {
        let path = format!("/v1/environments/{environment}/routes");
        let call = Call::new(http::Method::POST, path);
        self.send(call.body(new).idempotency_key(key)).await
    }

    /// `GET /v1/routes`.
    pub async fn routes(&self, query: &RouteQuery) -> Answer<Page<Route>> {
        let path = with_query(
            "/v1/routes",
            &[
                ("environment_id", query.environment_id.map(|id| id.to_string())),
                ("org_id", query.org_id.map(|id| id.to_string())),
                ("hostname", query.hostname.as_ref().map(HostPattern::to_string)),
                ("after", query.page.after.clone()),
                ("limit", query.page.limit.map(|limit| limit.to_string())),
            ],
        );
        Ok(self.send(Call::get(path)).await?.value)
    }

    /// `GET /v1/routes/{id}`.
    pub async fn route(&self, id: RouteId) -> Answer<Tagged<Route>> {
        self.send(Call::get(format!("/v1/routes/{id}"))).await
    }

    /// `PATCH /v1/routes/{id}`.
    pub async fn patch_route(
        &self,
        id: RouteId,
        patch: &RoutePatch,
        etag: &str,
    ) -> Answer<Tagged<Route>> {
        let call = Call::new(http::Method::PATCH, format!("/v1/routes/{id}"));
        self.send(call.body(patch).if_match(Some(etag))).await
    }

    /// `DELETE /v1/routes/{id}`.
    pub async fn delete_route(&self, id: RouteId, etag: Option<&str>) -> Answer<()> {
        let call = Call::new(http::Method::DELETE, format!("/v1/routes/{id}"));
        self.send_empty(call.if_match(etag)).await
    }

    /// `GET /v1/routes/explain`: what the edges do with a connection.
    pub async fn explain_route(&self, query: &ExplainQuery) -> Answer<RouteExplanation> {
        let path = with_query(
            "/v1/routes/explain",
            &[
                ("host", query.host.clone()),
                ("port", query.port.map(|port| port.to_string())),
                ("from", query.from.map(|from| from.to_string())),
            ],
        );
        Ok(self.send(Call::get(path)).await?.value)
    }

    /// `GET /v1/edges`.
    pub async fn edges(&self, query: &PageQuery) -> Answer<Page<Edge>> {
        Ok(self.send(Call::get(query.path("/v1/edges"))).await?.value)
    }

    /// `PUT /v1/edge/report`: what the edge that asks serves.
    pub async fn report_edge(&self, report: &EdgeReport) -> Answer<()> {
        let call = Call::new(http::Method::PUT, "/v1/edge/report").repeatable();
        self.send_empty(call.body(report)).await
    }

    /// `GET /v1/snapshot?view=…`.
    pub async fn snapshot_of(&self, view: StreamView) -> Answer<Frame> {
        let path = with_query("/v1/snapshot", &[("view", Some(view.as_str().into()))]);
        Ok(self.send(Call::get(path).snapshot()).await?.value)
    }

    /// `GET /v1/events?view=…`: at most `limit` events after the cursor.
    pub async fn events_of(
        &self,
        view: StreamView,
        after: Option<sextant_model::Cursor>,
        limit: Option<u32>,
    ) -> Answer<EventPage> {
        let path = with_query(
            "/v1/events",
            &[
                ("view", Some(view.as_str().into())),
                ("after", after.map(|cursor| cursor.to_string())),
                ("limit", limit.map(|limit| limit.to_string())),
            ],
        );
        Ok(self.send(Call::get(path)).await?.value)
    }
}
