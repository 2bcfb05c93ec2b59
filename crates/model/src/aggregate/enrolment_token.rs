//! Enrolment tokens: work once, for the node they name, until they expire.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Refusal},
    event::{
        AggregateKind, EnrolmentTokenCreated, EnrolmentTokenRevoked, EnrolmentTokenUsed, EventBody,
    },
    id::{NetworkId, NodeId},
    name::DnsLabel,
    role::NodeRole,
    secret::SecretHash,
    timestamp::Timestamp,
};

/// Shortest and longest life of an enrolment token.
pub const LIFETIMES: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(30 * 86_400));

/// An enrolment token as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnrolmentTokenState {
    created: Option<EnrolmentTokenCreated>,
    used_by: Option<NodeId>,
    revoked: bool,
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct EnrolmentTokenWish {
    /// Network to join.
    pub network_id: NetworkId,
    /// Name the machine will have.
    pub node_name: DnsLabel,
    /// What it will do.
    pub roles: Vec<NodeRole>,
    /// How long the token works.
    pub lifetime: Duration,
}

impl EnrolmentTokenState {
    /// Invites a machine.
    pub fn create(
        wish: EnrolmentTokenWish,
        secret_hash: SecretHash,
        now: Timestamp,
    ) -> Result<EventBody, Refusal> {
        if wish.lifetime < LIFETIMES.0 || wish.lifetime > LIFETIMES.1 {
            return Err(Refusal::Lifetime {
                given: wish.lifetime.as_secs(),
                least: LIFETIMES.0.as_secs(),
                most: LIFETIMES.1.as_secs(),
            });
        }
        let mut roles = wish.roles;
        roles.sort_unstable();
        roles.dedup();
        if roles.is_empty() {
            return Err(Refusal::NoRoles);
        }
        Ok(EventBody::EnrolmentTokenCreated(EnrolmentTokenCreated {
            network_id: wish.network_id,
            node_name: wish.node_name,
            roles,
            expires_at: now.after(wish.lifetime),
            secret_hash: Some(secret_hash),
        }))
    }

    /// What the token says, whatever became of it.
    pub fn created(&self) -> Result<&EnrolmentTokenCreated, Refusal> {
        self.created.as_ref().ok_or(Refusal::NotFound(AggregateKind::EnrolmentToken))
    }

    /// The node that enrolled with it.
    pub fn used_by(&self) -> Option<NodeId> {
        self.used_by
    }

    /// Takes the invitation. The caller has already compared the secret's hash.
    pub fn redeem(
        &self,
        node_name: &DnsLabel,
        node_id: NodeId,
        now: Timestamp,
    ) -> Result<EventBody, Refusal> {
        // A token that does not exist must look like one whose secret is wrong.
        let created = self.created.as_ref().ok_or(Refusal::TokenForeign)?;
        if self.revoked {
            return Err(Refusal::TokenRevoked);
        }
        if self.used_by.is_some() {
            return Err(Refusal::TokenUsed);
        }
        if now >= created.expires_at {
            return Err(Refusal::TokenExpired(created.expires_at));
        }
        if created.node_name != *node_name {
            return Err(Refusal::TokenForOtherNode(created.node_name.clone()));
        }
        Ok(EventBody::EnrolmentTokenUsed(EnrolmentTokenUsed { node_id }))
    }

    /// Withdraws the invitation; nothing to do if it can no longer be taken.
    pub fn revoke(&self) -> Result<Option<EventBody>, Refusal> {
        self.created()?;
        let open = !self.revoked && self.used_by.is_none();
        Ok(open.then_some(EventBody::EnrolmentTokenRevoked(EnrolmentTokenRevoked {})))
    }
}

impl Aggregate for EnrolmentTokenState {
    const KIND: AggregateKind = AggregateKind::EnrolmentToken;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::EnrolmentTokenCreated(created) => self.created = Some(created.clone()),
            EventBody::EnrolmentTokenUsed(used) => self.used_by = Some(used.node_id),
            EventBody::EnrolmentTokenRevoked(_) => self.revoked = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn label(text: &str) -> DnsLabel {
        DnsLabel::new(text).expect("label")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds).expect("time")
    }

    fn wish() -> EnrolmentTokenWish {
        EnrolmentTokenWish {
            network_id: NetworkId(Uuid::from_u128(1)),
            node_name: label("n1"),
            roles: vec![NodeRole::Worker],
            lifetime: Duration::from_secs(3600),
        }
    }

    fn token() -> EnrolmentTokenState {
        let mut state = EnrolmentTokenState::default();
        let hash = SecretHash::from(String::from("00"));
        state.apply(&EnrolmentTokenState::create(wish(), hash, at(0)).expect("created"));
        state
    }

    #[test]
    fn a_token_works_once_for_its_node_until_it_expires() {
        let node = NodeId(Uuid::from_u128(2));
        let mut state = token();
        assert_eq!(
            state.redeem(&label("n2"), node, at(1)),
            Err(Refusal::TokenForOtherNode(label("n1")))
        );
        assert_eq!(
            state.redeem(&label("n1"), node, at(3600)),
            Err(Refusal::TokenExpired(at(3600)))
        );
        state.apply(&state.redeem(&label("n1"), node, at(3599)).expect("redeemed"));
        assert_eq!(state.redeem(&label("n1"), node, at(2)), Err(Refusal::TokenUsed));
        assert_eq!(state.used_by(), Some(node));
    }

    #[test]
    fn a_revoked_token_and_one_that_never_was_do_not_enrol() {
        let mut state = token();
        state.apply(&state.revoke().expect("allowed").expect("revoked"));
        let node = NodeId(Uuid::from_u128(2));
        assert_eq!(state.redeem(&label("n1"), node, at(1)), Err(Refusal::TokenRevoked));
        assert_eq!(state.revoke(), Ok(None), "revoking twice changes nothing");
        let unknown = EnrolmentTokenState::default();
        assert_eq!(unknown.redeem(&label("n1"), node, at(1)), Err(Refusal::TokenForeign));
    }

    #[test]
    fn lifetimes_and_roles_are_bounded() {
        let create = |edit: fn(&mut EnrolmentTokenWish)| {
            let mut wish = wish();
            edit(&mut wish);
            EnrolmentTokenState::create(wish, SecretHash::from(String::new()), at(0))
                .expect_err("refused")
                .code()
        };
        assert_eq!(create(|w| w.lifetime = Duration::from_secs(59)), "lifetime-out-of-range");
        assert_eq!(create(|w| w.lifetime = Duration::MAX), "lifetime-out-of-range");
        assert_eq!(create(|w| w.roles.clear()), "roles-empty");
    }
}
