//! Who may see which event, and how much of it.

use crate::{
    event::{Event, EventBody, Holder},
    id::{NetworkId, NodeId, OrgId},
};

/// Who follows the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// A person or a program with an API token: sees everything but hashes of secrets.
    Operator,
    /// The holder of an API token of one org: sees what that org owns, and nothing else.
    Org(OrgId),
    /// A node: sees the membership of its network, its own workloads, and certificates only if
    /// they are its own.
    Node {
        /// Which node.
        node_id: NodeId,
        /// Its network.
        network_id: NetworkId,
    },
    /// A node with the role edge that asks for routing: sees the routes and workloads of its
    /// network, and its own withdrawal.
    Edge {
        /// Which node.
        node_id: NodeId,
        /// Its network.
        network_id: NetworkId,
    },
}

/// The event as `viewer` may see it, or `None`.
pub fn visible(viewer: Viewer, event: &Event) -> Option<Event> {
    let concerned = match viewer {
        Viewer::Operator => true,
        Viewer::Org(org) => concerns_org(event, org),
        Viewer::Node { node_id, network_id } => concerns_node(event, node_id, network_id),
        Viewer::Edge { node_id, network_id } => concerns_edge(event, node_id, network_id),
    };
    concerned.then(|| {
        let mut event = event.clone();
        strike_hashes(&mut event.body);
        if let Viewer::Org(org) = viewer {
            strike_others(&mut event.body, org);
        }
        event
    })
}

fn concerns_org(event: &Event, org: OrgId) -> bool {
    match &event.body {
        EventBody::OrgCreated(_) | EventBody::OrgDeleted(_) => event.aggregate_id == org.0,
        EventBody::AppCreated(body) => body.org_id == org,
        EventBody::AppDeleted(body) => body.org_id == org,
        EventBody::EnvironmentCreated(body) => body.org_id == org,
        EventBody::EnvironmentDeleted(body) => body.org_id == org,
        EventBody::HostnameClaimed(body) => body.org_id == org,
        EventBody::HostnameVerified(body) => body.org_id == org,
        EventBody::HostnameAcquired(body) => body.org_id == org,
        EventBody::HostnameSurrendered(body) => body.org_id == org,
        EventBody::HostnameReleased(body) => body.org_id == org,
        EventBody::PortGranted(body) => body.org_id == org,
        EventBody::PortGrantRevoked(body) => body.org_id == org,
        EventBody::ReleaseCreated(body) => body.org_id == org,
        EventBody::ReleaseActivated(body) => body.org_id == org,
        EventBody::ReleaseSuperseded(body) => body.org_id == org,
        EventBody::WorkloadPlaced(body) => body.org_id == org,
        EventBody::WorkloadHealthChanged(body) => body.org_id == org,
        EventBody::WorkloadWithdrawn(body) => body.org_id == org,
        EventBody::WorkloadReleased(body) => body.org_id == org,
        EventBody::RouteCreated(body) => body.org_id == org,
        EventBody::RouteChanged(body) => body.org_id == org,
        EventBody::RouteMoved(body) => {
            body.from.is_some_and(|from| from.org_id == org)
                || body.to.as_ref().is_some_and(|to| to.org_id == org)
        }
        EventBody::RouteDeleted(body) => body.org_id == org,
        EventBody::ApiTokenCreated(body) => body.org_id == Some(org),
        EventBody::ApiTokenRevoked(body) => body.org_id == Some(org),
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
        | EventBody::PortPolicySet(_)
        // Whom it concerns is not known, so operators of the platform alone are told.
        | EventBody::Unknown(_) => false,
    }
}

fn concerns_node(event: &Event, node_id: NodeId, network_id: NetworkId) -> bool {
    match &event.body {
        EventBody::NodeEnrolled(body) => body.network_id == network_id,
        EventBody::NodeEndpointChanged(body) => body.network_id == network_id,
        EventBody::NodeWithdrawn(body) => body.network_id == network_id,
        EventBody::NodeReleased(body) => body.network_id == network_id,
        EventBody::NetworkRenamed(_) => event.aggregate_id == network_id.0,
        EventBody::NodeCertificateIssued(_)
        | EventBody::NodeCertificatesRevoked(_)
        | EventBody::NodeReadmitted(_) => event.aggregate_id == node_id.0,
        EventBody::WorkloadPlaced(body) => body.node_id == node_id,
        EventBody::WorkloadWithdrawn(body) => body.node_id == node_id,
        EventBody::WorkloadReleased(body) => body.node_id == node_id,
        EventBody::NetworkCreated(_)
        | EventBody::NetworkDeleted(_)
        | EventBody::EnrolmentTokenCreated(_)
        | EventBody::EnrolmentTokenUsed(_)
        | EventBody::EnrolmentTokenRevoked(_)
        | EventBody::ApiTokenCreated(_)
        | EventBody::ApiTokenRevoked(_)
        | EventBody::OrgCreated(_)
        | EventBody::OrgDeleted(_)
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
        | EventBody::RouteCreated(_)
        | EventBody::RouteChanged(_)
        | EventBody::RouteMoved(_)
        | EventBody::RouteDeleted(_)
        | EventBody::Unknown(_) => false,
    }
}

fn concerns_edge(event: &Event, node_id: NodeId, network_id: NetworkId) -> bool {
    match &event.body {
        EventBody::RouteCreated(body) => body.network_id == network_id,
        EventBody::RouteChanged(body) => body.network_id == network_id,
        EventBody::RouteMoved(body) => body.network_id == network_id,
        EventBody::RouteDeleted(body) => body.network_id == network_id,
        EventBody::WorkloadPlaced(body) => body.network_id == network_id,
        EventBody::WorkloadHealthChanged(body) => body.network_id == network_id,
        EventBody::WorkloadWithdrawn(body) => body.network_id == network_id,
        EventBody::WorkloadReleased(body) => body.network_id == network_id,
        EventBody::NodeWithdrawn(_) => event.aggregate_id == node_id.0,
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
        | EventBody::NodeReleased(_)
        | EventBody::ApiTokenCreated(_)
        | EventBody::ApiTokenRevoked(_)
        | EventBody::OrgCreated(_)
        | EventBody::OrgDeleted(_)
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
        | EventBody::Unknown(_) => false,
    }
}

fn strike_hashes(body: &mut EventBody) {
    match body {
        EventBody::EnrolmentTokenCreated(body) => body.secret_hash = None,
        EventBody::ApiTokenCreated(body) => body.secret_hash = None,
        _ => {}
    }
}

/// What moves from one org to another is seen by both, and neither is told of the other.
fn strike_others(body: &mut EventBody, org: OrgId) {
    let own = |holder: &mut Holder| holder.org_id == org;
    match body {
        EventBody::HostnameAcquired(body) => body.from = body.from.take_if(own),
        EventBody::HostnameSurrendered(body) => body.to = body.to.take_if(own),
        EventBody::RouteMoved(body) => {
            body.from = body.from.take_if(own);
            body.to = body.to.take_if(|to| to.org_id == org);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregate::node::tests::enrolled,
        event::{
            AggregateKind, ApiTokenCreated, ApiTokenRevoked, HostnameAcquired,
            NodeCertificateIssued, RouteCreated, RouteMoved,
        },
        hostname::HostPattern,
        id::{ActorId, EnvironmentId},
        name::DnsLabel,
        role::OperatorRole,
        routing::{Endpoint, HealthSource, ProtocolHint},
        secret::Secret,
        timestamp::Timestamp,
    };
    use uuid::Uuid;

    fn event(id: u128, body: EventBody) -> Event {
        Event {
            event_id: 1,
            occurred_at: Timestamp::from_unix_seconds(0).expect("time"),
            aggregate_type: AggregateKind::Node,
            aggregate_id: Uuid::from_u128(id),
            aggregate_seq: 1,
            actor_id: ActorId::SYSTEM,
            body,
        }
    }

    fn node(id: u128, network: u128) -> Viewer {
        let (node_id, network_id) =
            (NodeId(Uuid::from_u128(id)), NetworkId(Uuid::from_u128(network)));
        Viewer::Node { node_id, network_id }
    }

    #[test]
    fn a_node_sees_its_network_and_only_its_own_certificates() {
        let join = event(5, EventBody::NodeEnrolled(enrolled(5)));
        assert!(visible(node(7, 1), &join).is_some());
        assert!(visible(node(7, 2), &join).is_none());
        let issued = NodeCertificateIssued {
            network_id: NetworkId(Uuid::from_u128(1)),
            serial: "01".into(),
            not_after: Timestamp::from_unix_seconds(9).expect("time"),
        };
        let certificate = event(5, EventBody::NodeCertificateIssued(issued));
        assert!(visible(node(5, 1), &certificate).is_some());
        assert!(visible(node(7, 1), &certificate).is_none());
    }

    #[test]
    fn what_moves_between_orgs_is_seen_by_both_and_neither_is_told_of_the_other() {
        let org = |n| OrgId(Uuid::from_u128(n));
        let holder =
            |n| Holder { org_id: org(n), environment_id: EnvironmentId(Uuid::from_u128(10 + n)) };
        let route = RouteCreated {
            org_id: org(2),
            environment_id: holder(2).environment_id,
            network_id: NetworkId(Uuid::from_u128(1)),
            hostname: None,
            listen_port: 5000,
            protocol_hint: ProtocolHint::TcpRaw,
            match_host: false,
            backend_process_type: DnsLabel::new("web").expect("label"),
            backend_port: 1,
            proxy_protocol: false,
            ipv4_required: false,
            health_source: HealthSource::None,
            endpoint: Endpoint::Ipv6Only,
        };
        let moved = |from, to: &RouteCreated| {
            let (network_id, to) = (route.network_id, Some(to.clone()));
            event(5, EventBody::RouteMoved(RouteMoved { network_id, from: Some(holder(from)), to }))
        };
        let seen = |viewer, event: &Event| match visible(viewer, event).map(|event| event.body) {
            Some(EventBody::RouteMoved(body)) => {
                Some((body.from.map(|from| from.org_id), body.to.map(|to| to.org_id)))
            }
            _ => None,
        };
        let (old, new) = (Some(org(1)), Some(org(2)));
        let across = moved(1, &route);
        assert_eq!(seen(Viewer::Operator, &across), Some((old, new)));
        assert_eq!(seen(Viewer::Org(org(1)), &across), Some((old, None)));
        assert_eq!(seen(Viewer::Org(org(2)), &across), Some((None, new)));
        assert_eq!(seen(Viewer::Org(org(3)), &across), None);
        assert_eq!(seen(Viewer::Org(org(2)), &moved(2, &route)), Some((new, new)), "within");

        let hostname = HostPattern::new("a.example").expect("name");
        for (other, told) in [(1, false), (2, true)] {
            let (org_id, hostname) = (org(2), hostname.clone());
            let from = Some(holder(other));
            let acquired = EventBody::HostnameAcquired(HostnameAcquired { org_id, hostname, from });
            let seen = visible(Viewer::Org(org(2)), &event(5, acquired)).expect("its own");
            let EventBody::HostnameAcquired(body) = seen.body else { panic!("{seen:?}") };
            assert_eq!(body.from.is_some(), told);
        }
    }

    #[test]
    fn an_org_sees_that_its_token_was_revoked() {
        let org_id = Some(OrgId(Uuid::from_u128(1)));
        let revoked = event(5, EventBody::ApiTokenRevoked(ApiTokenRevoked { org_id }));
        assert!(visible(Viewer::Org(OrgId(Uuid::from_u128(1))), &revoked).is_some());
        assert!(visible(Viewer::Org(OrgId(Uuid::from_u128(2))), &revoked).is_none());
    }

    #[test]
    fn what_cannot_be_read_is_for_operators_of_the_platform_alone() {
        let body = EventBody::from_columns("comet-landed", serde_json::json!({ "key": "sesame" }));
        let unknown = event(5, body);
        let seen = visible(Viewer::Operator, &unknown).expect("visible");
        assert!(!serde_json::to_string(&seen).expect("json").contains("sesame"));
        let (node_id, network_id) = (NodeId(Uuid::from_u128(5)), NetworkId(Uuid::from_u128(5)));
        for viewer in [
            Viewer::Org(OrgId(Uuid::from_u128(5))),
            Viewer::Node { node_id, network_id },
            Viewer::Edge { node_id, network_id },
        ] {
            assert_eq!(visible(viewer, &unknown), None);
        }
    }

    #[test]
    fn nobody_sees_the_hash_of_a_secret_and_nodes_see_no_tokens_at_all() {
        let created = event(
            5,
            EventBody::ApiTokenCreated(ApiTokenCreated {
                name: DnsLabel::new("ops").expect("label"),
                org_id: None,
                role: OperatorRole::Admin,
                expires_at: None,
                secret_hash: Some(Secret::new([1; 32]).hash()),
            }),
        );
        let seen = visible(Viewer::Operator, &created).expect("visible");
        assert!(!serde_json::to_string(&seen).expect("json").contains("secret_hash"));
        assert!(visible(node(5, 1), &created).is_none());
    }
}
