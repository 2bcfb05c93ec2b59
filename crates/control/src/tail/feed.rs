//! What one follower is sent: the log from its cursor on, first from the database, then live.

use std::time::Instant;

use sextant_api::Frame;
use sextant_model::{
    Cursor, Epoch, Event,
    cursor::CursorGone,
    visibility::{Viewer, visible},
};
use sextant_store::{Store, StoreError};

use super::{
    BATCH, Stall, Tail,
    backlog::{self, Lagged},
};

/// One follower's way through the log.
#[derive(Debug)]
pub struct Feed {
    viewer: Viewer,
    epoch: Epoch,
    /// Everything up to here was scanned.
    scanned: i64,
    /// The follower was told of everything up to here.
    told: i64,
    live: backlog::Reader,
}

/// Why a feed ends.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The follower must take a new snapshot.
    #[error(transparent)]
    Gone(#[from] CursorGone),
    /// The follower is too slow; it resumes where it is.
    #[error("the follower is too far behind; resume from its cursor")]
    Lagged,
    /// The replica shuts down.
    #[error("this replica is shutting down; resume at another one")]
    Closed,
    /// The replica itself has not read the log lately: the follower is better off elsewhere.
    #[error(transparent)]
    Stalled(#[from] Stall),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Feed {
    /// Starts after `cursor`, if the log can go on from there. Subscribes before anything is read,
    /// so that nothing falls between the database and the live batches.
    pub async fn start(
        tail: &Tail,
        store: &Store,
        viewer: Viewer,
        cursor: Cursor,
    ) -> Result<Self, FeedError> {
        let live = tail.subscribe();
        match tail.progress().check_log(Instant::now()) {
            // It has just started, and is waited for below.
            Ok(()) | Err(Stall::NeverRead) => {}
            Err(stall) => return Err(stall.into()),
        }
        let epoch = store.epoch().await?;
        // A replica that has just started does not know the log yet: its first batch would begin
        // after events that are neither read by `catch_up` nor sent.
        if !tail.wait_known(epoch).await {
            return Err(FeedError::Lagged);
        }
        cursor.check(epoch, tail.settled_at_least(store, cursor.event_id).await?)?;
        Ok(Self { viewer, epoch, scanned: cursor.event_id, told: cursor.event_id, live })
    }

    /// Reads from the database what is settled and was not scanned yet. Call until it returns an
    /// empty list of frames and `false`.
    pub async fn catch_up(
        &mut self,
        store: &Store,
        settled: i64,
    ) -> Result<(Vec<Frame>, bool), FeedError> {
        if self.scanned >= settled {
            return Ok((vec![], false));
        }
        let events = store.events(self.scanned, settled, BATCH).await?;
        let full = i64::try_from(events.len()).unwrap_or(BATCH) == BATCH;
        let up_to = events.last().filter(|_| full).map_or(settled, |event| event.event_id);
        Ok((self.scan(&events, up_to), true))
    }

    /// Waits for the next live batch. Cancel-safe.
    pub async fn next(&mut self, tail: &Tail) -> Result<Vec<Frame>, FeedError> {
        let batch = self.live.next().await.map_err(|Lagged| FeedError::Lagged)?;
        self.check_epoch(tail)?;
        if batch.after > self.scanned {
            return Err(FeedError::Lagged);
        }
        Ok(self.scan(&batch.events, batch.up_to))
    }

    /// Ends the feed if the log has begun a new life.
    pub fn check_epoch(&self, tail: &Tail) -> Result<(), FeedError> {
        match tail.position().epoch {
            Some(epoch) if epoch != self.epoch => Err(CursorGone::ForeignEpoch.into()),
            _ => Ok(()),
        }
    }

    /// A bookmark, if the follower has not been told how far it is.
    pub fn bookmark(&mut self) -> Option<Frame> {
        (self.scanned > self.told).then(|| {
            self.told = self.scanned;
            Frame::Bookmark { cursor: self.cursor(self.scanned) }
        })
    }

    fn scan(&mut self, events: &[Event], up_to: i64) -> Vec<Frame> {
        let mut frames = Vec::new();
        for event in events.iter().filter(|event| event.event_id > self.scanned) {
            if let Some(event) = visible(self.viewer, event) {
                self.told = event.event_id;
                frames.push(Frame::Event { cursor: self.cursor(event.event_id), event });
            }
        }
        self.scanned = self.scanned.max(up_to);
        frames
    }

    fn cursor(&self, event_id: i64) -> Cursor {
        Cursor { epoch: self.epoch, event_id }
    }
}
