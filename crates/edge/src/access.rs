//! What is known of a connection once it has ended, and the bounded queue that takes it to the
//! writer of the access log.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sextant_model::routing::RouteKey;

use crate::{hello::ServerName, outcome::Outcome};

/// One connection that has ended.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// Who connected: as the socket says, or a trusted proxy.
    pub client: SocketAddr,
    /// What the client connected to, from the same source.
    pub local: SocketAddr,
    /// The address of the listening socket.
    pub listener: SocketAddr,
    /// The name it asked for, in a ClientHello or a request.
    pub name: Option<ServerName>,
    /// The route it was given.
    pub route: Option<RouteKey>,
    /// The last backend it was forwarded or tried to be forwarded to.
    pub backend: Option<SocketAddr>,
    /// Backends that were tried.
    pub attempts: u8,
    /// Bytes of the client that the backend was sent, without a PROXY header.
    pub bytes_up: u64,
    /// Bytes of the backend that the client was sent.
    pub bytes_down: u64,
    /// From accept to the end.
    pub duration: Duration,
    /// From accept to the choice of the route.
    pub time_to_route: Option<Duration>,
    /// How it ended.
    pub outcome: Outcome,
}

/// Where workers leave records. They never wait: what does not fit is dropped and counted.
#[derive(Clone, Debug)]
pub struct AccessSender(Arc<Queue>);

/// Where the writer of the access log takes records from. Nothing wakes it: it looks often, which
/// costs less than to be woken for each connection.
#[derive(Debug)]
pub struct AccessReceiver(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    records: Mutex<VecDeque<AccessRecord>>,
    capacity: usize,
    dropped: AtomicU64,
}

/// A queue of at most `capacity` records.
pub fn queue(capacity: usize) -> (AccessSender, AccessReceiver) {
    let queue = Queue { records: Mutex::default(), capacity, dropped: AtomicU64::new(0) };
    let queue = Arc::new(queue);
    (AccessSender(Arc::clone(&queue)), AccessReceiver(queue))
}

impl AccessSender {
    /// Hands over `batch` and leaves it empty; or leaves all of it where it is because someone else
    /// is at the queue, and the caller comes back later.
    pub fn send(&self, batch: &mut Vec<AccessRecord>) {
        let mut records = match self.0.records.try_lock() {
            Ok(records) => records,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let room = self.0.capacity.saturating_sub(records.len());
        let dropped = batch.len().saturating_sub(room);
        records.extend(batch.drain(..).take(room));
        drop(records);
        self.count_dropped(dropped);
    }

    /// Counts records that never came here.
    pub fn count_dropped(&self, records: usize) {
        if records > 0 {
            self.0.dropped.fetch_add(records as u64, Relaxed);
        }
    }

    /// Records that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }
}

impl AccessReceiver {
    /// Everything that waits, in exchange for `empty`, whose room is used next.
    pub fn take(&self, empty: VecDeque<AccessRecord>) -> VecDeque<AccessRecord> {
        debug_assert!(empty.is_empty(), "records would be written twice");
        let mut records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut records, empty)
    }

    /// Records that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes_up: u64) -> AccessRecord {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        AccessRecord {
            client: address,
            local: address,
            listener: address,
            name: None,
            route: None,
            backend: None,
            attempts: 0,
            bytes_up,
            bytes_down: 0,
            duration: Duration::ZERO,
            time_to_route: None,
            outcome: Outcome::Completed,
        }
    }

    #[test]
    fn records_arrive_in_order_and_what_does_not_fit_is_counted() {
        let (sender, receiver) = queue(3);
        let mut batch = vec![record(1), record(2)];
        sender.send(&mut batch);
        assert!(batch.is_empty());
        sender.send(&mut vec![record(3), record(4), record(5)]);
        let bytes: Vec<_> =
            receiver.take(VecDeque::new()).iter().map(|record| record.bytes_up).collect();
        assert_eq!(bytes, [1, 2, 3]);
        assert_eq!(sender.dropped(), 2);
        assert!(receiver.take(VecDeque::new()).is_empty());
    }

    #[test]
    fn a_busy_queue_keeps_nobody_waiting_and_loses_nothing() {
        let (sender, receiver) = queue(3);
        let mut batch = vec![record(1)];
        let held = receiver.0.records.lock().expect("not poisoned");
        sender.send(&mut batch);
        assert_eq!(batch.len(), 1);
        drop(held);
        sender.send(&mut batch);
        assert_eq!(receiver.take(VecDeque::new()).len(), 1);
        assert_eq!(receiver.dropped(), 0);
    }
}
