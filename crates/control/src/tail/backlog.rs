//! The newest batches, for followers that read at their own pace. It is bounded in events and in
//! bytes, whoever reads how slowly: what falls out of it must be read from the database again.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sextant_model::Event;
use tokio::sync::watch;

use super::Batch;

/// What is kept at most, besides one batch of whatever size.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events in all.
    pub events: usize,
    /// Bytes of them all, as they travel.
    pub bytes: usize,
}

/// Of the order of what 1,000 commands a second append while a follower may stall.
pub const LIMITS: Limits = Limits { events: 10_000, bytes: 8 * 1024 * 1024 };

/// Where batches are put in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backlog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    kept: Mutex<Kept>,
    /// Number of the next batch.
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    batches: VecDeque<(Batch, usize)>,
    /// Number of the first batch that is kept.
    first: u64,
    events: usize,
    bytes: usize,
}

/// One follower's place.
#[derive(Debug)]
pub struct Reader {
    backlog: Backlog,
    next: u64,
    changed: watch::Receiver<u64>,
}

/// The next batch has fallen out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged;

impl Backlog {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        let kept = Mutex::default();
        Self(Arc::new(Shared { limits, kept, next: watch::Sender::new(0) }))
    }

    /// Adds a batch; lets the oldest go if there is too much.
    pub fn put(&self, batch: Batch) {
        let bytes = batch.events.iter().map(size).sum();
        let mut kept = self.kept();
        kept.events += batch.events.len();
        kept.bytes += bytes;
        kept.batches.push_back((batch, bytes));
        let Limits { events, bytes } = self.0.limits;
        while kept.batches.len() > 1 && (kept.events > events || kept.bytes > bytes) {
            if let Some((oldest, bytes)) = kept.batches.pop_front() {
                kept.first += 1;
                kept.events -= oldest.events.len();
                kept.bytes -= bytes;
            }
        }
        let next = kept.first + kept.batches.len() as u64;
        drop(kept);
        self.0.next.send_replace(next);
    }

    /// New batches from now on.
    pub fn subscribe(&self) -> Reader {
        let mut changed = self.0.next.subscribe();
        let next = *changed.borrow_and_update();
        Reader { backlog: self.clone(), next, changed }
    }

    fn get(&self, number: u64) -> Result<Option<Batch>, Lagged> {
        let kept = self.kept();
        let index = number.checked_sub(kept.first).ok_or(Lagged)?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        Ok(kept.batches.get(index).map(|(batch, _)| batch.clone()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Waits for the next batch. Cancel safe.
    pub async fn next(&mut self) -> Result<Batch, Lagged> {
        loop {
            if let Some(batch) = self.backlog.get(self.next)? {
                self.next += 1;
                return Ok(batch);
            }
            // The sender lives as long as the backlog that this reader holds.
            let _ = self.changed.changed().await;
        }
    }
}

/// What an event takes on the wire, in bytes.
fn size(event: &Event) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // A value that cannot be written is never sent.
    let _ = serde_json::to_writer(&mut counter, event);
    counter.0
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use sextant_model::{
        ActorId, AggregateKind, EventBody, Timestamp,
        event::{NetworkDeleted, UnknownEvent},
    };
    use uuid::Uuid;

    use super::*;

    fn event(event_id: i64, body: EventBody) -> Event {
        Event {
            event_id,
            occurred_at: Timestamp::from_unix_seconds(0).expect("time"),
            aggregate_type: AggregateKind::Network,
            aggregate_id: Uuid::nil(),
            aggregate_seq: 1,
            actor_id: ActorId::SYSTEM,
            body,
        }
    }

    fn batch(after: i64, count: i64) -> Batch {
        let body = EventBody::NetworkDeleted(NetworkDeleted {});
        let events = (1..=count).map(|n| event(after + n, body.clone())).collect();
        Batch { events, after, up_to: after + count }
    }

    fn next(reader: &mut Reader) -> Option<Result<i64, Lagged>> {
        reader.next().now_or_never().map(|batch| batch.map(|batch| batch.up_to))
    }

    #[test]
    fn a_reader_gets_every_batch_once_and_one_that_is_too_slow_is_told_so() {
        let backlog = Backlog::new(Limits { events: 10, bytes: usize::MAX });
        backlog.put(batch(0, 1));
        let (mut quick, mut slow) = (backlog.subscribe(), backlog.subscribe());
        assert_eq!(next(&mut quick), None, "only what is new");
        for n in 0..4 {
            backlog.put(batch(1 + 3 * n, 3));
            assert_eq!(next(&mut quick), Some(Ok(4 + 3 * n)));
        }
        assert_eq!(next(&mut slow), Some(Err(Lagged)), "twelve events are more than ten");
        let kept = backlog.kept();
        assert_eq!((kept.events, kept.batches.len()), (9, 3));
    }

    #[test]
    fn bytes_are_bounded_as_well_and_one_batch_always_fits() {
        let text = "x".repeat(1000);
        let body = EventBody::Unknown(UnknownEvent { event_type: text, reason: String::new() });
        let large = |n| Batch { events: [event(n, body.clone())].into(), after: n - 1, up_to: n };
        let backlog = Backlog::new(Limits { events: 10, bytes: 1500 });
        let mut reader = backlog.subscribe();
        backlog.put(large(1));
        assert_eq!(next(&mut reader), Some(Ok(1)));
        let mut slow = backlog.subscribe();
        backlog.put(large(2));
        backlog.put(large(3));
        assert_eq!(next(&mut slow), Some(Err(Lagged)));
        assert_eq!(backlog.kept().batches.len(), 1);
    }
}
