//! What the node knows of its network, and what an item of the stream means for it. Decides;
//! touches nothing.

use std::collections::BTreeMap;

use sextant_api::{follow::Item, frame::SnapshotState};
use sextant_model::{
    Cursor,
    membership::{Fault, Membership},
};
use uuid::Uuid;

use crate::state::{NodeIdentity, SavedState};

/// Says that the node is no member any more.
const LEFT: &str = "node-left";
/// Says that another machine runs as the node.
const DUPLICATE: &str = "node-duplicate";

/// The newest state that was taken in, applied or not.
#[derive(Debug)]
pub struct View {
    node: NodeIdentity,
    current: Option<SavedState>,
    /// What was left out of it, because the rules forbid it, by what it is about.
    faults: Faults,
}

type Faults = BTreeMap<Uuid, Fault>;

/// What an item meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The membership is another one: the interface must follow.
    Changed,
    /// Something happened that does not concern the interface.
    Advanced,
    /// Something happened that the rules forbid; it is left out.
    LeftOut(String),
    /// Nothing happened up to a later cursor.
    Marked,
    /// The stream is established.
    Connected(String),
    /// The stream is interrupted; it heals by itself.
    Disconnected(String),
    /// What came cannot be believed; the last good state stays. The stream must be opened again.
    Unbelievable(String),
    /// The control plane does not let the node follow, for example because it does not know it.
    /// The stream has ended; the interface stays.
    Refused(String),
    /// Another machine runs as this node and came first. The stream has ended.
    Duplicate(String),
    /// The node was told to leave.
    Left(String),
}

impl View {
    /// Starts from what was saved, as far as it is sound.
    pub fn new(node: NodeIdentity, saved: Option<SavedState>) -> Result<Self, Fault> {
        let mut view = Self::without_state(node);
        if let Some(SavedState { cursor, membership }) = saved {
            let (membership, faults) = view.sound(&membership)?;
            view.faults = faults;
            view.current = Some(SavedState { cursor, membership });
        }
        Ok(view)
    }

    /// Waits for a snapshot.
    pub fn without_state(node: NodeIdentity) -> Self {
        Self { node, current: None, faults: BTreeMap::new() }
    }

    /// What is left out of the state.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.values()
    }

    fn sound(&self, membership: &Membership) -> Result<(Membership, Faults), Fault> {
        let (sound, faults) = membership.sound(self.node.node_id)?;
        // Small numbers are the ids of nothing that events are about.
        let numbered = faults.into_iter().enumerate();
        let faults = numbered.map(|(n, fault)| (Uuid::from_u128(n as u128), fault)).collect();
        Ok((sound.into_owned(), faults))
    }

    /// The newest state.
    pub fn current(&self) -> Option<&SavedState> {
        self.current.as_ref()
    }

    /// Where the stream goes on.
    pub fn cursor(&self) -> Option<Cursor> {
        self.current.as_ref().map(|state| state.cursor)
    }

    /// Takes in the next item.
    pub fn take(&mut self, item: Item) -> Taken {
        match item {
            Item::Connected { url } => Taken::Connected(url),
            Item::Disconnected { reason } => Taken::Disconnected(reason),
            Item::Refused { code, detail } if code == LEFT => Taken::Left(detail),
            Item::Refused { code, detail } if code == DUPLICATE => Taken::Duplicate(detail),
            Item::Refused { code, detail } => Taken::Refused(format!("{detail} ({code})")),
            Item::Snapshot { cursor, state: SnapshotState::Membership { membership } } => {
                self.replace(cursor, membership)
            }
            Item::Snapshot { .. } => {
                Taken::Unbelievable("the snapshot is not one of a node's network".into())
            }
            Item::Event { cursor, event } => {
                let Some(state) = &mut self.current else {
                    return Taken::Unbelievable("an event came before any snapshot".into());
                };
                state.cursor = cursor;
                if let Err(fault) = state.membership.check_event(self.node.node_id, &event) {
                    let reason = fault.to_string();
                    self.faults.insert(event.aggregate_id, fault);
                    return Taken::LeftOut(reason);
                }
                self.faults.remove(&event.aggregate_id);
                let knew_all = state.membership.skipped.is_none();
                let change = state.membership.apply(&event);
                if let Some(first) = state.membership.skipped.as_ref().filter(|_| knew_all) {
                    tracing::warn!("{first}");
                }
                match change {
                    Some(_) => self.membership_changed(),
                    None => Taken::Advanced,
                }
            }
            Item::Bookmark { cursor } => match &mut self.current {
                Some(state) => {
                    state.cursor = cursor;
                    Taken::Marked
                }
                None => Taken::Unbelievable("a bookmark came before any snapshot".into()),
            },
        }
    }

    fn replace(&mut self, cursor: Cursor, membership: Membership) -> Taken {
        let (expected, me) = (self.node.network_id, self.node.node_id);
        if membership.network_id != expected {
            let other = membership.network_id;
            return Taken::Unbelievable(format!(
                "the snapshot is of network {other}, not {expected}"
            ));
        }
        if !membership.members.contains_key(&me) && !membership.departed.contains(&me) {
            let reason =
                "the snapshot does not know this node, neither as a member nor as departed";
            return Taken::Unbelievable(reason.into());
        }
        let (membership, faults) = match self.sound(&membership) {
            Ok(sound) => sound,
            Err(fault) => return Taken::Unbelievable(fault.to_string()),
        };
        if let Some(current) = &self.current {
            let (before, now) = (current.membership.prefix, membership.prefix);
            if before != now {
                return Taken::Unbelievable(format!(
                    "the snapshot's network has the prefix {now}, not {before}; a network keeps its prefix"
                ));
            }
            let mut believed = current.membership.check_shrink(&membership);
            if current.cursor.epoch == cursor.epoch {
                believed = believed.and_then(|()| current.membership.check_workloads(&membership));
            }
            if let Err(shrink) = believed {
                return Taken::Unbelievable(shrink.to_string());
            }
        }
        self.faults = faults;
        self.current = Some(SavedState { cursor, membership });
        self.membership_changed()
    }

    fn membership_changed(&self) -> Taken {
        let members = self.current.as_ref().map(|state| &state.membership.members);
        if members.is_some_and(|members| members.contains_key(&self.node.node_id)) {
            Taken::Changed
        } else {
            Taken::Left("the node was removed from its network".into())
        }
    }
}

#[cfg(test)]
mod tests;
