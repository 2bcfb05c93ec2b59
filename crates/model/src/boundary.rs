//! What a node has to know of the environments it runs: whose workloads may talk to its own, and
//! which of their ports routes lead to. The fold of events and the snapshot form (ADR 0016).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    event::{Event, EventBody, RouteCreated, WorkloadPlaced},
    id::{EnvironmentId, NetworkId, NodeId, RouteId, WorkloadId},
    name::DnsLabel,
    routing::HealthSource,
};

/// The environments that one node runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Boundary {
    /// The node.
    pub node_id: NodeId,
    /// Its network.
    pub network_id: NetworkId,
    /// Every environment with a workload on the node.
    #[schema(value_type = BTreeMap<uuid::Uuid, EnvironmentBoundary>)]
    pub environments: BTreeMap<EnvironmentId, EnvironmentBoundary>,
    /// Environments whose first workload here was placed after the snapshot: what else belongs to
    /// them only another snapshot can say.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<EnvironmentId>,
}

/// One environment, as much of it as a node needs that runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentBoundary {
    /// ORG/APP/ENVIRONMENT.
    pub path: String,
    /// Its workloads on every node that have not been released.
    #[schema(value_type = BTreeMap<uuid::Uuid, BoundaryWorkload>)]
    pub workloads: BTreeMap<WorkloadId, BoundaryWorkload>,
    /// Where its routes lead.
    #[schema(value_type = BTreeMap<uuid::Uuid, BoundaryRoute>)]
    pub routes: BTreeMap<RouteId, BoundaryRoute>,
}

/// A workload of an environment that the node runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BoundaryWorkload {
    /// Where it runs.
    pub node_id: NodeId,
    /// What it runs.
    pub process_type: DnsLabel,
    /// Its own address.
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
    /// Whether it only waits for the connections to it to end.
    #[serde(default)]
    pub withdrawn: bool,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BoundaryRoute {
    /// To the workloads of this process type.
    pub process_type: DnsLabel,
    /// The TCP ports that edges connect to: the backend's and that of the health check.
    pub ports: BTreeSet<u16>,
}

impl BoundaryRoute {
    /// The ports of a backend with this health source.
    pub fn new(process_type: DnsLabel, port: u16, health: HealthSource) -> Self {
        let checked = match health {
            HealthSource::Tcp { port } => port,
            HealthSource::None => None,
        };
        Self { process_type, ports: checked.into_iter().chain([port]).collect() }
    }

    fn of(route: &RouteCreated) -> Self {
        Self::new(route.backend_process_type.clone(), route.backend_port, route.health_source)
    }
}

impl Boundary {
    /// Takes in the next event; whether it changed anything. Idempotent.
    pub fn apply(&mut self, event: &Event) -> bool {
        let (route_id, workload_id) = (RouteId(event.aggregate_id), WorkloadId(event.aggregate_id));
        match &event.body {
            EventBody::WorkloadPlaced(placed) if placed.network_id == self.network_id => {
                self.place(workload_id, placed)
            }
            EventBody::WorkloadWithdrawn(body) => {
                let environment = self.environments.get_mut(&body.environment_id);
                let workload = environment.and_then(|found| found.workloads.get_mut(&workload_id));
                workload.is_some_and(|workload| !std::mem::replace(&mut workload.withdrawn, true))
            }
            EventBody::WorkloadReleased(body) => self.release(body.environment_id, workload_id),
            EventBody::RouteCreated(route) => self.publish(route_id, route),
            EventBody::RouteChanged(changed) => {
                let mut routes = self.environments.values_mut().flat_map(|e| e.routes.iter_mut());
                let Some((_, route)) = routes.find(|(id, _)| **id == route_id) else {
                    return false;
                };
                let now = BoundaryRoute::new(
                    changed.backend_process_type.clone(),
                    changed.backend_port,
                    changed.health_source,
                );
                std::mem::replace(route, now.clone()) != now
            }
            EventBody::RouteMoved(moved) => {
                let left = self.unpublish(route_id);
                moved.to.as_ref().is_some_and(|to| self.publish(route_id, to)) || left
            }
            EventBody::RouteDeleted(_) => self.unpublish(route_id),
            _ => false,
        }
    }

    fn place(&mut self, workload_id: WorkloadId, placed: &WorkloadPlaced) -> bool {
        let Some(environment) = self.environments.get_mut(&placed.environment_id) else {
            let here = placed.node_id == self.node_id;
            return here && self.missing.insert(placed.environment_id);
        };
        let workload = BoundaryWorkload {
            node_id: placed.node_id,
            process_type: placed.process_type.clone(),
            address: placed.address,
            withdrawn: false,
        };
        let known = environment.workloads.entry(workload_id);
        let new = matches!(known, std::collections::btree_map::Entry::Vacant(_));
        known.or_insert(workload);
        new
    }

    fn release(&mut self, environment_id: EnvironmentId, workload_id: WorkloadId) -> bool {
        let Some(environment) = self.environments.get_mut(&environment_id) else { return false };
        let gone = environment.workloads.remove(&workload_id).is_some();
        if !environment.workloads.values().any(|workload| workload.node_id == self.node_id) {
            self.environments.remove(&environment_id);
        }
        gone
    }

    fn publish(&mut self, route_id: RouteId, route: &RouteCreated) -> bool {
        let Some(environment) = self.environments.get_mut(&route.environment_id) else {
            return false;
        };
        let now = BoundaryRoute::of(route);
        environment.routes.insert(route_id, now.clone()) != Some(now)
    }

    fn unpublish(&mut self, route_id: RouteId) -> bool {
        self.environments.values_mut().any(|found| found.routes.remove(&route_id).is_some())
    }
}

#[cfg(test)]
pub(crate) mod tests;
