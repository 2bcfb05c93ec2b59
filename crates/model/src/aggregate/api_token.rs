//! Operators' API tokens: a role, an optional expiry, revocable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Refusal},
    event::{AggregateKind, ApiTokenCreated, ApiTokenRevoked, EventBody},
    id::OrgId,
    name::DnsLabel,
    role::OperatorRole,
    secret::SecretHash,
    timestamp::Timestamp,
};

/// Shortest and longest life of an API token that expires.
pub const LIFETIMES: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(3650 * 86_400));

/// An API token as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiTokenState {
    created: Option<ApiTokenCreated>,
    revoked: bool,
}

impl ApiTokenState {
    /// Gives an operator access.
    pub fn create(
        name: DnsLabel,
        role: OperatorRole,
        org_id: Option<OrgId>,
        lifetime: Option<Duration>,
        secret_hash: SecretHash,
        now: Timestamp,
    ) -> Result<EventBody, Refusal> {
        if let Some(given) = lifetime.filter(|life| *life < LIFETIMES.0 || *life > LIFETIMES.1) {
            return Err(Refusal::Lifetime {
                given: given.as_secs(),
                least: LIFETIMES.0.as_secs(),
                most: LIFETIMES.1.as_secs(),
            });
        }
        Ok(EventBody::ApiTokenCreated(ApiTokenCreated {
            name,
            role,
            org_id,
            expires_at: lifetime.map(|lifetime| now.after(lifetime)),
            secret_hash: Some(secret_hash),
        }))
    }

    /// What the token says, whatever became of it.
    pub fn created(&self) -> Result<&ApiTokenCreated, Refusal> {
        self.created.as_ref().ok_or(Refusal::NotFound(AggregateKind::ApiToken))
    }

    /// Takes the access back; nothing to do if it already was.
    pub fn revoke(&self) -> Result<Option<EventBody>, Refusal> {
        let org_id = self.created()?.org_id;
        Ok((!self.revoked).then_some(EventBody::ApiTokenRevoked(ApiTokenRevoked { org_id })))
    }
}

impl Aggregate for ApiTokenState {
    const KIND: AggregateKind = AggregateKind::ApiToken;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::ApiTokenCreated(created) => self.created = Some(created.clone()),
            EventBody::ApiTokenRevoked(_) => self.revoked = true,
            _ => {}
        }
    }
}
