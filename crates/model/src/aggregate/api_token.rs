//! Operators' API tokens: a role, an optional expiry, revocable.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Refusal},
    event::{AggregateKind, ApiTokenCreated, ApiTokenRevoked, EventBody},
    id::{ApiTokenId, OrgId},
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

    /// Bounds a token that is made with this one: it may not do more, and it does not outlive it.
    pub fn bound(&self, child: EventBody) -> Result<EventBody, Refusal> {
        let parent = self.created()?;
        let EventBody::ApiTokenCreated(mut child) = child else { return Ok(child) };
        let foreign = parent.org_id.is_some() && parent.org_id != child.org_id;
        if child.role > parent.role || foreign {
            return Err(Refusal::TokenExceeds);
        }
        match (parent.expires_at, child.expires_at) {
            (Some(end), Some(asked)) if asked > end => return Err(Refusal::TokenOutlives(end)),
            (Some(end), None) => child.expires_at = Some(end),
            _ => {}
        }
        Ok(EventBody::ApiTokenCreated(child))
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

/// The tokens that were made with `root`, or with one of those, in any order. `made` names each
/// token with the one that made it.
pub fn descendants(
    root: ApiTokenId,
    made: impl IntoIterator<Item = (ApiTokenId, ApiTokenId)>,
) -> Vec<ApiTokenId> {
    let mut children: BTreeMap<ApiTokenId, Vec<ApiTokenId>> = BTreeMap::new();
    for (child, parent) in made {
        children.entry(parent).or_default().push(child);
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(parent) = open.pop() {
        let new = children.remove(&parent).unwrap_or_default();
        open.extend(new.into_iter().filter(|child| *child != root && found.insert(*child)));
    }
    found.into_iter().collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use uuid::Uuid;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Timestamp {
        Timestamp(time::OffsetDateTime::UNIX_EPOCH)
    }

    fn made(role: OperatorRole, org: Option<u128>, lifetime: Option<Duration>) -> EventBody {
        let org = org.map(|org| OrgId(Uuid::from_u128(org)));
        let name = DnsLabel::new("token").expect("label");
        let hash = Secret::new([1; 32]).hash();
        ApiTokenState::create(name, role, org, lifetime, hash, now()).expect("allowed")
    }

    fn parent(role: OperatorRole, org: Option<u128>, lifetime: Option<Duration>) -> ApiTokenState {
        let mut state = ApiTokenState::default();
        state.apply(&made(role, org, lifetime));
        state
    }

    fn end(event: EventBody) -> Option<Timestamp> {
        match event {
            EventBody::ApiTokenCreated(created) => created.expires_at,
            _ => None,
        }
    }

    #[test]
    fn a_token_does_not_outlive_the_one_that_makes_it() {
        use OperatorRole::Admin;
        let bounded = parent(Admin, None, Some(DAY));
        let until = Some(now().after(DAY));
        assert_eq!(bounded.bound(made(Admin, Some(1), None)).map(end), Ok(until));
        assert_eq!(bounded.bound(made(Admin, None, Some(DAY))).map(end), Ok(until));
        assert_eq!(
            bounded.bound(made(Admin, None, Some(2 * DAY))).map(end),
            Err(Refusal::TokenOutlives(now().after(DAY)))
        );
        let endless = parent(Admin, None, None);
        assert_eq!(endless.bound(made(Admin, None, None)).map(end), Ok(None));
        assert_eq!(endless.bound(made(Admin, None, Some(DAY))).map(end), Ok(until));
    }

    #[test]
    fn a_token_may_not_do_more_than_the_one_that_makes_it() {
        use OperatorRole::{Admin, Viewer};
        let of_org = parent(Admin, Some(1), None);
        assert!(of_org.bound(made(Viewer, Some(1), None)).is_ok());
        assert_eq!(of_org.bound(made(Viewer, Some(2), None)), Err(Refusal::TokenExceeds));
        assert_eq!(of_org.bound(made(Viewer, None, None)), Err(Refusal::TokenExceeds));
        let viewer = parent(Viewer, None, None);
        assert_eq!(viewer.bound(made(Admin, None, None)), Err(Refusal::TokenExceeds));
        assert!(parent(Admin, None, None).bound(made(Admin, Some(2), None)).is_ok());
    }

    #[test]
    fn children_and_grandchildren_are_descendants_and_a_circle_ends() {
        let id = |n| ApiTokenId(Uuid::from_u128(n));
        let made = [(2, 1), (3, 1), (4, 3), (5, 4), (7, 6), (1, 5)].map(|(a, b)| (id(a), id(b)));
        assert_eq!(descendants(id(1), made), [2, 3, 4, 5].map(id));
        assert_eq!(descendants(id(6), made), [id(7)]);
        assert_eq!(descendants(id(2), made), []);
    }
}
