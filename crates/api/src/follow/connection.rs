//! One WebSocket to one server.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::StreamExt;
use rustls::pki_types::ServerName;
use sextant_model::Cursor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message, client::IntoClientRequest, protocol::WebSocketConfig,
    },
};
use url::{Host, Url};

use crate::{
    Auth, Client, Frame, Problem,
    client::{INSTANCE, SLOWEST_ANSWER, ipv6_addresses, root_cause},
    frame::{HEARTBEAT_INTERVAL, StreamView},
};

/// Until the connection stands, and until a server that has only to go on says that it does.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Nothing at all for so long: the connection is dead, whatever TCP believes. A snapshot takes as long
/// as its bytes keep coming.
const SILENCE_LIMIT: Duration = HEARTBEAT_INTERVAL.saturating_mul(3);
/// A snapshot is the largest message there is.
/// 100,000 routes and their workloads take some 50 MB.
const MESSAGE_LIMIT: usize = 256 * 1024 * 1024;

/// An open stream of frames.
pub(super) struct Connection<S = TlsStream<TcpStream>> {
    frames: WebSocketStream<Counted<S>>,
    silence_limit: Duration,
}

/// Counts the bytes that arrive.
struct Counted<S> {
    stream: S,
    received: u64,
}

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
    let late = |limit: Duration| failed(format!("no answer within {} s", limit.as_secs()));
    let tls = match timeout(OPEN_TIMEOUT, dial(client, base)).await {
        Err(_) => return Err(late(OPEN_TIMEOUT)),
        Ok(dialled) => dialled.map_err(|error| failed(root_cause(&error)))?,
    };
    // The server answers when it has the snapshot.
    let limit = if after.is_some() { OPEN_TIMEOUT } else { SLOWEST_ANSWER };
    match timeout(limit, upgrade(client, base, view, after, tls)).await {
        Err(_) => Err(late(limit)),
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(WsError::Http(response))) => {
            let problem =
                response.body().as_ref().and_then(|body| serde_json::from_slice(body).ok());
            Err(problem.map_or(OpenError::NoUpgrade, OpenError::Refused))
        }
        Ok(Err(error)) => Err(failed(root_cause(&error))),
    }
}

async fn dial(client: &Client, base: &Url) -> io::Result<TlsStream<TcpStream>> {
    let invalid = |reason: &str| io::Error::other(reason.to_owned());
    let port = base.port_or_known_default().unwrap_or(443);
    let (tcp, name) = match base.host().ok_or_else(|| invalid("the URL has no host"))? {
        Host::Domain(name) => {
            let server =
                ServerName::try_from(name.to_owned()).map_err(|_| invalid("bad host name"))?;
            (TcpStream::connect(&*ipv6_addresses(name, port).await?).await?, server)
        }
        Host::Ipv6(address) => {
            (TcpStream::connect((address, port)).await?, ServerName::IpAddress(address.into()))
        }
        Host::Ipv4(address) => {
            (TcpStream::connect((address, port)).await?, ServerName::IpAddress(address.into()))
        }
    };
    tcp.set_nodelay(true)?;
    TlsConnector::from(Arc::clone(&client.tls)).connect(name, tcp).await
}

async fn upgrade(
    client: &Client,
    base: &Url,
    view: Option<StreamView>,
    after: Option<Cursor>,
    tls: TlsStream<TcpStream>,
) -> Result<Connection, WsError> {
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
        let malformed = || WsError::Io(io::Error::other("the API token is malformed"));
        let value = format!("Bearer {token}").parse().map_err(|_| malformed())?;
        request.headers_mut().insert(http::header::AUTHORIZATION, value);
    }
    if let Some(instance) = client.instance {
        let malformed = |_| WsError::Io(io::Error::other("the instance is malformed"));
        let value = instance.to_string().parse().map_err(malformed)?;
        request.headers_mut().insert(INSTANCE, value);
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT));
    let tls = Counted { stream: tls, received: 0 };
    let (frames, _) =
        tokio_tungstenite::client_async_with_config(request, tls, Some(config)).await?;
    Ok(Connection { frames, silence_limit: SILENCE_LIMIT })
}

/// A server that is killed says goodbye to nobody; what TLS makes of that is no news.
fn lost(error: &WsError) -> String {
    match error {
        WsError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".into()
        }
        other => root_cause(other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// The next frame; an error ends the connection. Pings are answered by the library.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        loop {
            let before = self.frames.get_ref().received;
            // What has come of a message stays where it is.
            match timeout(self.silence_limit, self.message()).await {
                Ok(frame) => return frame,
                Err(_) if self.frames.get_ref().received > before => {}
                Err(_) => {
                    let limit = self.silence_limit.as_secs();
                    return Err(format!("the server was silent for {limit} s"));
                }
            }
        }
    }

    async fn message(&mut self) -> Result<Frame, String> {
        loop {
            match self.frames.next().await {
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

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.received += (buffer.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join;
    use sextant_model::Epoch;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    const SILENCE: Duration = Duration::from_millis(100);

    async fn pair() -> (DuplexStream, Connection<DuplexStream>) {
        let (server, client) = duplex(64);
        let client = Counted { stream: client, received: 0 };
        let frames = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (server, Connection { frames, silence_limit: SILENCE })
    }

    #[tokio::test]
    async fn a_message_may_take_longer_than_a_connection_may_be_silent() {
        let frame =
            Frame::Bookmark { cursor: Cursor { epoch: Epoch(uuid::Uuid::nil()), event_id: 1 } };
        let text = format!("{:1000}", serde_json::to_string(&frame).expect("json"));
        let mut message = vec![0x81, 126];
        message.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
        message.extend(text.as_bytes());
        let (mut server, mut client) = pair().await;
        let write = async {
            for piece in message.chunks(50) {
                server.write_all(piece).await.expect("written");
                tokio::time::sleep(SILENCE / 5).await;
            }
        };
        // In this order: however late both are, the server is first.
        let ((), received) = join(write, client.next()).await;
        assert_eq!(received, Ok(frame));
    }

    #[tokio::test]
    async fn a_connection_without_a_byte_is_dead() {
        let (_server, mut client) = pair().await;
        let reason = client.next().await.expect_err("nothing came");
        assert!(reason.contains("was silent for"), "{reason}");
    }
}
