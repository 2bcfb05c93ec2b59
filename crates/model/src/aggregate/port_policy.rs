//! The platform's port policy: one aggregate, of a fixed id, with a default before its first event.

use uuid::Uuid;

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::Aggregate,
    event::{AggregateKind, EventBody, PortPolicySet},
    port::PortPolicy,
};

/// The id of the only one.
pub const ID: Uuid = Uuid::nil();

/// The port policy as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPolicyState {
    policy: PortPolicy,
}

impl PortPolicyState {
    /// What holds now.
    pub fn policy(&self) -> &PortPolicy {
        &self.policy
    }

    /// Puts another policy in place; nothing to do if it holds already. Routes that are there stay,
    /// also on ports that it denies: a policy says who may begin.
    pub fn set(&self, policy: PortPolicy) -> Option<EventBody> {
        let changed = self.policy != policy;
        let PortPolicy { allow, deny } = policy;
        changed.then_some(EventBody::PortPolicySet(PortPolicySet { allow, deny }))
    }
}

impl Aggregate for PortPolicyState {
    const KIND: AggregateKind = AggregateKind::PortPolicy;

    fn apply(&mut self, event: &EventBody) {
        if let EventBody::PortPolicySet(set) = event {
            self.policy = PortPolicy { allow: set.allow.clone(), deny: set.deny.clone() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::PortRange;

    #[test]
    fn mail_is_denied_before_anything_was_said_and_a_policy_is_set_once() {
        let mut state = PortPolicyState::default();
        assert_eq!(state.policy().deny, [PortRange::one(25)]);
        assert_eq!(state.set(PortPolicy::default()), None);
        let wanted = PortPolicy { allow: vec![PortRange::one(5432)], deny: vec![] };
        state.apply(&state.set(wanted.clone()).expect("changed"));
        assert_eq!(state.policy(), &wanted);
        assert_eq!(state.set(wanted), None);
    }
}
