//! A follower of the stream that is there from the first event to the last, on whichever replica
//! lets it.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sextant_api::{
    Client,
    follow::{Item, follow},
};
use sextant_model::{Cursor, Epoch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{error::Result, interrupt::Interrupt, wait::until};

/// The follower; ends when dropped.
#[derive(Debug)]
pub(super) struct Follower {
    seen: Arc<Mutex<Seen>>,
    _stop: DropGuard,
}

/// What it was handed.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The ids of the events, as they came.
    pub(super) events: Vec<i64>,
    /// Connections that were made, in all.
    pub(super) connections: usize,
    /// What a follower of one life of the log must not be told.
    pub(super) strange: Vec<String>,
}

impl Follower {
    /// Follows from the very first event. Must be called inside a tokio runtime.
    pub(super) fn start(client: &Client, epoch: Epoch) -> Self {
        let stop = CancellationToken::new();
        let beginning = Cursor { epoch, event_id: 0 };
        let mut items = follow(client.clone(), Some(beginning), stop.clone());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(item) = items.recv().await {
                shared.lock().unwrap_or_else(PoisonError::into_inner).take(item);
            }
        });
        Self { seen, _stop: stop.drop_guard() }
    }

    /// Waits until the event `last` has come, and returns everything that has. If it does not come
    /// in time, what is missing shows in the comparison.
    pub(super) fn finish(self, last: i64, limit: Duration, interrupt: &Interrupt) -> Result<Seen> {
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waited = until("the follower", limit, interrupt, || {
            let newest = seen().events.last().copied().unwrap_or(0);
            Ok(if newest >= last {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(format!("it is at event {newest} of {last}"))
            })
        });
        interrupt.check()?;
        let mut seen = seen();
        seen.strange.extend(waited.err().map(|error| error.to_string()));
        Ok(seen)
    }
}

impl Seen {
    fn take(&mut self, item: Item) {
        match item {
            Item::Event { event, .. } => self.events.push(event.event_id),
            Item::Connected { .. } => self.connections += 1,
            Item::Bookmark { .. } | Item::Disconnected { .. } => {}
            Item::Snapshot { cursor, .. } => self.strange.push(format!("a snapshot at {cursor}")),
            Item::Refused { code, detail } => self.strange.push(format!("{code}: {detail}")),
        }
    }
}
