//! One WebSocket to one server.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use rustls::pki_types::ServerName;
use sextant_model::Cursor;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message, client::IntoClientRequest, protocol::WebSocketConfig,
    },
};
use url::{Host, Url};

use crate::{Auth, Client, Frame, Problem, client::root_cause, frame::StreamView};

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// A snapshot is the largest message there is.
/// 100,000 routes and their workloads take some 50 MB.
const MESSAGE_LIMIT: usize = 256 * 1024 * 1024;

/// An open stream of frames.
pub(super) struct Connection(WebSocketStream<TlsStream<TcpStream>>);

/// Why there is no stream.
pub(super) enum OpenError {
    /// The server answered, but not with an upgrade.
    NoUpgrade,
    /// The server said no.
    Refused(Problem),
    /// Anything else; another attempt may work.
    Failed(String),
}

/// Opens the stream at `base`, going on after the cursor.
pub(super) async fn open(
    client: &Client,
    base: &Url,
    view: Option<StreamView>,
    after: Option<Cursor>,
) -> Result<Connection, OpenError> {
    let failed = |reason: String| OpenError::Failed(format!("{base}: {reason}"));
    match tokio::time::timeout(OPEN_TIMEOUT, dial(client, base, view, after)).await {
        Err(_) => Err(failed(format!("no answer within {} s", OPEN_TIMEOUT.as_secs()))),
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(WsError::Http(response))) => {
            let problem =
                response.body().as_ref().and_then(|body| serde_json::from_slice(body).ok());
            Err(problem.map_or(OpenError::NoUpgrade, OpenError::Refused))
        }
        Ok(Err(error)) => Err(failed(root_cause(&error))),
    }
}

async fn dial(
    client: &Client,
    base: &Url,
    view: Option<StreamView>,
    after: Option<Cursor>,
) -> Result<Connection, WsError> {
    let invalid = |reason: &str| WsError::Io(std::io::Error::other(reason.to_owned()));
    let port = base.port_or_known_default().unwrap_or(443);
    let (tcp, name) = match base.host().ok_or_else(|| invalid("the URL has no host"))? {
        Host::Domain(name) => {
            let server =
                ServerName::try_from(name.to_owned()).map_err(|_| invalid("bad host name"))?;
            (TcpStream::connect((name, port)).await?, server)
        }
        Host::Ipv6(address) => {
            (TcpStream::connect((address, port)).await?, ServerName::IpAddress(address.into()))
        }
        Host::Ipv4(address) => {
            (TcpStream::connect((address, port)).await?, ServerName::IpAddress(address.into()))
        }
    };
    tcp.set_nodelay(true)?;
    let tls = TlsConnector::from(Arc::clone(&client.tls)).connect(name, tcp).await?;

    let mut url = base.clone();
    let _ = url.set_scheme("wss");
    url.set_path("/v1/stream");
    url.set_query(None);
    if let Some(view) = view {
        url.query_pairs_mut().append_pair("view", view.as_str());
    }
    if let Some(after) = after {
        url.query_pairs_mut().append_pair("after", &after.to_string());
    }
    let mut request = url.as_str().into_client_request()?;
    if let Auth::Token(token) = &client.config.auth {
        let value =
            format!("Bearer {token}").parse().map_err(|_| invalid("the API token is malformed"))?;
        request.headers_mut().insert(http::header::AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT));
    let (stream, _) =
        tokio_tungstenite::client_async_with_config(request, tls, Some(config)).await?;
    Ok(Connection(stream))
}

/// A server that is killed says goodbye to nobody; what TLS makes of that is no news.
fn lost(error: &WsError) -> String {
    match error {
        WsError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".into()
        }
        other => root_cause(other),
    }
}

impl Connection {
    /// The next frame; an error ends the connection. Pings are answered by the library.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text)
                        .map_err(|error| format!("a frame could not be read: {error}"));
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Err("the server closed the stream".into());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(lost(&error)),
            }
        }
    }
}
