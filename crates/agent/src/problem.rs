//! What an agent complains of. Each complaint has an owner, the part that found it, and only that
//! part takes it back.

use std::{collections::BTreeMap, fmt};

use sextant_model::health::Kind;

/// Something that is wrong with this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing it is.
    pub kind: Kind,
    /// One line for people.
    pub text: String,
}

impl Problem {
    /// `text` is wrong, which is of this kind.
    pub fn new(kind: Kind, text: impl ToString) -> Self {
        Self { kind, text: text.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The parts of the agent that complain, besides the passes over the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Saving the state.
    State,
    /// Looking at the disk.
    Disk,
    /// Following the control plane.
    Stream,
    /// Measuring peers.
    Probe,
}

/// At most one complaint of each owner.
#[derive(Debug, Default)]
pub struct Problems(BTreeMap<Owner, Problem>);

impl Problems {
    /// The owner complains. Whether it did not before.
    pub fn set(&mut self, owner: Owner, problem: Problem) -> bool {
        self.0.insert(owner, problem).is_none()
    }

    /// The owner has nothing to complain of. Whether it had.
    pub fn clear(&mut self, owner: Owner) -> bool {
        self.0.remove(&owner).is_some()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_taken_back_by_its_owner_alone() {
        let mut problems = Problems::default();
        let full = Problem::new(Kind::StateUnsaved, "no space left");
        assert!(problems.set(Owner::State, full.clone()));
        assert!(!problems.set(Owner::State, full.clone()), "it complains already");
        problems.set(Owner::Stream, Problem::new(Kind::StreamRefused, "unknown"));
        assert!(problems.clear(Owner::Stream) && !problems.clear(Owner::Stream));
        assert_eq!(problems.iter().collect::<Vec<_>>(), [&full]);
        assert!(problems.clear(Owner::State));
        assert_eq!(problems.iter().count(), 0);
    }
}
