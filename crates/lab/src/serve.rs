//! What answers for the workloads of one node.
//!
//! One process listens on its host, and in the network namespace of every workload there as soon as
//! the agent has made it. Each has certificates of its own, signed by itself, and says in every answer who it
//! is.

mod certificate;
mod listen;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{ServerConfig, server::Acceptor};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::LazyConfigAcceptor;

use self::certificate::Certificates;
use crate::{
    error::{LabError, Result},
    host::{NETNS_DIRECTORY, READY},
};

/// HTTP over TLS.
pub const TLS_PORT: u16 = 8443;
/// HTTP.
pub const HTTP_PORT: u16 = 8080;
/// Sends back whatever it is sent.
pub const ECHO_PORT: u16 = 7000;
/// The same once more, for routes that change where they lead.
pub const OTHER_ECHO_PORT: u16 = 7001;

/// A client may take so long for its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
const LARGEST_REQUEST: usize = 16 * 1024;
/// Between two looks for new namespaces: shorter than the way to the edges.
const LOOK: Duration = Duration::from_millis(5);
const SERVICES: [(u16, Service); 4] = [
    (TLS_PORT, Service::Tls),
    (HTTP_PORT, Service::Http),
    (ECHO_PORT, Service::Echo),
    (OTHER_ECHO_PORT, Service::Echo),
];

/// What a workload says of itself and of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The workload's address.
    pub workload: Ipv6Addr,
    /// The node it runs on.
    pub node: String,
    /// The port that was reached.
    pub port: u16,
    /// The name that TLS asked for.
    pub server_name: Option<String>,
    /// Who asked, as the workload sees it.
    pub peer: SocketAddr,
}

/// Serves for the workloads of `node` until a signal ends it. Certificates are written to
/// `certificates`, a folder for each address.
pub fn serve(node: &str, certificates: &Path) -> Result<()> {
    let failed = |source| LabError::Spawn { program: "the async runtime".to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let server = Arc::new(Server {
        node: node.to_owned(),
        certificates: Certificates::in_directory(certificates.to_owned()),
    });
    runtime.map_err(failed)?.block_on(server.run())
}

struct Server {
    node: String,
    certificates: Certificates,
}

#[derive(Clone, Copy)]
enum Service {
    Tls,
    Http,
    Echo,
}

impl Server {
    async fn run(self: Arc<Self>) -> Result<()> {
        // Agents of versions before ADR 0016 put addresses on the host's interface.
        let mut tasks = JoinSet::new();
        for (port, service) in SERVICES {
            let listener =
                listen::on(port).map_err(LabError::file("listen on", format!("[::]:{port}")))?;
            tasks.spawn(self.clone().accept(listener, service));
        }
        // For whoever waits for it in the log.
        let _ = io::Write::write_all(&mut io::stdout(), format!("{READY}\n").as_bytes());
        let mut serving: BTreeMap<PathBuf, JoinSet<()>> = BTreeMap::new();
        loop {
            let there = listen::namespaces(Path::new(NETNS_DIRECTORY));
            // Sockets keep a namespace alive: they end when its name does.
            serving.retain(|path, _| there.contains(path));
            for path in there {
                if !serving.contains_key(&path)
                    && let Ok(listeners) = listen::in_namespace(&path, &SERVICES.map(|it| it.0))
                {
                    let mut tasks = JoinSet::new();
                    for (listener, (_, service)) in listeners.into_iter().zip(SERVICES) {
                        tasks.spawn(self.clone().accept(listener, service));
                    }
                    serving.insert(path, tasks);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, service: Service) {
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                // Out of file descriptors, most likely: some will be free again.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let server = self.clone();
            // A client that breaks off is none of the server's concern.
            tokio::spawn(async move { drop(server.handle(stream, peer, service).await) });
        }
    }

    async fn handle(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        service: Service,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let SocketAddr::V6(workload) = local else { return Ok(()) };
        let answer = |server_name| Answer {
            workload: *workload.ip(),
            node: self.node.clone(),
            port: local.port(),
            server_name,
            peer,
        };
        match service {
            Service::Echo => echo(stream).await,
            Service::Http => within(respond(stream, &answer(None))).await,
            Service::Tls => {
                let handshake = LazyConfigAcceptor::new(Acceptor::default(), stream);
                let handshake = within(handshake).await?;
                let name = handshake.client_hello().server_name().map(str::to_owned);
                let config = self.tls(*workload.ip(), name.as_deref())?;
                let stream = within(handshake.into_stream(config)).await?;
                within(respond(stream, &answer(name))).await
            }
        }
    }

    fn tls(&self, workload: Ipv6Addr, name: Option<&str>) -> io::Result<Arc<ServerConfig>> {
        self.certificates.config(workload, name.unwrap_or("unnamed"))
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(REQUEST_LIMIT, work).await.map_err(io::Error::from)?
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await
}

/// Reads one request, whatever it is, and answers it.
async fn respond(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &Answer,
) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let full = request.len() > LARGEST_REQUEST;
        if full || stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let mut body = serde_json::to_string(answer).map_err(io::Error::other)?;
    body.push('\n');
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests;
