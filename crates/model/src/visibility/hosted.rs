//! What a node sees besides its usual view: what happens to the environments it runs, from the
//! moment it runs them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Viewer, visible};
use crate::{
    event::{Event, EventBody, Holder},
    id::{EnvironmentId, NetworkId, NodeId, WorkloadId},
};

/// The environments that a node runs, as of the last event that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosted {
    node_id: NodeId,
    network_id: NetworkId,
    workloads: BTreeMap<EnvironmentId, BTreeSet<WorkloadId>>,
}

impl Hosted {
    /// Starts with the workloads on the node.
    pub fn new(
        node_id: NodeId,
        network_id: NetworkId,
        workloads: impl IntoIterator<Item = (EnvironmentId, WorkloadId)>,
    ) -> Self {
        let mut hosted = Self { node_id, network_id, workloads: BTreeMap::new() };
        for (environment, workload) in workloads {
            hosted.workloads.entry(environment).or_default().insert(workload);
        }
        hosted
    }

    /// The next event as the node may see it, or `None`. Events come in their order.
    pub fn see(&mut self, event: &Event) -> Option<Event> {
        let workload_id = WorkloadId(event.aggregate_id);
        if let EventBody::WorkloadPlaced(placed) = &event.body
            && placed.node_id == self.node_id
        {
            self.workloads.entry(placed.environment_id).or_default().insert(workload_id);
        }
        let viewer = Viewer::Node { node_id: self.node_id, network_id: self.network_id };
        let seen = visible(viewer, event).or_else(|| {
            self.concerns(event).then(|| {
                let mut event = event.clone();
                self.strike(&mut event.body);
                event
            })
        });
        if let EventBody::WorkloadReleased(released) = &event.body
            && let Some(workloads) = self.workloads.get_mut(&released.environment_id)
            && workloads.remove(&workload_id)
            && workloads.is_empty()
        {
            self.workloads.remove(&released.environment_id);
        }
        seen
    }

    fn runs(&self, environment: EnvironmentId) -> bool {
        self.workloads.contains_key(&environment)
    }

    /// The match is exhaustive on purpose: who adds an event decides.
    fn concerns(&self, event: &Event) -> bool {
        match &event.body {
            EventBody::WorkloadPlaced(body) => self.runs(body.environment_id),
            EventBody::WorkloadWithdrawn(body) => self.runs(body.environment_id),
            EventBody::WorkloadReleased(body) => self.runs(body.environment_id),
            EventBody::RouteCreated(body) => self.runs(body.environment_id),
            EventBody::RouteChanged(body) => body.environment_id.is_some_and(|id| self.runs(id)),
            EventBody::RouteMoved(body) => {
                body.from.is_some_and(|from| self.runs(from.environment_id))
                    || body.to.as_ref().is_some_and(|to| self.runs(to.environment_id))
            }
            EventBody::RouteDeleted(body) => self.runs(body.environment_id),
            EventBody::NetworkCreated(_)
            | EventBody::NetworkRenamed(_)
            | EventBody::NetworkDeleted(_)
            | EventBody::EnrolmentTokenCreated(_)
            | EventBody::EnrolmentTokenUsed(_)
            | EventBody::EnrolmentTokenRevoked(_)
            | EventBody::NodeEnrolled(_)
            | EventBody::NodeEndpointChanged(_)
            | EventBody::NodeCertificateIssued(_)
            | EventBody::NodeCertificatesRevoked(_)
            | EventBody::NodeReadmitted(_)
            | EventBody::NodeWithdrawn(_)
            | EventBody::NodeReleased(_)
            | EventBody::ApiTokenCreated(_)
            | EventBody::ApiTokenRevoked(_)
            | EventBody::OrgCreated(_)
            | EventBody::OrgDeleted(_)
            | EventBody::OrgQuotasSet(_)
            | EventBody::AppCreated(_)
            | EventBody::AppDeleted(_)
            | EventBody::EnvironmentCreated(_)
            | EventBody::EnvironmentDeleted(_)
            | EventBody::HostnameClaimed(_)
            | EventBody::HostnameVerified(_)
            | EventBody::HostnameAcquired(_)
            | EventBody::HostnameSurrendered(_)
            | EventBody::HostnameReleased(_)
            | EventBody::PortGranted(_)
            | EventBody::PortGrantRevoked(_)
            | EventBody::PortPolicySet(_)
            | EventBody::ReleaseCreated(_)
            | EventBody::ReleaseActivated(_)
            | EventBody::ReleaseSuperseded(_)
            | EventBody::WorkloadHealthChanged(_)
            | EventBody::Unknown(_) => false,
        }
    }

    /// Takes out what a node does not need: names of routes, and environments that it does not run.
    fn strike(&self, body: &mut EventBody) {
        match body {
            EventBody::RouteCreated(route) => route.hostname = None,
            EventBody::RouteMoved(moved) => {
                let runs = |holder: &mut Holder| self.runs(holder.environment_id);
                moved.from = moved.from.take_if(runs);
                moved.to = moved.to.take_if(|to| self.runs(to.environment_id));
                if let Some(to) = &mut moved.to {
                    to.hostname = None;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
