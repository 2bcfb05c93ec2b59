//! Who may see which event, and how much of it.

use crate::{
    event::{Event, EventBody},
    id::{NetworkId, NodeId},
};

/// Who follows the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// A person or a program with an API token: sees everything but hashes of secrets.
    Operator,
    /// A node: sees the membership of its network, and certificates only if they are its own.
    Node {
        /// Which node.
        node_id: NodeId,
        /// Its network.
        network_id: NetworkId,
    },
}

/// The event as `viewer` may see it, or `None`.
pub fn visible(viewer: Viewer, event: &Event) -> Option<Event> {
    match viewer {
        Viewer::Operator => Some(without_hashes(event.clone())),
        Viewer::Node { node_id, network_id } => {
            let concerns_it = match &event.body {
                EventBody::NodeEnrolled(body) => body.network_id == network_id,
                EventBody::NodeEndpointChanged(body) => body.network_id == network_id,
                EventBody::NodeWithdrawn(body) => body.network_id == network_id,
                EventBody::NodeReleased(body) => body.network_id == network_id,
                EventBody::NetworkRenamed(_) => event.aggregate_id == network_id.0,
                EventBody::NodeCertificateIssued(_) => event.aggregate_id == node_id.0,
                EventBody::NetworkCreated(_)
                | EventBody::NetworkDeleted(_)
                | EventBody::EnrolmentTokenCreated(_)
                | EventBody::EnrolmentTokenUsed(_)
                | EventBody::EnrolmentTokenRevoked(_)
                | EventBody::ApiTokenCreated(_)
                | EventBody::ApiTokenRevoked(_) => false,
            };
            concerns_it.then(|| event.clone())
        }
    }
}

fn without_hashes(mut event: Event) -> Event {
    match &mut event.body {
        EventBody::EnrolmentTokenCreated(body) => body.secret_hash = None,
        EventBody::ApiTokenCreated(body) => body.secret_hash = None,
        _ => {}
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregate::node::tests::enrolled,
        event::{AggregateKind, ApiTokenCreated, NodeCertificateIssued},
        id::ActorId,
        name::DnsLabel,
        role::OperatorRole,
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
    fn nobody_sees_the_hash_of_a_secret_and_nodes_see_no_tokens_at_all() {
        let created = event(
            5,
            EventBody::ApiTokenCreated(ApiTokenCreated {
                name: DnsLabel::new("ops").expect("label"),
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
