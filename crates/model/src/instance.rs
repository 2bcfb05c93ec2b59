//! Two machines with one identity: which of the processes that speak as a node is served.
//!
//! ```text
//! (new) --no holder--> holder                       holder --silent, and a rival takes over--> (gone)
//! (new) --a holder---> rival --holder proves that it is alive--> refused
//!                      rival --no proof for a while-----------> holder
//! refused --holder silent when it asks again--> rival
//! ```
//! A restart is a new process too. It is never refused: the one before it has ended, so it proves
//! nothing. A proof is an answer to a question that was asked after the rival had been seen; what was
//! under way before proves nothing. No clock decides who is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A holder that has not proved for so long that it is alive does not keep others out. It proves it
/// every few seconds while there are others.
pub const HOLDER_LIFE: Duration = Duration::from_secs(20);
/// A rival whose holder has proved nothing for so long takes its place.
pub const TAKE_OVER: Duration = Duration::from_secs(30);
/// Others that have not been seen for so long are gone.
pub const OTHERS_LIFE: Duration = Duration::from_secs(90);

/// What a process is, among those that speak as one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceRole {
    /// The one that is served.
    Holder,
    /// A newer one; served too until the holder proves that it is alive.
    Rival,
    /// A newer one beside a living holder.
    Refused,
}

impl InstanceRole {
    /// The word in the `role` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holder => "holder",
            Self::Rival => "rival",
            Self::Refused => "refused",
        }
    }
}

impl std::str::FromStr for InstanceRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Holder, Self::Rival, Self::Refused]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("\"{text}\" is no role of an instance"))
    }
}

/// A process that speaks as the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Drawn when it started.
    pub id: Uuid,
    /// What it is.
    pub role: InstanceRole,
    /// Where it connects from.
    pub address: String,
    /// For how long it has been that.
    pub role_age: Duration,
    /// When it was last seen.
    pub seen_age: Duration,
}

/// What `me` is when it opens a stream, given all that speak as the node.
pub fn arrive(all: &[Instance], me: Uuid) -> InstanceRole {
    let own = all.iter().find(|instance| instance.id == me).map(|instance| instance.role);
    let holder = all.iter().find(|instance| instance.role == InstanceRole::Holder);
    // A restart of the holder: it is about to take over.
    let successor = all.iter().any(|other| {
        let is_new = other.role_age < TAKE_OVER + HOLDER_LIFE;
        other.id != me && other.role == InstanceRole::Rival && is_new
    });
    match (holder, own) {
        (None, _) | (_, Some(InstanceRole::Holder)) => InstanceRole::Holder,
        (Some(holder), Some(InstanceRole::Refused))
            if holder.seen_age < HOLDER_LIFE || successor =>
        {
            InstanceRole::Refused
        }
        (Some(_), _) => InstanceRole::Rival,
    }
}

/// What an open stream of a process has to do about the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Go on.
    Nothing,
    /// Prove that the process is alive; then these are refused.
    Prove(Vec<Uuid>),
    /// Take the holder's place.
    TakeOver,
    /// Arrive anew: the process is not known (any more).
    Arrive,
    /// End.
    End,
}

/// What the stream of `me` has to do, given all that speak as the node.
pub fn duty(all: &[Instance], me: Uuid) -> Duty {
    let Some(own) = all.iter().find(|instance| instance.id == me) else { return Duty::Arrive };
    match own.role {
        InstanceRole::Refused => Duty::End,
        InstanceRole::Rival if own.role_age >= TAKE_OVER => Duty::TakeOver,
        InstanceRole::Rival => Duty::Nothing,
        InstanceRole::Holder => {
            let others = all.iter().filter(|other| other.id != me && other.seen_age < OTHERS_LIFE);
            let others: Vec<Uuid> = others.map(|other| other.id).collect();
            if others.is_empty() { Duty::Nothing } else { Duty::Prove(others) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: u128, role: InstanceRole, role_age: u64, seen_age: u64) -> Instance {
        Instance {
            id: Uuid::from_u128(id),
            role,
            address: format!("2001:db8::{id}"),
            role_age: Duration::from_secs(role_age),
            seen_age: Duration::from_secs(seen_age),
        }
    }

    const ME: Uuid = Uuid::from_u128(2);

    #[test]
    fn the_first_holds_and_a_later_one_is_a_rival_until_one_of_them_proves_to_be_alive() {
        use InstanceRole::{Holder, Refused, Rival};
        let holder = |seen| instance(1, Holder, 100, seen);
        assert_eq!(arrive(&[], ME), Holder);
        assert_eq!(arrive(&[instance(2, Holder, 9, 9)], ME), Holder, "the same again");
        assert_eq!(arrive(&[holder(0)], ME), Rival, "it may be a restart");
        assert_eq!(arrive(&[holder(0), instance(2, Rival, 3, 3)], ME), Rival);
        assert_eq!(arrive(&[holder(5), instance(2, Refused, 30, 30)], ME), Refused);
        assert_eq!(arrive(&[holder(25), instance(2, Refused, 30, 30)], ME), Rival, "it is gone");
        let restarted = [holder(25), instance(3, Rival, 20, 20), instance(2, Refused, 30, 30)];
        assert_eq!(arrive(&restarted, ME), Refused, "the holder is back as a new process");
        assert_eq!(arrive(&[instance(2, Refused, 30, 30)], ME), Holder);
    }

    #[test]
    fn a_holder_proves_a_rival_waits_and_takes_over_and_a_refused_one_ends() {
        use InstanceRole::{Holder, Refused, Rival};
        let other = |seen| instance(3, Rival, seen, seen);
        assert_eq!(duty(&[], ME), Duty::Arrive);
        assert_eq!(duty(&[instance(2, Holder, 9, 9)], ME), Duty::Nothing);
        let pair = [instance(2, Holder, 9, 9), other(1)];
        assert_eq!(duty(&pair, ME), Duty::Prove(vec![Uuid::from_u128(3)]));
        let alone = [instance(2, Holder, 9, 9), other(100)];
        assert_eq!(duty(&alone, ME), Duty::Nothing, "the other is gone");
        let holder = instance(1, Holder, 100, 0);
        assert_eq!(duty(&[holder.clone(), instance(2, Rival, 29, 0)], ME), Duty::Nothing);
        assert_eq!(duty(&[holder.clone(), instance(2, Rival, 30, 0)], ME), Duty::TakeOver);
        assert_eq!(duty(&[holder, instance(2, Refused, 1, 0)], ME), Duty::End);
    }
}
