//! Strangers and tenants against the others: every limit is hit over real TLS. (ADR 0014 lists
//! them.)

mod connections;
mod fairness;
mod places;
mod refusals;
mod token_tree;

use std::{io, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use sextant_api::{Auth, Trust, client::tls};
use sextant_control::door::limits::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Platform, Running};

/// Far more than any limit that a test sets, far less than it has to be patient.
const PATIENCE: Duration = Duration::from_secs(60);
/// A limit that is hit.
const SHORT: Duration = Duration::from_millis(400);
/// A limit that is not hit.
const LONG: Duration = Duration::from_secs(600);

/// Limits of which none but those that the test sets is ever hit.
fn generous() -> Limits {
    Limits {
        handshake: LONG,
        first_head: LONG,
        head: LONG,
        idle: LONG,
        body: LONG,
        body_gap: LONG,
        stall: LONG,
        ..Limits::default()
    }
}

/// A replica with these limits, which knows the log.
#[expect(clippy::large_types_passed_by_value, reason = "once a test")]
async fn replica(platform: &Platform, limits: Limits) -> Running {
    let running = platform.replica_with(limits).await;
    let nobody = platform.client(&[&running], Auth::Nobody);
    let ready = async { while nobody.ready().await.is_err() {} };
    tokio::time::timeout(PATIENCE, ready).await.expect("ready");
    running
}

/// A connection on which a test writes what it likes.
#[derive(Debug)]
struct Wire(TlsStream<TcpStream>);

impl Wire {
    async fn open(platform: &Platform, replica: &Running) -> Self {
        Self::try_open(platform, replica, &Auth::Nobody).await.expect("connected")
    }

    async fn try_open(platform: &Platform, replica: &Running, auth: &Auth) -> io::Result<Self> {
        let trust = Trust::Ca(platform.ca().certificate_pem().to_owned());
        let config = tls::client_config(&trust, auth).expect("TLS");
        let address = replica.replica.addresses[0];
        let socket = TcpSocket::new_v6()?;
        // Little is taken from who does not read.
        socket.set_recv_buffer_size(8192)?;
        let stream = socket.connect(address).await?;
        let name = ServerName::from(address.ip());
        Ok(Self(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    async fn send(&mut self, text: &str) {
        self.try_send(text).await.expect("sent");
    }

    async fn try_send(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes()).await?;
        self.0.flush().await
    }

    /// Sends a request without a body.
    async fn get(&mut self, path: &str, token: Option<&str>) {
        let authorization =
            token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n{authorization}\r\n")).await;
    }

    /// Reads an answer: its head and as much of its body as it says.
    async fn answer(&mut self) -> String {
        let read = async {
            let mut bytes = Vec::new();
            loop {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length =
                        head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
                    if body.len() >= length {
                        return text;
                    }
                }
                let mut part = [0; 4096];
                let count = self.0.read(&mut part).await.expect("read");
                assert!(count > 0, "closed after {text:?}");
                bytes.extend_from_slice(&part[..count]);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("answered")
    }

    /// Reads until the other side has closed.
    async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = async {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = self.0.read(&mut part).await {
                bytes.extend_from_slice(&part[..count]);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("closed");
        bytes
    }

    /// Whether the other side has not closed yet.
    async fn is_open(&mut self) -> bool {
        self.try_send("GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok()
            && matches!(self.0.read(&mut [0; 4096]).await, Ok(1..))
    }

    /// Becomes a stream; the answer to the attempt.
    async fn follow(&mut self, token: &str, after: &str) -> String {
        self.send(&format!(
            "GET /v1/stream?after={after} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await;
        self.answer().await
    }
}

/// Repeats `attempt` until it is true.
async fn until(what: &str, mut attempt: impl AsyncFnMut() -> bool) {
    let trying = async {
        while !attempt().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.unwrap_or_else(|_| panic!("{what}"));
}
