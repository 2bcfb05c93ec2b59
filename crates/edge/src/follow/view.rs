//! What the edge knows, and what an item of the stream means for it. Decides; touches nothing.

use std::collections::BTreeSet;

use sextant_api::{follow::Item, frame::SnapshotState};
use sextant_model::{
    Cursor, RouteId,
    routing::{Routing, desired::RoutingSnapshot},
};

use crate::state::Saved;

/// The newest routes that were taken in.
#[derive(Debug)]
pub struct View {
    current: Option<Saved>,
}

/// What an item meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Everything may be different.
    Replaced,
    /// These routes are different; perhaps none.
    Changed(BTreeSet<RouteId>),
    /// Nothing happened up to a later cursor.
    Marked,
    /// The stream is established.
    Connected(String),
    /// The stream is interrupted; it heals by itself.
    Disconnected(String),
    /// What came cannot be believed; the last good state stays. The stream must be opened again.
    Unbelievable(String),
    /// The control plane does not let the edge follow. The stream has ended; the routes stay.
    Refused(String),
}

impl View {
    /// Starts from what was saved.
    pub fn new(saved: Option<Saved>) -> Self {
        Self { current: saved }
    }

    /// The newest state.
    pub fn current(&self) -> Option<&Saved> {
        self.current.as_ref()
    }

    /// Takes in the next item.
    pub fn take(&mut self, item: Item) -> Taken {
        match item {
            Item::Connected { url } => Taken::Connected(url),
            Item::Disconnected { reason } => Taken::Disconnected(reason),
            Item::Refused { code, detail } => Taken::Refused(format!("{detail} ({code})")),
            Item::Snapshot { cursor, state: SnapshotState::Routing { routing } } => {
                self.replace(cursor, routing)
            }
            Item::Snapshot { .. } => {
                Taken::Unbelievable("the snapshot is not one of routes".into())
            }
            Item::Event { cursor, event } => {
                let Some(state) = &mut self.current else {
                    return Taken::Unbelievable("an event came before any snapshot".into());
                };
                state.cursor = cursor;
                Taken::Changed(state.routing.apply(&event))
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

    fn replace(&mut self, cursor: Cursor, snapshot: RoutingSnapshot) -> Taken {
        if let Some(current) = &self.current {
            let (expected, other) = (current.routing.network_id(), snapshot.network_id);
            if expected != other {
                return Taken::Unbelievable(format!(
                    "the snapshot is of network {other}, not {expected}; if the node was enrolled anew, empty control_plane.state_dir"
                ));
            }
            let mut believed = current.routing.check_shrink(&snapshot);
            if current.cursor.epoch == cursor.epoch {
                believed = believed.and_then(|()| current.routing.check_workloads(&snapshot));
            }
            if let Err(shrink) = believed {
                return Taken::Unbelievable(shrink.to_string());
            }
        }
        self.current = Some(Saved { cursor, routing: Routing::from(snapshot) });
        Taken::Replaced
    }
}
