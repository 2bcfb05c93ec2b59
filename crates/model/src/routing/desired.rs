//! What an edge must serve: the fold of route and workload events, and the snapshot an edge
//! bootstraps from.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{HealthSource, Matching, ProtocolHint, RouteKey, ServedRoute};
use crate::{
    address::{MESH_LENGTHS, check_mesh_prefix},
    aggregate::node::check_endpoint,
    event::{Event, EventBody, RouteCreated, RouteMoved, Skipped, WorkloadHealth, WorkloadPlaced},
    hostname::HostPattern,
    id::{EnvironmentId, NetworkId, RouteId, WorkloadId},
    name::DnsLabel,
    prefix::Prefix,
};

/// A route as edges need to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DesiredRoute {
    /// Which route.
    pub route_id: RouteId,
    /// Which environment answers.
    pub environment_id: EnvironmentId,
    /// The name it answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<HostPattern>,
    /// The port edges listen on.
    pub listen_port: u16,
    /// How connections are told apart and carried.
    pub protocol_hint: ProtocolHint,
    /// Told apart by the Host of the first HTTP request.
    #[serde(default)]
    pub match_host: bool,
    /// Which process type of the environment answers.
    pub backend_process_type: DnsLabel,
    /// On which port of its workloads.
    pub backend_port: u16,
    /// Whether a backend is first told who is connecting.
    pub proxy_protocol: bool,
    /// What decides whether a backend may be used.
    pub health_source: HealthSource,
}

/// A workload as edges need to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DesiredWorkload {
    /// Which workload.
    pub workload_id: WorkloadId,
    /// Which environment runs in it.
    pub environment_id: EnvironmentId,
    /// What it runs.
    pub process_type: DnsLabel,
    /// Its own address.
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
    /// Whether it may be given connections.
    pub health: WorkloadHealth,
}

/// The snapshot, as it travels and as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoutingSnapshot {
    /// The network whose environments are served.
    pub network_id: NetworkId,
    /// Every route.
    pub routes: Vec<DesiredRoute>,
    /// Every workload that has not been withdrawn.
    pub workloads: Vec<DesiredWorkload>,
    /// Routes that were deleted lately. One missing here and above was not removed on purpose.
    pub deleted: BTreeSet<RouteId>,
    /// Workloads that were withdrawn lately, in the same sense.
    pub withdrawn: BTreeSet<WorkloadId>,
    /// Events since the snapshot that this version cannot read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
    /// The network's prefix, which every workload's address lies in; absent from control planes and
    /// files of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<Prefix>,
}

/// A workload that an edge must not send anything to, whoever says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("workload {workload_id} is left out: its address {address} is not one of the mesh")]
pub struct ForeignBackend {
    /// Which workload.
    pub workload_id: WorkloadId,
    /// Its address.
    pub address: Ipv6Addr,
}

/// Refuses what can be no workload's address: it must lie within the mesh where its prefix is known,
/// and where one of a mesh can be otherwise. Loopback, link-local, multicast and what stands for IPv4
/// lie in neither.
pub fn check_backend(
    workload_id: WorkloadId,
    address: Ipv6Addr,
    mesh: Option<Prefix>,
) -> Result<(), ForeignBackend> {
    let within = match mesh {
        Some(mesh) => check_mesh_prefix(mesh).is_ok() && mesh.contains(address.into()),
        None => {
            let host = Prefix::containing(address.into(), MESH_LENGTHS.1);
            host.is_some_and(|prefix| check_mesh_prefix(prefix).is_ok())
                && check_endpoint(SocketAddr::new(address.into(), 1)).is_ok()
        }
    };
    if within { Ok(()) } else { Err(ForeignBackend { workload_id, address }) }
}

/// A snapshot that would take away most of what is served without saying that this is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuspiciousRouting {
    /// Most routes.
    #[error(
        "the snapshot drops {vanished} of {current} routes without naming them as deleted; keeping the last good state"
    )]
    Routes {
        /// Routes that would vanish.
        vanished: usize,
        /// Routes now.
        current: usize,
    },
    /// Most workloads, and nothing in their place.
    #[error(
        "the snapshot drops {vanished} of {current} workloads without naming them as withdrawn or others in their place; keeping the last good state. If it is right, stop the edge, empty control_plane.state_dir and start it again"
    )]
    Workloads {
        /// Workloads that would vanish.
        vanished: usize,
        /// Workloads now.
        current: usize,
    },
}

/// What belongs together: routes to a process type, and the workloads that run it.
type Service = (EnvironmentId, DnsLabel);

/// The routes and workloads of one network at one point of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    network_id: NetworkId,
    routes: BTreeMap<RouteId, DesiredRoute>,
    workloads: BTreeMap<WorkloadId, DesiredWorkload>,
    routes_of: BTreeMap<Service, BTreeSet<RouteId>>,
    workloads_of: BTreeMap<Service, BTreeSet<WorkloadId>>,
    skipped: Option<Skipped>,
    mesh: Option<Prefix>,
    /// Workloads that are left out.
    foreign: BTreeMap<WorkloadId, ForeignBackend>,
}

impl DesiredRoute {
    /// The route as `route-created` describes it.
    pub fn created(route_id: RouteId, route: &RouteCreated) -> Self {
        Self {
            route_id,
            environment_id: route.environment_id,
            hostname: route.hostname.clone(),
            listen_port: route.listen_port,
            protocol_hint: route.protocol_hint,
            match_host: route.match_host,
            backend_process_type: route.backend_process_type.clone(),
            backend_port: route.backend_port,
            proxy_protocol: route.proxy_protocol,
            health_source: route.health_source,
        }
    }

    /// What an edge has to know of a connection to find this route; `None` for one that this
    /// version cannot serve.
    pub fn matching(&self) -> Option<Matching> {
        match (self.protocol_hint, &self.hostname) {
            (ProtocolHint::TlsPassthrough, Some(name)) => Some(Matching::Sni(name.clone())),
            (ProtocolHint::TcpRaw, Some(name)) if self.match_host => {
                Some(Matching::RequestHost(name.clone()))
            }
            // The name of a raw route is for DNS alone.
            (ProtocolHint::TcpRaw, _) => Some(Matching::Whole),
            (ProtocolHint::TlsPassthrough, None) | (ProtocolHint::HttpTerminate, _) => None,
        }
    }

    fn service(&self) -> Service {
        (self.environment_id, self.backend_process_type.clone())
    }
}

impl DesiredWorkload {
    fn placed(workload_id: WorkloadId, placed: &WorkloadPlaced) -> Self {
        Self {
            workload_id,
            environment_id: placed.environment_id,
            process_type: placed.process_type.clone(),
            address: placed.address,
            health: WorkloadHealth::Starting,
        }
    }

    fn service(&self) -> Service {
        (self.environment_id, self.process_type.clone())
    }
}

impl From<RoutingSnapshot> for Routing {
    fn from(snapshot: RoutingSnapshot) -> Self {
        let mut routing = Self::empty(snapshot.network_id);
        routing.mesh = snapshot.mesh;
        for route in snapshot.routes {
            routing.put_route(route);
        }
        for workload in snapshot.workloads {
            routing.put_workload(workload);
        }
        routing.skipped = snapshot.skipped;
        routing
    }
}

impl From<&Routing> for RoutingSnapshot {
    fn from(routing: &Routing) -> Self {
        Self {
            network_id: routing.network_id,
            routes: routing.routes.values().cloned().collect(),
            workloads: routing.workloads.values().cloned().collect(),
            deleted: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            skipped: routing.skipped.clone(),
            mesh: routing.mesh,
        }
    }
}

impl Routing {
    /// No routes yet.
    pub fn empty(network_id: NetworkId) -> Self {
        Self {
            network_id,
            routes: BTreeMap::new(),
            workloads: BTreeMap::new(),
            routes_of: BTreeMap::new(),
            workloads_of: BTreeMap::new(),
            skipped: None,
            mesh: None,
            foreign: BTreeMap::new(),
        }
    }

    /// Workloads that are left out, because the rules forbid their addresses.
    pub fn foreign(&self) -> impl Iterator<Item = &ForeignBackend> {
        self.foreign.values()
    }

    /// The network whose environments are served.
    pub fn network_id(&self) -> NetworkId {
        self.network_id
    }

    /// Every route, by id.
    pub fn routes(&self) -> &BTreeMap<RouteId, DesiredRoute> {
        &self.routes
    }

    /// Events since the snapshot that this version cannot read.
    pub fn skipped(&self) -> Option<&Skipped> {
        self.skipped.as_ref()
    }

    /// Takes in the next event and says which routes are no longer as they were. Idempotent.
    pub fn apply(&mut self, event: &Event) -> BTreeSet<RouteId> {
        Skipped::note(&mut self.skipped, event);
        let route_id = RouteId(event.aggregate_id);
        let workload_id = WorkloadId(event.aggregate_id);
        match &event.body {
            EventBody::RouteCreated(created) if created.network_id == self.network_id => {
                self.replace_route(DesiredRoute::created(route_id, created))
            }
            EventBody::RouteChanged(changed) => {
                let Some(mut route) = self.routes.get(&route_id).cloned() else {
                    return BTreeSet::new();
                };
                route.backend_process_type = changed.backend_process_type.clone();
                route.backend_port = changed.backend_port;
                route.proxy_protocol = changed.proxy_protocol;
                route.health_source = changed.health_source;
                self.replace_route(route)
            }
            EventBody::RouteMoved(RouteMoved { network_id, to: Some(to), .. })
                if *network_id == self.network_id =>
            {
                self.replace_route(DesiredRoute::created(route_id, to))
            }
            EventBody::RouteDeleted(_) => {
                if self.take_route(route_id) {
                    [route_id].into()
                } else {
                    BTreeSet::new()
                }
            }
            EventBody::WorkloadPlaced(placed) if placed.network_id == self.network_id => {
                self.replace_workload(DesiredWorkload::placed(workload_id, placed))
            }
            EventBody::WorkloadHealthChanged(changed) => {
                let Some(mut workload) = self.workloads.get(&workload_id).cloned() else {
                    return BTreeSet::new();
                };
                workload.health = changed.health;
                self.replace_workload(workload)
            }
            EventBody::WorkloadWithdrawn(_) | EventBody::WorkloadReleased(_) => {
                self.take_workload(workload_id)
            }
            _ => BTreeSet::new(),
        }
    }

    /// The route as an edge serves it on `address`; `None` if there is no such route, or none that
    /// this version can serve.
    pub fn served(&self, route_id: RouteId, address: IpAddr) -> Option<ServedRoute> {
        let route = self.routes.get(&route_id)?;
        Some(ServedRoute {
            key: RouteKey(route_id.to_string().into()),
            environment_id: Some(route.environment_id),
            listen: SocketAddr::new(address, route.listen_port),
            matching: route.matching()?,
            backends: self.backends(route),
            proxy_protocol: route.proxy_protocol,
            health_source: route.health_source,
            max_connections: None,
        })
    }

    fn backends(&self, route: &DesiredRoute) -> Vec<SocketAddr> {
        self.workloads_of
            .get(&route.service())
            .into_iter()
            .flatten()
            .filter_map(|workload| self.workloads.get(workload))
            .filter(|workload| workload.health == WorkloadHealth::Healthy)
            .map(|workload| SocketAddr::new(workload.address.into(), route.backend_port))
            .collect()
    }

    /// Refuses a successor that would take most routes away without naming them as deleted.
    pub fn check_shrink(&self, next: &RoutingSnapshot) -> Result<(), SuspiciousRouting> {
        let kept: BTreeSet<RouteId> = next.routes.iter().map(|route| route.route_id).collect();
        let gone = |id: &&RouteId| !kept.contains(id) && !next.deleted.contains(id);
        let (vanished, current) = (self.routes.keys().filter(gone).count(), self.routes.len());
        if vanished * 2 > current {
            return Err(SuspiciousRouting::Routes { vanished, current });
        }
        Ok(())
    }

    /// Refuses a successor of the same log that would take most workloads away without naming them as
    /// withdrawn. Workloads in whose place are others count as withdrawn: an edge may have slept
    /// through more deploys than a snapshot names. Another log, restored from a backup, may never have
    /// known them.
    pub fn check_workloads(&self, next: &RoutingSnapshot) -> Result<(), SuspiciousRouting> {
        let run: BTreeSet<Service> = next.workloads.iter().map(DesiredWorkload::service).collect();
        let gone = |workload: &&DesiredWorkload| {
            !next.withdrawn.contains(&workload.workload_id) && !run.contains(&workload.service())
        };
        let (vanished, current) =
            (self.workloads.values().filter(gone).count(), self.workloads.len());
        if vanished * 2 > current {
            return Err(SuspiciousRouting::Workloads { vanished, current });
        }
        Ok(())
    }

    fn replace_route(&mut self, route: DesiredRoute) -> BTreeSet<RouteId> {
        let route_id = route.route_id;
        if self.routes.get(&route_id) == Some(&route) {
            return BTreeSet::new();
        }
        self.take_route(route_id);
        self.put_route(route);
        [route_id].into()
    }

    fn put_route(&mut self, route: DesiredRoute) {
        self.routes_of.entry(route.service()).or_default().insert(route.route_id);
        self.routes.insert(route.route_id, route);
    }

    fn take_route(&mut self, route_id: RouteId) -> bool {
        let Some(route) = self.routes.remove(&route_id) else { return false };
        forget(&mut self.routes_of, &route.service(), route_id);
        true
    }

    fn replace_workload(&mut self, workload: DesiredWorkload) -> BTreeSet<RouteId> {
        let workload_id = workload.workload_id;
        if self.workloads.get(&workload_id) == Some(&workload) {
            return BTreeSet::new();
        }
        let mut touched = self.take_workload(workload_id);
        touched.extend(self.routes_to(&workload.service()));
        self.put_workload(workload);
        touched
    }

    fn put_workload(&mut self, workload: DesiredWorkload) {
        if let Err(foreign) = check_backend(workload.workload_id, workload.address, self.mesh) {
            self.foreign.insert(workload.workload_id, foreign);
            return;
        }
        self.workloads_of.entry(workload.service()).or_default().insert(workload.workload_id);
        self.workloads.insert(workload.workload_id, workload);
    }

    fn take_workload(&mut self, workload_id: WorkloadId) -> BTreeSet<RouteId> {
        self.foreign.remove(&workload_id);
        let Some(workload) = self.workloads.remove(&workload_id) else { return BTreeSet::new() };
        let service = workload.service();
        forget(&mut self.workloads_of, &service, workload_id);
        self.routes_to(&service)
    }

    fn routes_to(&self, service: &Service) -> BTreeSet<RouteId> {
        self.routes_of.get(service).cloned().unwrap_or_default()
    }
}

fn forget<T: Ord>(index: &mut BTreeMap<Service, BTreeSet<T>>, service: &Service, member: T) {
    if let Some(members) = index.get_mut(service) {
        members.remove(&member);
        if members.is_empty() {
            index.remove(service);
        }
    }
}

#[cfg(test)]
mod tests;
