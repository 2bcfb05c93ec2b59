//! The end of the log, as this replica sees it grow: settle, hand to followers, project.
//!
//! One task per replica does this for all streams and all requests that wait. It is woken by its
//! own commits, by other replicas and every second; losing every wake-up costs latency only.

mod backlog;
mod feed;
mod progress;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sextant_model::{Cursor, Epoch, Event};
use sextant_store::{
    Store, StoreError,
    projection::{Checkpoints, Projections},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use backlog::Backlog;
pub use feed::{Feed, FeedError};
pub use progress::{Progress, Stall};

/// Events read at once.
pub(crate) const BATCH: i64 = 1000;
/// The fallback when no wake-up arrives.
const POLL: Duration = Duration::from_secs(1);
/// Wake-ups of other replicas are coalesced: a NOTIFY is not free.
const COALESCE: Duration = Duration::from_millis(2);
/// Between two looks for events that the projections left out and that this version can read.
const SKIPPED_INTERVAL: Duration = Duration::from_secs(30);
/// How long a request waits for its own events to appear in what it may read next.
const READ_YOUR_WRITES: Duration = Duration::from_secs(2);

/// Newly settled events.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The events, in order; may be empty.
    pub events: Arc<[Event]>,
    /// It continues from here: a follower that has not scanned so far has missed something.
    pub after: i64,
    /// Every event up to this id has been handed out.
    pub up_to: i64,
}

/// The end of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tail {
    kick: Arc<Notify>,
    announce: Arc<Notify>,
    position: watch::Sender<Position>,
    batches: Backlog,
    progress: Arc<Progress>,
}

/// How far this replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The life of the log; `None` before the database was first reached.
    pub epoch: Option<Epoch>,
    /// Settled and handed to followers.
    pub settled: i64,
    /// How far the projections are; `None` before they were first advanced.
    pub checkpoints: Option<Checkpoints>,
}

impl Position {
    /// Whether each of `projections` is filled: its rows are those of some point of the log.
    pub fn is_filled(&self, projections: Projections) -> bool {
        self.checkpoints.is_some_and(|checkpoints| checkpoints.are_filled(projections))
    }

    /// How far the log was read.
    pub fn cursor(&self) -> Option<Cursor> {
        Some(Cursor { epoch: self.epoch?, event_id: self.settled })
    }

    fn is_behind(&self) -> bool {
        self.epoch.is_some()
            && self.checkpoints.is_none_or(|checkpoints| !checkpoints.are_all_at(self.settled))
    }
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            kick: Arc::new(Notify::new()),
            announce: Arc::new(Notify::new()),
            position: watch::Sender::new(Position::default()),
            batches: Backlog::new(backlog::LIMITS),
            progress: Arc::new(Progress::new(Instant::now())),
        }
    }
}

impl Tail {
    /// This replica has committed something.
    pub fn committed(&self) {
        self.kick.notify_one();
        self.announce.notify_one();
    }

    /// How far this replica is now.
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// When this replica last got somewhere.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// New batches from now on.
    fn subscribe(&self) -> backlog::Reader {
        self.batches.subscribe()
    }

    /// Waits, within bounds, until `projections` contain `event_id`.
    pub async fn wait_projected(&self, event_id: i64, projections: Projections) -> bool {
        let mut position = self.position.subscribe();
        let there = position.wait_for(|position| {
            position.checkpoints.is_some_and(|at| at.contain(projections, event_id))
        });
        tokio::time::timeout(READ_YOUR_WRITES, there).await.is_ok_and(|reached| reached.is_ok())
    }

    /// Up to where the log is settled, at least as far as `event_id` if it exists: another replica
    /// may be ahead of this one, and a follower that comes from there must not be sent away.
    pub async fn settled_at_least(&self, store: &Store, event_id: i64) -> Result<i64, StoreError> {
        let position = self.position();
        if position.epoch.is_some() && event_id <= position.settled {
            return Ok(position.settled);
        }
        self.kick.notify_one();
        store.settle().await
    }

    /// Runs until `stop`. Errors of the database are logged and tried again: a control plane
    /// outlives its database.
    pub async fn run(&self, store: Store, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            ((), (), (), ()) = async { tokio::join!(
                self.advance_for_ever(&store),
                self.project_for_ever(&store),
                self.listen_for_ever(&store),
                self.announce_for_ever(&store),
            ) } => {}
        }
    }

    async fn advance_for_ever(&self, store: &Store) {
        let mut failing = false;
        loop {
            self.progress.turned(Instant::now());
            let advanced = self.advance(store).await;
            if advanced.is_ok() {
                self.progress.read(Instant::now());
            }
            match advanced {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the database is back");
                }
                Ok(()) => {}
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "the log cannot be read; trying again every second");
                    }
                    failing = true;
                }
            }
            let _ = tokio::time::timeout(POLL, self.kick.notified()).await;
        }
    }

    async fn advance(&self, store: &Store) -> Result<(), StoreError> {
        let epoch = store.epoch().await?;
        let settled = store.settle().await?;
        let before = self.position();
        // After a restore the log may be shorter than it was: followers are told by the epoch.
        let restarted = before.epoch != Some(epoch);
        let mut from = if restarted { settled } else { before.settled };
        while from < settled {
            let events = store.events(from, settled, BATCH).await?;
            // What was read must be of the log that it is said to be of: the database may have been
            // replaced meanwhile.
            if store.epoch().await? != epoch {
                self.kick.notify_one();
                return Ok(());
            }
            self.progress.turned(Instant::now());
            let full = i64::try_from(events.len()).unwrap_or(BATCH) == BATCH;
            let after = from;
            from = events.last().filter(|_| full).map_or(settled, |event| event.event_id);
            // Position first: whoever subscribes after the batch was sent finds it in the database.
            self.position.send_modify(|position| position.settled = from);
            self.batches.put(Batch { events: events.into(), after, up_to: from });
        }
        if restarted {
            let settled = from;
            self.position.send_modify(|position| {
                *position = Position { epoch: Some(epoch), settled, checkpoints: None };
            });
        }
        Ok(())
    }

    /// Apart from the streams: a projection that waits, for example for a rebuild, holds up nobody
    /// who follows the log.
    async fn project_for_ever(&self, store: &Store) {
        let mut position = self.position.subscribe();
        let mut look_for_skipped = Instant::now();
        loop {
            let behind = position.wait_for(Position::is_behind);
            let settled = match tokio::time::timeout(SKIPPED_INTERVAL, behind).await {
                Ok(Ok(position)) => Some(position.settled),
                Ok(Err(_)) => return,
                Err(_) => None,
            };
            if look_for_skipped <= Instant::now() {
                look_for_skipped = Instant::now() + SKIPPED_INTERVAL;
                if let Err(error) = store.project_skipped().await {
                    tracing::warn!(%error, "events that were left out cannot be projected yet");
                }
            }
            let Some(settled) = settled else { continue };
            self.progress.behind(Instant::now());
            if let Err(error) = self.project(store, settled).await {
                tracing::warn!(%error, "the projections cannot be advanced; trying again");
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// One step for those that are filled, and a part of the way for those that are not yet.
    async fn project(&self, store: &Store, settled: i64) -> Result<(), StoreError> {
        let checkpoints = store.project_filled(settled).await?;
        self.projected(checkpoints);
        if !checkpoints.are_all_at(settled) {
            let checkpoints = store.fill(settled).await?;
            self.projected(checkpoints);
        }
        Ok(())
    }

    fn projected(&self, checkpoints: Checkpoints) {
        self.position.send_modify(|position| position.checkpoints = Some(checkpoints));
        let caught_up = !self.position().is_behind();
        self.progress.projected(Instant::now(), caught_up);
    }

    /// Waits until the log was read for the first time.
    pub async fn ready(&self) {
        let mut position = self.position.subscribe();
        // The sender lives as long as `self`, so this can only end well.
        let _ = position.wait_for(|position| position.epoch.is_some()).await;
    }

    /// Waits, within bounds, until this replica knows the log of `epoch`.
    pub async fn wait_known(&self, epoch: Epoch) -> bool {
        let mut position = self.position.subscribe();
        self.kick.notify_one();
        let known = position.wait_for(|position| position.epoch == Some(epoch));
        tokio::time::timeout(READ_YOUR_WRITES, known).await.is_ok_and(|known| known.is_ok())
    }

    async fn listen_for_ever(&self, store: &Store) {
        loop {
            if let Err(error) = self.listen(store).await {
                tracing::debug!(%error, "the wake-up connection was lost; polling meanwhile");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn listen(&self, store: &Store) -> Result<(), StoreError> {
        let mut wake_ups = store.wake_ups().await?;
        loop {
            wake_ups.next().await?;
            self.kick.notify_one();
        }
    }

    async fn announce_for_ever(&self, store: &Store) {
        loop {
            self.announce.notified().await;
            tokio::time::sleep(COALESCE).await;
            if let Err(error) = store.wake_others().await {
                tracing::debug!(%error, "the other replicas could not be woken; they poll");
            }
        }
    }
}
