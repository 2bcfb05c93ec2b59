//! One command: a transaction with its Idempotency-Key, its answer, and the wait until its own
//! events can be read.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use serde_json::Value;
use sextant_model::{ActorId, EventBody, NodeId, aggregate::Aggregate};
use sextant_store::{FirstEvent, Loaded, Unit, idempotency::StoredAnswer, projection::Projections};

use crate::{app::App, door::lane::give_up_turn, error::ApiError, extract::request_hash};

/// Names the last event a command appended.
pub const EVENT_ID: HeaderName = HeaderName::from_static("sextant-event-id");

/// A command in progress.
#[derive(Debug)]
pub struct Command {
    app: App,
    actor: ActorId,
    key: Option<String>,
    /// Committed already, by [`Command::append_first`].
    committed: Option<(i64, Projections)>,
    /// The transaction.
    pub unit: Unit,
}

/// Either a command to carry out, or the answer it had the first time.
#[derive(Debug)]
pub enum Begun {
    /// Carry it out.
    Fresh(Box<Command>),
    /// It was done before.
    Replayed(Response),
}

/// What a command answers.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Version of the resource, for the `ETag`.
    pub version: Option<i32>,
    /// The resource, or null for no content.
    pub body: Value,
    /// Field `token` of the answer: sent once, never stored.
    pub secret: Option<String>,
}

impl Answer {
    /// 201 with the new resource.
    pub fn created(body: &impl Serialize) -> Result<Self, ApiError> {
        Self::with(StatusCode::CREATED, body)
    }

    /// 200 with the resource.
    pub fn ok(body: &impl Serialize) -> Result<Self, ApiError> {
        Self::with(StatusCode::OK, body)
    }

    /// 204.
    pub fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, version: None, body: Value::Null, secret: None }
    }

    fn with(status: StatusCode, body: &impl Serialize) -> Result<Self, ApiError> {
        let body =
            serde_json::to_value(body).map_err(|error| ApiError::Internal(error.to_string()))?;
        Ok(Self { status, version: None, body, secret: None })
    }

    /// Adds the `ETag`.
    #[must_use]
    pub fn version(mut self, version: i32) -> Self {
        self.version = Some(version);
        self
    }

    /// Adds the secret.
    #[must_use]
    pub fn secret(mut self, secret: String) -> Self {
        self.secret = Some(secret);
        self
    }
}

impl Command {
    /// Begins the command `operation` of `actor`.
    pub async fn begin(
        app: &App,
        actor: ActorId,
        key: Option<String>,
        operation: &str,
        body: &impl Serialize,
    ) -> Result<Begun, ApiError> {
        let mut unit = app.store.begin();
        if let Some(key) = &key {
            let hash = request_hash(operation, body);
            if let Some(answer) = unit.reserve_key(actor, key, &hash).await? {
                // The wait below is for others, who may need the connection of this transaction.
                drop(unit);
                let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
                let (etag, id) = (answer.etag.as_deref(), answer.event_id);
                let status = seen(app, id, Projections::ALL, status).await;
                return respond(status, etag, &answer.body, id).map(Begun::Replayed);
            }
        }
        Ok(Begun::Fresh(Box::new(Self { app: app.clone(), actor, key, committed: None, unit })))
    }

    /// Begins a command that is idempotent by itself.
    pub fn begin_plain(app: &App, actor: ActorId) -> Self {
        Self { app: app.clone(), actor, key: None, committed: None, unit: app.store.begin() }
    }

    /// The same by a node, over the connections that are kept for nodes.
    pub fn begin_of_node(app: &App, node: NodeId) -> Self {
        let unit = app.store.of_nodes().begin();
        Self { app: app.clone(), actor: node.into(), key: None, committed: None, unit }
    }

    /// Appends the first event of a new aggregate, as all that the command writes. Without an
    /// Idempotency-Key it shares a commit with others, now; with one, it commits with the key.
    pub async fn append_first<A: Aggregate>(
        &mut self,
        loaded: &mut Loaded<A>,
        event: EventBody,
    ) -> Result<(), ApiError> {
        if self.key.is_some() {
            return Ok(self.unit.append(loaded, &[event], self.actor).await?);
        }
        self.unit.check_known()?;
        // Waits for a commit that it shares with others, and needs no connection of its own.
        give_up_turn();
        let first = FirstEvent { aggregate_id: loaded.id, actor: self.actor, body: event.clone() };
        let (id, at) = self.app.appender.append(first).await?;
        loaded.fold(&[event], id, at);
        self.committed = Some((id, Projections::of(A::KIND)));
        Ok(())
    }

    /// Commits, waits (within bounds) until what was written can be read, and answers.
    pub async fn finish(mut self, answer: Answer) -> Result<Response, ApiError> {
        let etag = answer.version.map(|version| format!("\"{version}\""));
        if let Some(key) = &self.key {
            let stored = StoredAnswer {
                status: answer.status.as_u16(),
                etag: etag.clone(),
                event_id: self.unit.last_event_id(),
                body: answer.body.clone(),
            };
            self.unit.keep_answer(self.actor, key, &stored).await?;
        }
        let (event_id, touched) = if let Some(committed) = self.committed {
            committed
        } else {
            let touched = self.unit.touched();
            (self.unit.commit().await?, touched)
        };
        if event_id > 0 {
            self.app.tail.committed();
        }
        let status = seen(&self.app, event_id, touched, answer.status).await;
        let mut body = answer.body;
        if let Some(secret) = answer.secret {
            body["token"] = Value::String(secret);
        }
        respond(status, etag.as_deref(), &body, event_id)
    }
}

/// The status, once what was written can be read; 202 if that takes too long.
async fn seen(app: &App, event_id: i64, touched: Projections, status: StatusCode) -> StatusCode {
    give_up_turn();
    if event_id == 0 || app.tail.wait_projected(event_id, touched).await {
        status
    } else {
        StatusCode::ACCEPTED
    }
}

fn respond(
    status: StatusCode,
    etag: Option<&str>,
    body: &Value,
    event_id: i64,
) -> Result<Response, ApiError> {
    let internal = |error: &dyn std::fmt::Display| ApiError::Internal(error.to_string());
    let mut response = Response::builder().status(status);
    if let Some(etag) = etag {
        response = response.header(header::ETAG, etag);
    }
    if event_id > 0 {
        response = response.header(EVENT_ID, event_id);
    }
    if body.is_null() {
        return response.body(Body::empty()).map_err(|error| internal(&error));
    }
    let text = serde_json::to_vec(body).map_err(|error| internal(&error))?;
    response
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(Body::from(text))
        .map_err(|error| internal(&error))
}
