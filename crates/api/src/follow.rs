//! The resumable follower: the stream as one sequence of items, across reconnects, replicas and
//! restarts of the control plane, each event once and in order.
//!
//! ```text
//!            +---------- backoff ---------+
//!            v                            |
//! connect(WebSocket, next URL) --frames--> dead, lagged or closed
//!            |                                        ^
//!            +-- upgrade refused --> poll GET /v1/events
//! ```

mod connection;
mod position;
mod standing;

use std::time::{Duration, Instant};

use sextant_model::{Cursor, Event};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use connection::Connection;
pub use position::{Position, Step};
use standing::{Standing, Verdict};

use crate::{
    Client, ClientError, Frame,
    client::TIME_CODES,
    frame::{SnapshotState, StreamView},
};

/// Items that may wait for a slow consumer before the stream is left unread.
const QUEUE: usize = 256;
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(20);
/// After so long of polling a WebSocket is tried again.
const POLL_LIMIT: Duration = Duration::from_mins(1);

/// What a consumer of the stream sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Replaces everything known so far.
    Snapshot {
        /// Where the stream goes on.
        cursor: Cursor,
        /// The state at that point.
        state: SnapshotState,
    },
    /// The next event.
    Event {
        /// Where the stream goes on after it.
        cursor: Cursor,
        /// What happened.
        event: Event,
    },
    /// Nothing more to see up to here.
    Bookmark {
        /// Where the stream goes on.
        cursor: Cursor,
    },
    /// The stream is established, with this server.
    Connected {
        /// Which one.
        url: String,
    },
    /// The stream is interrupted; the follower is trying again by itself.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// The server does not let this client follow (any more). The follower has stopped.
    Refused {
        /// The problem's code.
        code: String,
        /// The same for people.
        detail: String,
    },
}

/// Follows from `after` (a snapshot first, if absent) until `stop` is cancelled, the receiver is
/// dropped or the server refuses.
///
/// Must be called inside a tokio runtime.
pub fn follow(
    client: Client,
    after: Option<Cursor>,
    stop: CancellationToken,
) -> mpsc::Receiver<Item> {
    start(client, None, after, stop)
}

/// Follows one view instead of all that the client may see.
///
/// Must be called inside a tokio runtime.
pub fn follow_view(
    client: Client,
    view: StreamView,
    after: Option<Cursor>,
    stop: CancellationToken,
) -> mpsc::Receiver<Item> {
    start(client, Some(view), after, stop)
}

fn start(
    client: Client,
    view: Option<StreamView>,
    after: Option<Cursor>,
    stop: CancellationToken,
) -> mpsc::Receiver<Item> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let position = Position::new(after);
        let (turn, failures, strangers, standing) = (0, 0, 0, None);
        let mut follower =
            Follower { client, view, position, sender, turn, failures, standing, strangers };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follower.run() => {}
        }
    });
    receiver
}

struct Follower {
    client: Client,
    view: Option<StreamView>,
    position: Position,
    sender: mpsc::Sender<Item>,
    /// Whose turn it is among the URLs.
    turn: usize,
    /// Connections in a row that did not last.
    failures: u32,
    /// The connection that is open.
    standing: Option<Standing>,
    /// Servers in a row that do not know this client: one may be a stale standby or a wrong URL.
    strangers: usize,
}

/// Why one connection ended.
enum Ended {
    /// Try again, after a pause.
    Interrupted(String),
    /// Never try again.
    Refused { code: String, detail: String },
    /// Nobody listens any more.
    Unheard,
}

impl Follower {
    async fn run(&mut self) {
        loop {
            let urls = self.client.api_urls();
            let url = urls[self.turn % urls.len()].clone();
            let reason = match self.once(&url).await {
                Ended::Interrupted(reason) => reason,
                Ended::Refused { code, detail } => {
                    let _ = self.sender.send(Item::Refused { code, detail }).await;
                    return;
                }
                Ended::Unheard => return,
            };
            if self.sender.send(Item::Disconnected { reason }).await.is_err() {
                return;
            }
            // The next server may be well: a full round fails before the pause grows.
            let was_good = self.standing.take().is_some_and(|it| it.was_good(Instant::now()));
            if was_good {
                self.failures = 0;
            }
            let rounds = self.failures / u32::try_from(self.client.api_urls().len()).unwrap_or(1);
            self.turn += 1;
            self.failures = self.failures.saturating_add(1);
            tokio::time::sleep(backoff(rounds, rand::random())).await;
        }
    }

    async fn once(&mut self, url: &url::Url) -> Ended {
        match connection::open(&self.client, url, self.view, self.position.cursor()).await {
            Ok(mut connection) => {
                self.standing = Some(Standing::new(Instant::now()));
                if self.sender.send(Item::Connected { url: url.to_string() }).await.is_err() {
                    return Ended::Unheard;
                }
                loop {
                    let frame = match connection.next().await {
                        Err(reason) => return Ended::Interrupted(reason),
                        Ok(frame) => frame,
                    };
                    let verdict = self.verdict(&frame);
                    if let Some(ended) = self.take(frame).await {
                        return ended;
                    }
                    if let Verdict::Look { age, first } = verdict
                        && let Some((better, url)) = self.find_better(age, first).await
                    {
                        // The old one stays until the new one stands, and ends here.
                        connection = better;
                        self.standing = Some(Standing::new(Instant::now()));
                        if self.sender.send(Item::Connected { url }).await.is_err() {
                            return Ended::Unheard;
                        }
                    }
                }
            }
            Err(connection::OpenError::NoUpgrade) => self.poll(url).await,
            Err(connection::OpenError::Refused(problem)) => self.refused(problem),
            Err(connection::OpenError::Failed(reason)) => Ended::Interrupted(reason),
        }
    }

    /// What a frame says of the server that sends it.
    fn verdict(&mut self, frame: &Frame) -> Verdict {
        match (frame, &mut self.standing) {
            (Frame::Heartbeat { log_age_ms, .. }, Some(standing)) => {
                standing.heartbeat(log_age_ms.map(Duration::from_millis), Instant::now())
            }
            _ => Verdict::Stay,
        }
    }

    /// Opens a stream at another server than the one that is followed, which stands still. A server
    /// that stands still itself refuses a new stream.
    async fn find_better(&mut self, age: Duration, first: bool) -> Option<(Connection, String)> {
        let urls = self.client.api_urls().to_vec();
        let here = self.turn % urls.len();
        let age_s = age.as_secs();
        for offset in 1..urls.len() {
            let url = &urls[(here + offset) % urls.len()];
            let after = self.position.cursor();
            if let Ok(better) = connection::open(&self.client, url, self.view, after).await {
                let left = urls[here].as_str();
                tracing::warn!(
                    left, followed = %url, age_s,
                    "the server has not read the log for some time; following another one"
                );
                self.turn += offset;
                return Some((better, url.to_string()));
            }
        }
        if first {
            tracing::warn!(
                url = urls[here].as_str(),
                age_s,
                "the server has not read the log for some time, and no other one is better; waiting"
            );
        }
        None
    }

    /// The fallback where something between client and server does not pass WebSockets.
    async fn poll(&mut self, url: &url::Url) -> Ended {
        let client = self.client.at(url);
        let polling_since = Instant::now();
        self.standing = Some(Standing::new(polling_since));
        let mut connected = false;
        loop {
            if polling_since.elapsed() > POLL_LIMIT {
                return Ended::Interrupted(format!("polling {url}; trying to open a stream again"));
            }
            let page = self.page(&client).await;
            let (frames, more) = match page {
                Ok(page) => page,
                Err(ClientError::Problem(problem)) => return self.refused(*problem),
                Err(error) => return Ended::Interrupted(format!("{url}: {error}")),
            };
            if !std::mem::replace(&mut connected, true)
                && self.sender.send(Item::Connected { url: url.to_string() }).await.is_err()
            {
                return Ended::Unheard;
            }
            for frame in frames {
                if let Some(ended) = self.take(frame).await {
                    return ended;
                }
            }
            if !more {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// The next frames, and whether there are more at once.
    async fn page(&self, client: &Client) -> Result<(Vec<Frame>, bool), ClientError> {
        let page = match (self.position.cursor(), self.view) {
            (None, None) => return Ok((vec![client.snapshot().await?], true)),
            (None, Some(view)) => return Ok((vec![client.snapshot_of(view).await?], true)),
            (after, None) => client.events(after, None).await?,
            (after, Some(view)) => client.events_of(view, after, None).await?,
        };
        let bookmark = Frame::Bookmark { cursor: page.next_after };
        Ok((page.frames.into_iter().chain([bookmark]).collect(), page.has_more))
    }

    fn refused(&mut self, problem: crate::Problem) -> Ended {
        match problem.status {
            410 => {
                self.position.reset();
                Ended::Interrupted(problem.detail)
            }
            403 if problem.code == "node-unknown"
                && self.strangers + 1 < self.client.api_urls().len() =>
            {
                self.strangers += 1;
                Ended::Interrupted(problem.to_string())
            }
            // One replica's clock may be wrong.
            401 if TIME_CODES.contains(&problem.code.as_str())
                && self.strangers + 1 < self.client.api_urls().len() =>
            {
                self.strangers += 1;
                Ended::Interrupted(problem.to_string())
            }
            401 | 403 => Ended::Refused { code: problem.code, detail: problem.detail },
            _ => Ended::Interrupted(problem.to_string()),
        }
    }

    /// Hands one frame on; `Some` if the connection is at its end.
    async fn take(&mut self, frame: Frame) -> Option<Ended> {
        let step = self.position.advance(frame);
        if matches!(step, Step::Hand(_) | Step::Skip) {
            self.strangers = 0;
        }
        match step {
            Step::Hand(item) => self.sender.send(item).await.is_err().then_some(Ended::Unheard),
            Step::Skip => None,
            Step::Reconnect(reason) => Some(Ended::Interrupted(reason)),
            Step::Refused { code, detail } => Some(Ended::Refused { code, detail }),
        }
    }
}

/// Pause after `rounds` failed rounds over all servers; `random` spreads a fleet that lost its server at once.
fn backoff(rounds: u32, random: u32) -> Duration {
    let longest = SHORTEST_BACKOFF.saturating_mul(1 << rounds.min(8)).min(LONGEST_BACKOFF);
    longest.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use sextant_model::{Timestamp, secret::CaFingerprint};

    use super::*;
    use crate::{Auth, ClientConfig, Trust};

    #[tokio::test]
    async fn a_server_that_ends_every_stream_is_asked_less_and_less_often() {
        let client = Client::new(ClientConfig {
            api_urls: vec!["https://[::1]:1".parse().expect("URL")],
            trust: Trust::Fingerprint(CaFingerprint::of_der(&[])),
            auth: Auth::Nobody,
        });
        let (sender, _items) = mpsc::channel(16);
        let mut follower = Follower {
            client: client.expect("client"),
            view: None,
            position: Position::new(None),
            sender,
            turn: 0,
            failures: 7,
            standing: Some(Standing::new(Instant::now())),
            strangers: 0,
        };
        let at = Timestamp(time::OffsetDateTime::UNIX_EPOCH);
        let heartbeat = Frame::Heartbeat { at, settled: None, log_age_ms: Some(0) };
        assert!(follower.take(heartbeat).await.is_none());
        let cursor = Cursor { epoch: sextant_model::Epoch(uuid::Uuid::nil()), event_id: 1 };
        let state = SnapshotState::Platform { networks: vec![], nodes: vec![] };
        assert!(follower.take(Frame::Snapshot { cursor, state }).await.is_none());
        assert_eq!(follower.failures, 7, "whatever came, the stream was short");
    }

    #[test]
    fn the_backoff_grows_is_bounded_and_spread() {
        assert_eq!(backoff(0, 0), SHORTEST_BACKOFF / 2);
        assert!(backoff(3, u32::MAX / 2) > backoff(1, u32::MAX / 2));
        assert!(backoff(u32::MAX, u32::MAX) <= LONGEST_BACKOFF.mul_f64(1.5));
    }
}
