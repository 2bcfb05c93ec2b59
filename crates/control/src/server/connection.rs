//! One connection: TLS, then one request of HTTP/1.1 after the other, each step within its limit.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode};
use hyper::{
    body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt;

use super::paced::{Pace, Paced, Phase, Stalling};
use crate::{
    app::App,
    auth::VerifiedNode,
    ca::node_of,
    door::{entrance::Place, limits::Limits, places::Holder, refusals::Subject},
};

/// What is sent but not acknowledged ends the connection after so long (RFC 5482): the client's
/// machine has gone without a word.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Bytes that the kernel keeps for a client that does not read. Twice as much is used.
const SEND_BUFFER: usize = 128 * 1024;

/// A connection that has a stranger's place.
pub struct Connection {
    pub app: App,
    pub router: Router,
    pub acceptor: TlsAcceptor,
    pub place: Place,
}

impl Connection {
    /// Serves it until it ends.
    pub async fn serve(self, stream: TcpStream) {
        let (app, place) = (self.app.clone(), self.place.clone());
        let ended = tokio::select! {
            ended = self.converse(stream) => ended,
            () = place.given_up() => {
                app.door.refused(place.address(), "connection-given-up", None, app.now());
                Err("it gave way to another one".into())
            }
        };
        if let Err(reason) = ended {
            tracing::debug!(peer = %place.address(), reason, "a connection ended early");
        }
    }

    async fn converse(self, stream: TcpStream) -> Result<(), String> {
        let limits = self.app.door.limits;
        prepare(&stream);
        let stream = Stalling::new(stream, limits.stall);
        let tls = tokio::time::timeout(limits.handshake, self.acceptor.accept(stream))
            .await
            .map_err(|_| String::from("the TLS handshake took too long"))?;
        let tls = tls.map_err(|error| self.handshake_failed(&error))?;
        let node = tls.get_ref().1.peer_certificates().and_then(|chain| node_of(chain.first()?));
        if let Some(node) = node
            && self.place.claim(Holder::Node(node.node_id)).is_err()
        {
            // It stays with the strangers; its requests are told so.
            let (from, subject) = (self.place.address(), Some(Subject::Node(node.node_id)));
            self.app.door.refused(from, "too-many-connections", subject, self.app.now());
        }
        self.requests(tls, node, &limits).await
    }

    async fn requests(
        self,
        tls: TlsStream<Stalling<TcpStream>>,
        node: Option<VerifiedNode>,
        limits: &Limits,
    ) -> Result<(), String> {
        let Limits { first_head, head, idle, .. } = *limits;
        let pace = Pace { first_head, head, idle };
        let phase = Phase::begin(pace);
        let tls = Paced::new(tls, pace, phase.clone());
        let Self { app, router, place, .. } = self;
        let service = service_fn(move |mut request: Request<Incoming>| {
            phase.request();
            request.extensions_mut().insert(place.clone());
            if let Some(node) = node {
                request.extensions_mut().insert(node);
            }
            let (router, end) = (router.clone(), AnswerEnd { phase: phase.clone(), pace });
            async move { answer(router, request.map(Body::new), end).await }
        });
        // HTTP/1.1 alone, one request at a time: that bounds what a connection holds in memory.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle.max(first_head) + head)
            .max_buf_size(limits.head_bytes)
            .serve_connection(TokioIo::new(tls), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(|error| chain(&error)),
            () = app.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await.map_err(|error| chain(&error))
    }

    /// Certificates that are refused are told of; what else goes wrong in a handshake is what
    /// strangers and networks do all day.
    fn handshake_failed(&self, error: &io::Error) -> String {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            let code = "client-certificate-invalid";
            self.app.door.refused(self.place.address(), code, None, self.app.now());
        }
        error.to_string()
    }
}

/// None of these can fail on a socket that works, and one that does not ends by itself.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

fn chain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

async fn answer(
    router: Router,
    request: Request<Body>,
    end: AnswerEnd,
) -> Result<Response<Answer>, Infallible> {
    let response = router.oneshot(request).await?;
    // An upgraded connection is the stream's from here on, which has limits of its own.
    let end = (response.status() != StatusCode::SWITCHING_PROTOCOLS).then_some(end);
    Ok(response.map(|body| Answer { body, end }))
}

/// An answer that says when it has been handed over.
struct Answer {
    body: Body,
    end: Option<AnswerEnd>,
}

struct AnswerEnd {
    phase: Phase,
    pace: Pace,
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(AnswerEnd { phase, pace }) = &self.end {
            phase.answered(*pace);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
