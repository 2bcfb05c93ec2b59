//! Asks one edge at its admin socket: a path on this machine, or plain HTTP where it listens so.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use url::Url;

use crate::exit::Failure;

/// Longest time an edge may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// Where an edge is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeAddress {
    /// Its socket on this machine.
    Path(PathBuf),
    /// Host and port.
    Http(String),
}

impl FromStr for EdgeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str =
            "give the path of its admin socket, or http://HOST:PORT like http://[::1]:9470";
        if text.is_empty() {
            return Err(FORM.into());
        }
        if text.parse::<SocketAddr>().is_ok() {
            return Ok(Self::Http(text.to_owned()));
        }
        if !text.contains("://") {
            return Ok(Self::Path(text.into()));
        }
        let url = Url::parse(text).map_err(|error| format!("{error}; {FORM}"))?;
        let plain = url.scheme() == "http" && url.path() == "/" && url.username().is_empty();
        match url.host() {
            Some(host) if plain && url.query().is_none() && url.fragment().is_none() => {
                let port = url.port_or_known_default().unwrap_or(80);
                Ok(Self::Http(format!("{host}:{port}")))
            }
            _ => Err(FORM.into()),
        }
    }
}

impl fmt::Display for EdgeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Http(address) => write!(f, "http://{address}"),
        }
    }
}

impl EdgeAddress {
    /// `GET` of `path`, answered in JSON.
    pub async fn get(&self, path: &str) -> Result<serde_json::Value, Failure> {
        let answered = tokio::time::timeout(PATIENCE, self.exchange(path)).await;
        let (status, body) =
            answered.unwrap_or_else(|_| Err(self.unreachable("it does not answer".into())))?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| self.unexpected(error.to_string()));
        }
        let said = String::from_utf8_lossy(&body);
        let said = said.lines().next().unwrap_or_default();
        if status == StatusCode::BAD_REQUEST {
            return Err(Failure::BadInput(format!("edge at {self}: {said}")));
        }
        Err(self.unexpected(format!("HTTP {status}: {said}")))
    }

    /// An answer that no edge gives.
    pub fn unexpected(&self, reason: String) -> Failure {
        Failure::Edge(format!(
            "unexpected answer from {self}: {reason}; is an edge of this version there?"
        ))
    }

    fn unreachable(&self, reason: String) -> Failure {
        Failure::Edge(format!(
            "cannot reach the edge at {self}: {reason}; check that sextant-edge runs there, where \
             its \"admin\" is, and that you may use it"
        ))
    }

    async fn exchange(&self, path: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
        let failed = |error: std::io::Error| self.unreachable(error.to_string());
        let sent = match self {
            Self::Path(socket) => {
                send(UnixStream::connect(socket).await.map_err(failed)?, path, "localhost").await
            }
            Self::Http(address) => {
                send(TcpStream::connect(address).await.map_err(failed)?, path, address).await
            }
        };
        let response = sent.map_err(|reason| self.unreachable(reason))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| self.unexpected(error.to_string()))?;
        Ok((status, body.to_bytes().to_vec()))
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
    host: &str,
) -> Result<Response<Incoming>, String> {
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    // What goes wrong on the connection is told by the request, too.
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, host).body(Empty::<&[u8]>::new());
    sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(said)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn an_edge_is_a_path_or_a_plain_url() {
        let path = "/run/sextant-edge/admin.sock";
        assert_eq!(path.parse(), Ok(EdgeAddress::Path(path.into())));
        for text in ["http://[::1]:9470", "[::1]:9470", "http://[::1]:9470/"] {
            assert_eq!(text.parse(), Ok(EdgeAddress::Http("[::1]:9470".into())), "{text}");
        }
        assert_eq!("http://e1".parse(), Ok(EdgeAddress::Http("e1:80".into())));
        for bad in ["", "https://e1", "http://", "http://e1/x", "http://u@e1", "http://e1/?q"] {
            assert!(bad.parse::<EdgeAddress>().expect_err(bad).contains("HOST:PORT"), "{bad}");
        }
    }

    async fn answered_with(answer: &'static str) -> Result<serde_json::Value, Failure> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("admin.sock");
        let listener = tokio::net::UnixListener::bind(&path).expect("bound");
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.expect("read");
            stream.write_all(answer.as_bytes()).await.expect("written");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let got = EdgeAddress::Path(path).get("/explain?port=443").await;
        let request = serving.await.expect("served");
        assert!(request.starts_with("GET /explain?port=443 HTTP/1.1\r\n"), "{request}");
        got
    }

    #[tokio::test]
    async fn answers_are_read_and_refusals_are_passed_on() {
        let found = answered_with("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}").await;
        assert_eq!(found.expect("answer"), serde_json::json!({ "a": 1 }));
        for (answer, exit, said) in [
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\nbad host\n", 2, "bad host"),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 3, "HTTP 404"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 3, "unexpected answer"),
            ("SSH-2.0-x\r\n", 3, "cannot reach the edge"),
        ] {
            let failure = answered_with(answer).await.expect_err(answer);
            assert_eq!(failure.exit().code(), exit, "{failure}");
            assert!(failure.to_string().contains(said), "{failure}");
        }
    }

    #[tokio::test]
    async fn an_edge_that_is_not_there_is_told_with_a_remedy() {
        let failure = "/nonexistent/admin.sock".parse::<EdgeAddress>().expect("path");
        let failure = failure.get("/explain").await.expect_err("nobody");
        assert_eq!(failure.exit().code(), 3);
        assert!(failure.to_string().contains("check that sextant-edge runs"), "{failure}");
    }
}
