//! What the node knows of its network, and what an item of the stream means for it. Decides;
//! touches nothing.

use sextant_api::{follow::Item, frame::SnapshotState};
use sextant_model::{Cursor, membership::Membership};

use crate::state::{NodeIdentity, SavedState};

/// Says that the node is no member any more.
const LEFT: &str = "node-left";
/// The newest state that was taken in, applied or not.
#[derive(Debug)]
pub struct View {
    node: NodeIdentity,
    current: Option<SavedState>,
}

/// What an item meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The membership is another one: the interface must follow.
    Changed,
    /// Something happened that does not concern the interface.
    Advanced,
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
    /// The node was told to leave.
    Left(String),
}

impl View {
    /// Starts from what was saved.
    pub fn new(node: NodeIdentity, saved: Option<SavedState>) -> Self {
        Self { node, current: saved }
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
        if let Some(current) = &self.current {
            let mut believed = current.membership.check_shrink(&membership);
            if current.cursor.epoch == cursor.epoch {
                believed = believed.and_then(|()| current.membership.check_workloads(&membership));
            }
            if let Err(shrink) = believed {
                return Taken::Unbelievable(shrink.to_string());
            }
        }
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
