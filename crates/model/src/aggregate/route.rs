//! Routes: created, changed, moved with their hostname, deleted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, IngressRefusal, Refusal},
    event::{
        AggregateKind, EventBody, Holder, RouteChanged, RouteCreated, RouteDeleted, RouteMoved,
    },
    hostname::HostPattern,
    id::{EnvironmentId, OrgId},
    name::DnsLabel,
    port::PortPolicy,
    routing::{Endpoint, HealthSource, ProtocolHint, table::ListenerKind},
};

use super::EnvironmentState;

/// The only port on which the Host of a request tells routes apart.
const HTTP: u16 = 80;
/// Ports of the shared addresses that belong to all environments, each told apart in one way only:
/// a route that had one for itself would take it from everybody.
const SHARED: [(u16, ListenerKind); 2] = [(HTTP, ListenerKind::Http), (443, ListenerKind::Tls)];

/// A route as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteState {
    route: Option<RouteCreated>,
    deleted: bool,
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteWish {
    /// The name it answers to.
    pub hostname: Option<HostPattern>,
    /// The port edges listen on.
    pub listen_port: u16,
    /// How connections are told apart and carried.
    pub protocol_hint: ProtocolHint,
    /// Told apart by the Host of the first HTTP request.
    pub match_host: bool,
    /// Where it is reached from outside.
    pub endpoint: Endpoint,
    /// Whether it makes no sense without IPv4.
    pub ipv4_required: bool,
    /// Who answers, and how.
    pub backend: Backend,
}

/// The part of a route that may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Which process type of the environment answers.
    pub process_type: DnsLabel,
    /// On which port of its workloads.
    pub port: u16,
    /// Whether a backend is first told who is connecting.
    pub proxy_protocol: bool,
    /// What decides whether a backend may be used.
    pub health_source: HealthSource,
}

/// The environment a route is to lead to, with what the rules need to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Which environment.
    pub id: EnvironmentId,
    /// The environment itself.
    pub state: &'a EnvironmentState,
    /// ORG/APP/ENVIRONMENT, for people.
    pub path: &'a str,
    /// Process types of its workloads and of its newest release.
    pub process_types: &'a BTreeSet<DnsLabel>,
    /// Which ports are open to whom.
    pub policy: &'a PortPolicy,
}

impl RouteState {
    /// Creates a route. Whose the hostname is and whether the port is free is decided where it is
    /// kept: by claims.
    pub fn create(wish: RouteWish, target: &Target<'_>) -> Result<EventBody, Refusal> {
        let live = target.state.live()?;
        check_reserved(&wish)?;
        check_add_on(&wish, target)?;
        check_names(&wish)?;
        check_port(wish.listen_port, target)?;
        check_shared(&wish)?;
        check_backend(&wish.backend, target)?;
        let Backend { process_type, port, proxy_protocol, health_source } = wish.backend;
        Ok(EventBody::RouteCreated(RouteCreated {
            org_id: live.org_id,
            environment_id: target.id,
            network_id: live.network_id,
            hostname: wish.hostname,
            listen_port: wish.listen_port,
            protocol_hint: wish.protocol_hint,
            match_host: wish.match_host,
            backend_process_type: process_type,
            backend_port: port,
            proxy_protocol,
            ipv4_required: wish.ipv4_required,
            health_source,
            endpoint: wish.endpoint,
        }))
    }

    /// What has to be read of its connections.
    pub fn listener_kind(route: &RouteCreated) -> ListenerKind {
        kind(route.protocol_hint, route.match_host)
    }

    /// What the route is now.
    pub fn live(&self) -> Result<&RouteCreated, Refusal> {
        self.route.as_ref().filter(|_| !self.deleted).ok_or(Refusal::NotFound(AggregateKind::Route))
    }

    /// The part of it that may change, as it is.
    pub fn backend(&self) -> Result<Backend, Refusal> {
        let route = self.live()?;
        Ok(Backend {
            process_type: route.backend_process_type.clone(),
            port: route.backend_port,
            proxy_protocol: route.proxy_protocol,
            health_source: route.health_source,
        })
    }

    /// Changes who answers and how; nothing to do if it is so already.
    pub fn change(
        &self,
        backend: Backend,
        target: &Target<'_>,
    ) -> Result<Option<EventBody>, Refusal> {
        let route = self.live()?;
        if self.backend()? == backend {
            return Ok(None);
        }
        check_backend(&backend, target)?;
        Ok(Some(EventBody::RouteChanged(RouteChanged {
            org_id: route.org_id,
            environment_id: Some(route.environment_id),
            network_id: route.network_id,
            backend_process_type: backend.process_type,
            backend_port: backend.port,
            proxy_protocol: backend.proxy_protocol,
            health_source: backend.health_source,
        })))
    }

    /// Goes with its hostname to another environment, which must be able to answer as this one did.
    pub fn move_to(&self, target: &Target<'_>) -> Result<EventBody, Refusal> {
        let route = self.live()?;
        let live = target.state.live()?;
        if live.network_id != route.network_id {
            return Err(IngressRefusal::NetworksDiffer(target.path.to_owned()).into());
        }
        check_port(route.listen_port, target)?;
        check_backend(&self.backend()?, target)?;
        Ok(EventBody::RouteMoved(RouteMoved {
            network_id: route.network_id,
            from: Some(Holder { org_id: route.org_id, environment_id: route.environment_id }),
            to: Some(RouteCreated {
                org_id: live.org_id,
                environment_id: target.id,
                ..route.clone()
            }),
        }))
    }

    /// Removes it.
    pub fn delete(&self) -> Result<EventBody, Refusal> {
        let route = self.live()?;
        Ok(EventBody::RouteDeleted(RouteDeleted {
            org_id: route.org_id,
            environment_id: route.environment_id,
            network_id: route.network_id,
        }))
    }

    /// Whose it is, if it still is.
    pub fn owner(&self) -> Result<OrgId, Refusal> {
        Ok(self.live()?.org_id)
    }
}

fn check_reserved(wish: &RouteWish) -> Result<(), Refusal> {
    if wish.protocol_hint == ProtocolHint::HttpTerminate {
        return Err(IngressRefusal::HintReserved(wish.protocol_hint).into());
    }
    if wish.endpoint == Endpoint::SharedIpv4Pool {
        return Err(IngressRefusal::EndpointReserved(wish.endpoint).into());
    }
    Ok(())
}

fn check_add_on(wish: &RouteWish, target: &Target<'_>) -> Result<(), Refusal> {
    let field = match (wish.endpoint, wish.ipv4_required) {
        (Endpoint::DedicatedIpv4, _) => "endpoint \"dedicated_ipv4\"",
        (_, true) => "ipv4_required true",
        _ => return Ok(()),
    };
    Err(IngressRefusal::AddOnNeeded { field, environment: target.path.to_owned() }.into())
}

fn check_names(wish: &RouteWish) -> Result<(), Refusal> {
    if wish.protocol_hint == ProtocolHint::TlsPassthrough && wish.hostname.is_none() {
        return Err(IngressRefusal::HostnameNeeded(wish.protocol_hint).into());
    }
    let misfit = match wish {
        RouteWish { match_host: false, .. } => return Ok(()),
        RouteWish { protocol_hint: ProtocolHint::TlsPassthrough, .. } => {
            "protocol_hint \"tls_passthrough\""
        }
        RouteWish { hostname: None, .. } => "a route without hostname",
        RouteWish { listen_port: HTTP, .. } => return Ok(()),
        _ => "another listen_port",
    };
    Err(IngressRefusal::MatchHost(misfit).into())
}

fn kind(hint: ProtocolHint, match_host: bool) -> ListenerKind {
    match hint {
        ProtocolHint::TlsPassthrough | ProtocolHint::HttpTerminate => ListenerKind::Tls,
        ProtocolHint::TcpRaw if match_host => ListenerKind::Http,
        ProtocolHint::TcpRaw => ListenerKind::Raw,
    }
}

fn check_shared(wish: &RouteWish) -> Result<(), Refusal> {
    let shared = SHARED.iter().find(|(port, _)| *port == wish.listen_port);
    match shared {
        Some((port, needed)) if *needed != kind(wish.protocol_hint, wish.match_host) => {
            Err(IngressRefusal::PortShared(*port, *needed).into())
        }
        _ => Ok(()),
    }
}

fn check_port(port: u16, target: &Target<'_>) -> Result<(), Refusal> {
    let allowed = target.policy.check(port, target.state.grants());
    allowed.map_err(|refused| IngressRefusal::Port(refused).into())
}

fn check_backend(backend: &Backend, target: &Target<'_>) -> Result<(), Refusal> {
    if backend.port == 0 {
        return Err(IngressRefusal::BackendPort.into());
    }
    if !target.process_types.contains(&backend.process_type) {
        return Err(IngressRefusal::ProcessTypeUnknown {
            given: backend.process_type.clone(),
            environment: target.path.to_owned(),
            known: target.process_types.iter().cloned().collect(),
        }
        .into());
    }
    Ok(())
}

impl Aggregate for RouteState {
    const KIND: AggregateKind = AggregateKind::Route;

    fn apply(&mut self, event: &EventBody) {
        if let EventBody::RouteCreated(created) = event {
            self.route = Some(created.clone());
        }
        let Some(route) = &mut self.route else { return };
        match event {
            EventBody::RouteChanged(changed) => {
                route.backend_process_type = changed.backend_process_type.clone();
                route.backend_port = changed.backend_port;
                route.proxy_protocol = changed.proxy_protocol;
                route.health_source = changed.health_source;
            }
            EventBody::RouteMoved(RouteMoved { to: Some(to), .. }) => *route = to.clone(),
            EventBody::RouteDeleted(_) => self.deleted = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
