//! Group commit: commands that only append the first event of a new aggregate share a commit.
//!
//! While one batch is being committed the next one gathers, so a lone command waits for nobody and
//! a crowd pays for one commit together. A batch happens as a whole or not at all; every command
//! in it is answered alike.

use std::sync::Arc;

use sextant_model::Timestamp;
use sextant_store::{FirstEvent, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Events in one batch at most.
const BATCH: usize = 256;

/// Where commands hand in their event. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Appender(mpsc::Sender<Waiting>);

/// The work behind an [`Appender`].
#[derive(Debug)]
pub struct AppenderTask(mpsc::Receiver<Waiting>);

/// The event's id and when it happened.
type Appended = Result<(i64, Timestamp), Arc<StoreError>>;

#[derive(Debug)]
struct Waiting {
    event: FirstEvent,
    answer: oneshot::Sender<Appended>,
}

/// The two ends.
pub fn appender() -> (Appender, AppenderTask) {
    let (sender, receiver) = mpsc::channel(BATCH);
    (Appender(sender), AppenderTask(receiver))
}

impl Appender {
    /// Appends the event; returns when it is committed.
    pub async fn append(&self, event: FirstEvent) -> Appended {
        let closed = || Arc::new(StoreError::ShuttingDown);
        let (answer, answered) = oneshot::channel();
        self.0.send(Waiting { event, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

impl AppenderTask {
    /// Commits batch after batch until `stop`.
    pub async fn run(mut self, store: Store, stop: CancellationToken) {
        let mut waiting = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = self.0.recv_many(&mut waiting, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
            }
            let (events, answers): (Vec<_>, Vec<_>) =
                waiting.drain(..).map(|waiting| (waiting.event, waiting.answer)).unzip();
            match store.append_first(&events).await {
                Ok((ids, at)) => {
                    for (id, answer) in ids.into_iter().zip(answers) {
                        // Whoever has gone away meanwhile does not need to know.
                        let _ = answer.send(Ok((id, at)));
                    }
                }
                Err(error) => {
                    let error = Arc::new(error);
                    for answer in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }
}
