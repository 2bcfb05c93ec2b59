//! Metrics and status over HTTP/1.1, for the machine's own tools: on a Unix socket or a TCP port.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

/// What `GET /metrics` answers with.
pub const PROMETHEUS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The usual type of other answers.
pub const JSON: &str = "application/json";

/// Connections at a time; more wait in the queue of the kernel.
const CONNECTION_LIMIT: usize = 32;
/// Longest request head, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a request head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// After an error of accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket for requests that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers there.
    #[error("another process serves \"{}\"; stop it, or choose another path", .0.display())]
    Taken(PathBuf),
    /// The operating system says no.
    #[error("cannot serve status and metrics on \"{place}\": {source}")]
    Failed {
        /// The path or address.
        place: String,
        /// Why not.
        source: io::Error,
    },
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub body: String,
}

impl Answer {
    /// 200 with `body`.
    pub fn ok(content_type: &'static str, body: String) -> Self {
        Self { status: StatusCode::OK, content_type, body }
    }

    /// `status` with a line for people.
    pub fn refused(status: StatusCode, reason: impl std::fmt::Display) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{reason}\n") }
    }
}

/// `registry` in the text format of Prometheus.
pub fn encode(registry: &Registry) -> Answer {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => Answer::ok(PROMETHEUS_TEXT, text),
        Err(error) => Answer::refused(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// A socket that takes requests.
#[derive(Debug)]
pub enum Listener {
    /// On a path.
    Unix(UnixListener),
    /// On a port.
    Tcp(TcpListener),
}

impl Listener {
    /// Listens on `path`, mode 0660. What a dead process left there is replaced; so is a living
    /// one's socket, if it is to be taken over.
    pub fn on_path(path: &Path, take_over: bool) -> Result<Self, BindError> {
        if !take_over && std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(BindError::Taken(path.to_owned()));
        }
        let failed = |source| BindError::Failed { place: path.display().to_string(), source };
        bind_unix(path).map(Self::Unix).map_err(failed)
    }

    /// Listens on `address`.
    pub async fn on_address(address: SocketAddr) -> Result<Self, BindError> {
        let bound = TcpListener::bind(address).await;
        let failed = |source| BindError::Failed { place: address.to_string(), source };
        bound.map(Self::Tcp).map_err(failed)
    }

    /// Listens on a socket that was inherited.
    pub fn from_std(listener: std::net::TcpListener) -> Result<Self, BindError> {
        let failed = |source| BindError::Failed { place: "an inherited socket".into(), source };
        listener.set_nonblocking(true).map_err(failed)?;
        TcpListener::from_std(listener).map(Self::Tcp).map_err(failed)
    }

    /// Answers until `stop` is cancelled. `answer` gets the path and the query.
    pub async fn serve(
        self,
        answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static,
        stop: CancellationToken,
    ) {
        let answer = Arc::new(answer);
        let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(stream) => {
                    let connection = converse(stream, answer.clone());
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a request for status could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// In one step, so that there is no moment without a socket at `path`.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let staged = path.with_file_name(name);
    match std::fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&staged)?;
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o660))?;
    std::fs::rename(&staged, path)?;
    Ok(listener)
}

async fn converse(
    stream: Box<dyn Stream>,
    answer: Arc<impl Fn(&str, &str) -> Answer + Send + Sync + 'static>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, answer.as_ref());
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a request for status was broken off");
    }
}

fn respond(
    request: &Request<Incoming>,
    answer: &(impl Fn(&str, &str) -> Answer + ?Sized),
) -> Response<Full<Bytes>> {
    let answer = if request.method() == Method::GET {
        answer(request.uri().path(), request.uri().query().unwrap_or_default())
    } else {
        Answer::refused(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here")
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let content_type = header::HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(path: &Path, request: &str) -> String {
        let mut stream = tokio::net::UnixStream::connect(path).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn metrics_are_served_on_a_private_socket() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("admin.sock");
        std::fs::write(&path, "what a dead process left").expect("written");
        let listener = Listener::on_path(&path, false).expect("bound");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(Listener::on_path(&path, false), Err(BindError::Taken(_))));

        let mut registry = Registry::default();
        let requests = Counter::<u64>::default();
        registry.register("requests", "Requests", requests.clone());
        requests.inc();
        let stop = CancellationToken::new();
        let answer = move |path: &str, _: &str| match path {
            "/metrics" => encode(&registry),
            other => Answer::refused(StatusCode::NOT_FOUND, format!("there is no {other}")),
        };
        let serving = tokio::spawn(listener.serve(answer, stop.clone()));
        let close = "HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let found = ask(&path, &format!("GET /metrics {close}")).await;
        assert!(found.starts_with("HTTP/1.1 200 OK"), "{found}");
        assert!(found.contains("requests_total 1"), "{found}");
        assert!(ask(&path, &format!("GET /x {close}")).await.contains("404"));
        assert!(ask(&path, &format!("POST /metrics {close}")).await.contains("405"));
        stop.cancel();
        serving.await.expect("ended");
    }
}
