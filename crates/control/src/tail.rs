//! The end of the log, as this replica sees it grow: settle, hand to followers, project.
//!
//! One task per replica does this for all streams and all requests that wait. It is woken by its
//! own commits, by other replicas and every second; losing every wake-up costs latency only.

mod feed;

use std::{sync::Arc, time::Duration};

use sextant_model::{Epoch, Event};
use sextant_store::{Store, StoreError};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use feed::{Feed, FeedError};

/// Batches a follower may be behind before it is cut and has to resume.
const BACKLOG: usize = 1024;
/// Events read at once.
pub(crate) const BATCH: i64 = 1000;
/// The fallback when no wake-up arrives.
const POLL: Duration = Duration::from_secs(1);
/// Wake-ups of other replicas are coalesced: a NOTIFY is not free.
const COALESCE: Duration = Duration::from_millis(2);
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
    batches: broadcast::Sender<Batch>,
}

/// How far this replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The life of the log; `None` before the database was first reached.
    pub epoch: Option<Epoch>,
    /// Settled and handed to followers.
    pub settled: i64,
    /// In the projections.
    pub projected: i64,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            kick: Arc::new(Notify::new()),
            announce: Arc::new(Notify::new()),
            position: watch::Sender::new(Position::default()),
            batches: broadcast::Sender::new(BACKLOG),
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

    /// New batches from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Batch> {
        self.batches.subscribe()
    }

    /// Waits, within bounds, until the projections contain `event_id`.
    pub async fn wait_projected(&self, event_id: i64) -> bool {
        let mut position = self.position.subscribe();
        let there = position.wait_for(|position| position.projected >= event_id);
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
            match self.advance(store).await {
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
            let full = i64::try_from(events.len()).unwrap_or(BATCH) == BATCH;
            let after = from;
            from = events.last().filter(|_| full).map_or(settled, |event| event.event_id);
            // Position first: whoever subscribes after the batch was sent finds it in the database.
            self.position.send_modify(|position| position.settled = from);
            // Nobody follows at the moment: that is fine.
            let _ = self.batches.send(Batch { events: events.into(), after, up_to: from });
        }
        if restarted {
            let settled = from;
            self.position.send_modify(|position| {
                *position = Position { epoch: Some(epoch), settled, projected: 0 };
            });
        }
        Ok(())
    }

    /// Apart from the streams: a projection that waits, for example for a rebuild, holds up nobody
    /// who follows the log.
    async fn project_for_ever(&self, store: &Store) {
        let mut position = self.position.subscribe();
        loop {
            let behind = position.wait_for(|position| position.projected < position.settled).await;
            let Ok(settled) = behind.map(|position| position.settled) else { return };
            match store.project(settled).await {
                Ok(projected) => self.position.send_modify(|position| {
                    position.projected = projected;
                }),
                Err(error) => {
                    tracing::warn!(%error, "the projections cannot be advanced; trying again");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Waits until the log was read for the first time.
    pub async fn ready(&self) {
        // The sender lives as long as `self`, so this can only end well.
        let _ = self.position.subscribe().wait_for(|position| position.epoch.is_some()).await;
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
