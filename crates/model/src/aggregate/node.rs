//! Nodes: enrolled, given certificates, moved, withdrawn, released.
//!
//! ```text
//! (none) --enrol--> active --withdraw--> withdrawn --release--> released
//! ```
//! Leaving is two steps: peers drop a withdrawn node while its addresses stay reserved; only when
//! every live node has acknowledged that are they released into quarantine (invariant 5).

use std::net::{IpAddr, SocketAddr};

use crate::{
    aggregate::{Aggregate, Refusal},
    event::{
        AggregateKind, EventBody, NodeCertificateIssued, NodeCertificatesRevoked,
        NodeEndpointChanged, NodeEnrolled, NodeReadmitted, NodeReleased, NodeWithdrawn,
    },
    timestamp::Timestamp,
};

/// How far a node has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not enrolled.
    #[default]
    Unknown,
    /// A member of its network.
    Active,
    /// Leaving: peers are dropping it.
    Withdrawn,
    /// Gone: its addresses are in quarantine or reused.
    Released,
}

/// A node as its events tell it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeState {
    enrolled: Option<NodeEnrolled>,
    phase: Phase,
    certificate_not_after: Option<Timestamp>,
    certificates_revoked: bool,
}

/// Certificates that a node is given within an hour, at most: it needs one in ten days, and each is an
/// event for ever.
pub const CERTIFICATES_PER_HOUR: u64 = 6;
/// Other endpoints that a node may tell within an hour, at most: each is told to every other node.
pub const ENDPOINT_CHANGES_PER_HOUR: u64 = 12;

/// Refuses what a node has done `recent` times within the last hour already.
pub fn check_rate(what: &'static str, recent: u64, limit: u64) -> Result<(), Refusal> {
    if recent < limit { Ok(()) } else { Err(Refusal::TooOften { what, limit }) }
}

impl NodeState {
    /// Makes a machine a node.
    pub fn enrol(enrolled: NodeEnrolled) -> Result<EventBody, Refusal> {
        check_endpoint(enrolled.endpoint)?;
        Ok(EventBody::NodeEnrolled(enrolled))
    }

    /// What the node is, whatever became of it.
    pub fn enrolled(&self) -> Result<&NodeEnrolled, Refusal> {
        self.enrolled.as_ref().ok_or(Refusal::NotFound(AggregateKind::Node))
    }

    /// What the node is, if it is still a member.
    pub fn active(&self) -> Result<&NodeEnrolled, Refusal> {
        let enrolled = self.enrolled()?;
        match self.phase {
            Phase::Active => Ok(enrolled),
            Phase::Unknown | Phase::Withdrawn | Phase::Released => {
                Err(Refusal::NodeLeft(enrolled.name.clone()))
            }
        }
    }

    /// End of validity of its newest certificate.
    pub fn certificate_not_after(&self) -> Option<Timestamp> {
        self.certificate_not_after
    }

    /// Whether an operator withdrew its certificates.
    pub fn certificates_revoked(&self) -> bool {
        self.certificates_revoked
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Records a certificate made for it.
    pub fn issue_certificate(
        &self,
        serial: String,
        not_after: Timestamp,
    ) -> Result<EventBody, Refusal> {
        let network_id = self.active()?.network_id;
        if self.certificates_revoked {
            return Err(Refusal::CertificatesRevoked);
        }
        Ok(EventBody::NodeCertificateIssued(NodeCertificateIssued {
            network_id,
            serial,
            not_after,
        }))
    }

    /// Refuses a certificate on any key but the one the node enrolled with: who holds another one is
    /// somebody else.
    pub fn check_client_key(&self, fingerprint: &str) -> Result<(), Refusal> {
        let enrolled = self.active()?;
        let same = enrolled.client_key_fingerprint == fingerprint;
        if same { Ok(()) } else { Err(Refusal::ForeignKey(enrolled.name.clone())) }
    }

    /// Makes its certificates good for nothing; nothing to do if they are.
    pub fn revoke_certificates(&self) -> Result<Option<EventBody>, Refusal> {
        let network_id = self.active()?.network_id;
        let event = EventBody::NodeCertificatesRevoked(NodeCertificatesRevoked { network_id });
        Ok((!self.certificates_revoked).then_some(event))
    }

    /// Makes them good again; nothing to do if they are.
    pub fn readmit(&self) -> Result<Option<EventBody>, Refusal> {
        let network_id = self.active()?.network_id;
        let event = EventBody::NodeReadmitted(NodeReadmitted { network_id });
        Ok(self.certificates_revoked.then_some(event))
    }

    /// Tells its peers another underlay address; nothing to do if they use it already.
    pub fn move_to(&self, endpoint: SocketAddr) -> Result<Option<EventBody>, Refusal> {
        let node = self.active()?;
        check_endpoint(endpoint)?;
        let network_id = node.network_id;
        let changed = node.endpoint != endpoint;
        Ok(changed.then_some(EventBody::NodeEndpointChanged(NodeEndpointChanged {
            network_id,
            endpoint,
        })))
    }

    /// Starts its leave; nothing to do if it is already leaving or gone.
    pub fn withdraw(&self) -> Result<Option<EventBody>, Refusal> {
        let network_id = self.enrolled()?.network_id;
        let active = self.phase == Phase::Active;
        Ok(active.then_some(EventBody::NodeWithdrawn(NodeWithdrawn { network_id })))
    }

    /// Ends its leave, once every live node has acknowledged; nothing to do in any other phase.
    pub fn release(&self) -> Result<Option<EventBody>, Refusal> {
        let network_id = self.enrolled()?.network_id;
        let leaving = self.phase == Phase::Withdrawn;
        Ok(leaving.then_some(EventBody::NodeReleased(NodeReleased { network_id })))
    }
}

/// Peers reach a node at a unicast IPv6 address of the underlay: global or unique local, and not one
/// that stands for an IPv4 address. Documentation addresses (RFC 3849) are for labs.
pub fn check_endpoint(endpoint: SocketAddr) -> Result<(), Refusal> {
    let reachable = match endpoint.ip() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            // fc00::/7 (RFC 4193) and 2000::/3 (RFC 4291): what is left are loopback, mapped and
            // compatible IPv4, NAT64 (RFC 6052, RFC 8215), link-local, site-local and multicast.
            let unicast = first & 0xfe00 == 0xfc00 || first & 0xe000 == 0x2000;
            // 6to4 (RFC 3056) and Teredo (RFC 4380) are IPv4 underneath.
            unicast && first != 0x2002 && (first, second) != (0x2001, 0)
        }
    };
    if reachable && endpoint.port() != 0 {
        Ok(())
    } else {
        Err(Refusal::EndpointUnusable(endpoint.to_string()))
    }
}

impl Aggregate for NodeState {
    const KIND: AggregateKind = AggregateKind::Node;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::NodeEnrolled(enrolled) => {
                self.enrolled = Some(enrolled.clone());
                self.phase = Phase::Active;
            }
            EventBody::NodeEndpointChanged(changed) => {
                if let Some(enrolled) = &mut self.enrolled {
                    enrolled.endpoint = changed.endpoint;
                }
            }
            EventBody::NodeCertificateIssued(issued) => {
                self.certificate_not_after = Some(issued.not_after);
            }
            EventBody::NodeCertificatesRevoked(_) => self.certificates_revoked = true,
            EventBody::NodeReadmitted(_) => self.certificates_revoked = false,
            EventBody::NodeWithdrawn(_) => self.phase = Phase::Withdrawn,
            EventBody::NodeReleased(_) => self.phase = Phase::Released,
            _ => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        address::PeerAddresses, id::*, key::PublicKey, name::DnsLabel, prefix::Prefix,
        role::NodeRole,
    };
    use std::net::Ipv6Addr;
    use uuid::Uuid;

    /// Node number `n` of network 1, at `fd00:0:0:n::1`.
    pub(crate) fn enrolled(n: u16) -> NodeEnrolled {
        let address = Ipv6Addr::new(0xfd00, 0, 0, n, 0, 0, 0, 1);
        let mut key = [9; 32];
        key[0..2].copy_from_slice(&n.to_be_bytes());
        NodeEnrolled {
            network_id: NetworkId(Uuid::from_u128(1)),
            name: DnsLabel::new(format!("n{n}")).expect("label"),
            roles: vec![NodeRole::Worker],
            public_key: PublicKey::new(key).expect("key"),
            endpoint: SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 51820)),
            addresses: PeerAddresses::v6(address),
            prefix: Prefix::containing(address.into(), 64).expect("prefix"),
            token_id: EnrolmentTokenId(Uuid::from_u128(u128::from(n))),
            client_key_fingerprint: "00".repeat(32),
        }
    }

    #[test]
    fn a_node_leaves_in_two_steps_and_each_step_happens_once() {
        let mut node = NodeState::default();
        assert!(node.withdraw().is_err(), "an unknown node cannot leave");
        node.apply(&NodeState::enrol(enrolled(1)).expect("enrolled"));
        assert_eq!(node.release(), Ok(None), "an active node is not released");
        node.apply(&node.withdraw().expect("allowed").expect("withdrawn"));
        assert_eq!(node.phase(), Phase::Withdrawn);
        assert_eq!(node.withdraw(), Ok(None));
        assert!(node.move_to(enrolled(2).endpoint).is_err());
        assert!(
            node.issue_certificate("01".into(), Timestamp::from_unix_seconds(0).expect("time"))
                .is_err()
        );
        node.apply(&node.release().expect("allowed").expect("released"));
        assert_eq!(node.phase(), Phase::Released);
        assert_eq!(node.release(), Ok(None));
    }

    #[test]
    fn certificates_are_withdrawn_and_given_back_and_only_for_the_enrolled_key() {
        let mut node = NodeState::default();
        node.apply(&NodeState::enrol(enrolled(1)).expect("enrolled"));
        let time = Timestamp::from_unix_seconds(0).expect("time");
        let issue = |node: &NodeState| node.issue_certificate("01".into(), time);
        assert!(issue(&node).is_ok());
        assert_eq!(node.check_client_key(&"00".repeat(32)), Ok(()));
        let foreign = node.check_client_key(&"01".repeat(32));
        assert_eq!(foreign, Err(Refusal::ForeignKey(enrolled(1).name)));
        assert_eq!(node.readmit(), Ok(None), "nothing was withdrawn");
        node.apply(&node.revoke_certificates().expect("allowed").expect("revoked"));
        assert!(node.certificates_revoked() && node.active().is_ok(), "it stays a member");
        assert_eq!(node.revoke_certificates(), Ok(None));
        assert_eq!(issue(&node), Err(Refusal::CertificatesRevoked));
        node.apply(&node.readmit().expect("allowed").expect("readmitted"));
        assert!(issue(&node).is_ok());
    }

    #[test]
    fn what_becomes_an_event_is_limited_by_the_hour() {
        assert_eq!(check_rate("x", 5, 6), Ok(()));
        assert_eq!(check_rate("x", 6, 6), Err(Refusal::TooOften { what: "x", limit: 6 }));
    }

    #[test]
    fn endpoints_must_be_reachable_by_peers() {
        for good in ["[2001:db8::1]:51820", "[fd00::1]:1"] {
            assert!(check_endpoint(good.parse().expect(good)).is_ok(), "{good}");
        }
        for bad in [
            "192.0.2.1:51820",
            "[::]:51820",
            "[::1]:51820",
            "[ff02::1]:51820",
            "[fe80::1]:51820",
            "[::ffff:192.0.2.1]:51820",
            "[2001:db8::1]:0",
            "[64:ff9b::192.0.2.1]:51820",
            "[64:ff9b:1::1]:51820",
            "[::192.0.2.1]:51820",
            "[2002:c000:201::1]:51820",
            "[2001:0:c000:201::1]:51820",
            "[fec0::1]:51820",
            "[4000::1]:51820",
        ] {
            assert!(check_endpoint(bad.parse().expect(bad)).is_err(), "{bad}");
        }
    }
}
