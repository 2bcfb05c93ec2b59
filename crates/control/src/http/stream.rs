//! `GET /v1/stream`: the stream over a WebSocket.

mod presence;

use std::time::Duration;

use axum::{
    Extension,
    body::Bytes,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use sextant_api::{
    Frame, Problem,
    frame::{HEARTBEAT_INTERVAL, StreamView},
};
use sextant_model::{EventBody, cursor::CursorGone};
use sextant_store::Store;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use self::presence::Presence;
use super::events::{parse_cursor, sight, take_snapshot, viewer};
use crate::{
    app::App,
    auth::{InstanceId, Principal, still_allowed},
    door::{
        admit::{catching_up, who as turn_of},
        entrance::Place,
        streams::OpenStream,
    },
    error::ApiError,
    extract::Query,
    tail::{Feed, FeedError},
};

/// A frame that cannot be sent for so long ends the stream: the follower has stopped reading.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// How long a heartbeat waits to hear whether the follower may still follow.
const ACCESS_LIMIT: Duration = Duration::from_secs(2);
/// Snapshots can be large: they get a second more for each of so many bytes.
const SLOWEST: usize = 1024 * 1024;
/// Followers have nothing to say but pings, in bytes.
const INCOMING_LIMIT: usize = 4096;
/// A follower learns within this time that it has missed nothing.
const BOOKMARK_DELAY: Duration = Duration::from_millis(200);

/// Where to begin.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// A cursor from a frame; a snapshot first if absent.
    #[param(max_length = 64)]
    pub after: Option<String>,
    /// `routing`: what a node with the role edge has to serve, instead of what every node sees;
    /// `boundary`: what every node sees, and the environments that it runs.
    pub view: Option<StreamView>,
}

/// Follows the log: a WebSocket that carries frames as JSON texts.
#[utoipa::path(get, path = "/v1/stream", tag = "stream", params(StreamQuery),
    responses((status = 101, description = "frames follow"),
        (status = 410, body = Problem, description = "the cursor is of another epoch, or above the head"),
        (status = "4XX", body = Problem)))]
pub async fn stream(
    State(app): State<App>,
    who: Principal,
    InstanceId(instance): InstanceId,
    Query(query): Query<StreamQuery>,
    place: Option<Extension<Place>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|error| ApiError::BadRequest {
        code: "upgrade-required",
        detail: format!("this is a WebSocket: {error}; to poll, use GET /v1/events"),
    })?;
    viewer(who, query.view)?;
    let presence = match (who, instance, query.view) {
        (Principal::Node { node_id, .. }, Some(instance), None | Some(StreamView::Boundary)) => {
            let address = place.as_ref().map(|Extension(place)| place.address().to_string());
            Some(Presence::arrive(&app, node_id, instance, address.unwrap_or_default()).await?)
        }
        _ => None,
    };
    let open = app.door.streams.open(who).inspect_err(|_| {
        if let Some(Extension(place)) = &place {
            let subject = Some(who.into());
            app.door.refused(place.address(), "too-many-streams", subject, app.now());
        }
    })?;
    let store = app.store_for(who);
    // What can be refused is refused before the upgrade, while there is still a status code.
    let (first, cursor) = match parse_cursor(&store, query.after.as_deref()).await? {
        Some(cursor) => (None, cursor),
        None => match take_snapshot(&app, who, query.view).await? {
            Frame::Snapshot { cursor, state } => (Some(Frame::Snapshot { cursor, state }), cursor),
            _ => return Err(ApiError::Internal("a snapshot is no snapshot".into())),
        },
    };
    // After the snapshot: what it knows of, the feed has to know of.
    let sight = sight(&app, who, query.view).await?;
    let feed = Feed::start(&app.tail, &store, sight, cursor).await.map_err(refused)?;
    let streams = app.streams.clone();
    let upgrade = upgrade.max_message_size(INCOMING_LIMIT).max_frame_size(INCOMING_LIMIT);
    Ok(upgrade.on_upgrade(move |socket| {
        let follow = async move {
            // The connection's place is taken until its stream ends.
            let place = place.map(|Extension(place)| place);
            let mut follower =
                Follower { app, store, who, feed, socket, presence, place, _open: open };
            let end = follower.run(first).await;
            follower.say_goodbye(end).await;
        };
        streams.track_future(follow)
    }))
}

fn refused(error: FeedError) -> ApiError {
    match error {
        FeedError::Gone(gone) => ApiError::CursorGone(gone),
        FeedError::Store(error) => error.into(),
        FeedError::Stalled(stall) => ApiError::NotReady(stall.to_string()),
        FeedError::Lagged | FeedError::Closed => ApiError::Busy,
    }
}

struct Follower {
    app: App,
    store: Store,
    who: Principal,
    feed: Feed,
    socket: WebSocket,
    presence: Option<Presence>,
    place: Option<Place>,
    /// Counted as long as it lives.
    _open: OpenStream,
}

/// Why a stream ends.
enum End {
    /// The follower has gone.
    Left,
    /// The feed has ended.
    Feed(FeedError),
    /// The follower's access has ended.
    Access(ApiError),
    /// Others of its class have fewer connections: it makes room for one of them.
    Crowded,
}

impl From<FeedError> for End {
    fn from(error: FeedError) -> Self {
        Self::Feed(error)
    }
}

impl Follower {
    async fn run(&mut self, first: Option<Frame>) -> End {
        let place = self.place.clone();
        let crowded = async {
            match place {
                Some(place) => place.given_up().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            served = self.serve(first) => match served {
                Ok(never) => match never {},
                Err(end) => end,
            },
            () = crowded => End::Crowded,
        }
    }

    async fn serve(&mut self, first: Option<Frame>) -> Result<std::convert::Infallible, End> {
        if let Some(frame) = first {
            self.send(&frame).await?;
        }
        loop {
            let (frames, more) = self.catch_up().await?;
            self.send_all(&frames).await?;
            if !more {
                break;
            }
            // A sign of life, and progress even where nothing was for this follower.
            if let Some(bookmark) = self.feed.bookmark() {
                self.send(&bookmark).await?;
            }
            if self.app.stop.is_cancelled() {
                return Err(FeedError::Closed.into());
            }
        }
        let stop = self.app.stop.clone();
        let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What was caught up with may hold nothing for this follower: it is told how far it is.
        let mut bookmark_due = Some(Instant::now());
        loop {
            let due = bookmark_due.unwrap_or_else(Instant::now);
            tokio::select! {
                () = stop.cancelled() => return Err(FeedError::Closed.into()),
                frames = self.feed.next(&self.app.tail) => {
                    self.send_all(&frames?).await?;
                    bookmark_due.get_or_insert_with(|| Instant::now() + BOOKMARK_DELAY);
                }
                () = tokio::time::sleep_until(due), if bookmark_due.is_some() => {
                    bookmark_due = None;
                    if let Some(bookmark) = self.feed.bookmark() {
                        self.send(&bookmark).await?;
                    }
                }
                _ = heartbeat.tick() => self.beat().await?,
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Pong(payload))) => self.take_answer(&payload).await,
                    // Pings are answered by the library; followers have nothing else to say.
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Left),
                    Some(Ok(_)) => {}
                },
            }
        }
    }

    /// The next part of what is settled already. Streams that catch up take turns with all else
    /// that reads much; sending is no part of the turn.
    async fn catch_up(&mut self) -> Result<(Vec<Frame>, bool), End> {
        let lane = catching_up(&self.app.door, self.who);
        let turn = tokio::select! {
            turn = lane.turn_at_last(turn_of(self.who)) => turn,
            () = self.app.stop.cancelled() => return Err(FeedError::Closed.into()),
        };
        let _turn = turn.map_err(|_| FeedError::Lagged)?;
        let settled = self.app.tail.position().settled;
        Ok(self.feed.catch_up(&self.store, settled).await?)
    }

    /// A sign of life, and the moment to see whether the follower may still follow.
    async fn beat(&mut self) -> Result<(), End> {
        self.feed.check_epoch(&self.app.tail)?;
        // Without its database the control plane does not know: nobody is cut off for that, and
        // the follower learns in time that the log is not read.
        let allowed = timeout(ACCESS_LIMIT, still_allowed(&self.app, self.who));
        match allowed.await {
            Ok(Err(ApiError::NodeLeft)) => return Err(self.farewell().await?),
            Ok(Err(error)) if error.ends_access() => return Err(End::Access(error)),
            _ => {}
        }
        if let Some(presence) = &mut self.presence {
            match timeout(ACCESS_LIMIT, presence.beat(&self.app)).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(question))) => self.ask(question).await?,
                Ok(Err(error)) if error.ends_access() => return Err(End::Access(error)),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "who else speaks as the node is not known");
                }
                Err(_) => tracing::debug!("who else speaks as the node is not known in time"),
            }
        }
        let age = self.app.tail.progress().log_age(std::time::Instant::now());
        let log_age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let settled = self.app.tail.position().cursor();
        self.send(&Frame::Heartbeat { at: self.app.now(), settled, log_age_ms }).await
    }

    /// Asks the follower whether it is alive.
    async fn ask(&mut self, question: Bytes) -> Result<(), End> {
        let sent = self.socket.send(Message::Ping(question));
        match timeout(SEND_LIMIT, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Left),
        }
    }

    async fn take_answer(&mut self, payload: &[u8]) {
        let Some(presence) = &mut self.presence else { return };
        match timeout(ACCESS_LIMIT, presence.answered(&self.app, payload)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "that the node is alive could not be kept"),
            Err(_) => tracing::debug!("that the node is alive could not be kept in time"),
        }
    }

    /// What a node that has left has not seen yet, up to its own withdrawal.
    async fn farewell(&mut self) -> Result<End, End> {
        let settled = self.store.settle().await.map_err(FeedError::Store)?;
        loop {
            let (frames, more) = self.feed.catch_up(&self.store, settled).await?;
            self.send_all(&frames).await?;
            if !more {
                return Ok(End::Access(ApiError::NodeLeft));
            }
        }
    }

    async fn send_all(&mut self, frames: &[Frame]) -> Result<(), End> {
        for frame in frames {
            self.send(frame).await?;
            if self.is_farewell(frame) {
                return Err(End::Access(ApiError::NodeLeft));
            }
        }
        Ok(())
    }

    /// Its own withdrawal is the last thing a node sees.
    fn is_farewell(&self, frame: &Frame) -> bool {
        matches!((self.who, frame), (Principal::Node { node_id, .. }, Frame::Event { event, .. })
            if event.aggregate_id == node_id.0 && matches!(event.body, EventBody::NodeWithdrawn(_)))
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), End> {
        let text = serde_json::to_string(frame).map_err(|_| End::Left)?;
        let limit = SEND_LIMIT + Duration::from_secs((text.len() / SLOWEST) as u64);
        let sent = timeout(limit, self.socket.send(Message::text(text))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Left),
        }
    }

    async fn say_goodbye(&mut self, end: End) {
        let (code, detail) = match end {
            End::Left => return,
            End::Crowded => (
                "too-many-connections".to_owned(),
                "others need the place; resume later".to_owned(),
            ),
            End::Access(error) => (error.problem().code, error.to_string()),
            End::Feed(error) => {
                let code = match &error {
                    FeedError::Gone(CursorGone::ForeignEpoch) => "foreign-epoch",
                    FeedError::Gone(CursorGone::BeyondHead) => "beyond-head",
                    FeedError::Lagged | FeedError::Store(_) | FeedError::Stalled(_) => "lagged",
                    FeedError::Closed => "shutting-down",
                };
                (code.to_owned(), error.to_string())
            }
        };
        // The last bookmark lets the follower resume exactly where it was.
        if let Some(bookmark) = self.feed.bookmark() {
            let _ = self.send(&bookmark).await;
        }
        if self.send(&Frame::Reset { code, detail }).await.is_ok() {
            let close = self.socket.send(Message::Close(None));
            let _ = timeout(SEND_LIMIT, close).await;
        }
    }
}
