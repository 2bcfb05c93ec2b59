//! TLS listeners: who connects is known before the first request.

mod client_certificate;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustls::{RootCertStore, server::ResolvesServerCert, sign::CertifiedKey};
use sextant_api::client::tls::{TlsError, certificates, private_key, provider};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    app::App,
    auth::{Peer, VerifiedNode},
    ca::{CaError, SERVER_CERTIFICATE_LIFE, ServerCertificate, node_of},
};

/// A client that has not finished the TLS handshake by then is dropped.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// The wait for the next request counts, so this is also how long a connection may idle. Longer
/// than clients keep theirs, so that no request meets a connection that is just being closed.
const HEADER_LIMIT: Duration = Duration::from_mins(1);
/// Connections at most; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// When the process cannot accept (no file descriptors left), it pauses instead of spinning.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How long requests in flight may go on after the signal to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Serves `router` on every listener until `stop`, then lets requests in flight finish.
pub async fn serve(
    router: Router,
    listeners: Vec<TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let server = Server {
            router: router.clone(),
            acceptor: TlsAcceptor::from(tls.clone()),
            places: places.clone(),
        };
        accepting.spawn(server.serve(listener, stop.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

/// One of the places for connections; free again when the last holder drops it.
#[derive(Clone, Debug)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

struct Server {
    router: Router,
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
}

impl Server {
    async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.accept(&listener, &graceful, &mut connections) => {}
        }
        drop(listener);
        let drained = async {
            graceful.shutdown().await;
            while connections.join_next().await.is_some() {}
        };
        // What has not finished by then is aborted when the set is dropped.
        let _ = tokio::time::timeout(DRAIN_LIMIT, drained).await;
    }

    async fn accept(
        &self,
        listener: &TcpListener,
        graceful: &GracefulShutdown,
        connections: &mut JoinSet<()>,
    ) {
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let watcher = graceful.watcher();
                    let (router, acceptor) = (self.router.clone(), self.acceptor.clone());
                    let place = Place(Arc::new(place));
                    connections.spawn(async move {
                        let served =
                            connection(router, acceptor, watcher, stream, peer, place).await;
                        if let Err(reason) = served {
                            tracing::debug!(%peer, reason, "a connection ended early");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

async fn connection(
    router: Router,
    acceptor: TlsAcceptor,
    watcher: hyper_util::server::graceful::Watcher,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let tls = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream))
        .await
        .map_err(|_| String::from("the TLS handshake took too long"))?
        .map_err(|error| error.to_string())?;
    let node = tls.get_ref().1.peer_certificates().and_then(|chain| node_of(chain.first()?));
    let service = router.map_request(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(place.clone());
        request.extensions_mut().insert(Peer(peer));
        if let Some(node) = node {
            request.extensions_mut().insert::<VerifiedNode>(node);
        }
        request
    });
    // HTTP/1.1 only: one request at a time bounds what a connection can hold in memory, and the
    // time limit runs from the first byte on.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    let service = TowerToHyperService::new(service);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
    watcher.watch(connection.into_owned()).await.map_err(|error| error.to_string())
}

/// The replica's certificate, replaced well before it ends without touching a connection.
#[derive(Debug)]
pub struct Certificate(watch::Receiver<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.borrow().clone())
    }
}

/// The TLS side cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// The CA failed.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A PEM text is none.
    #[error(transparent)]
    Pem(#[from] TlsError),
    /// The parts do not fit.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// TLS for a replica reached under `names`, and the task that renews its certificate.
pub fn tls(
    app: &App,
    names: Vec<String>,
    stop: CancellationToken,
) -> Result<(Arc<rustls::ServerConfig>, impl Future<Output = ()> + use<>), ServerTlsError> {
    let setup = |error: &dyn std::fmt::Display| ServerTlsError::Setup(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(app.ca.certificate_pem(), "CA certificate")? {
        roots.add(certificate).map_err(|error| setup(&error))?;
    }
    let verifier = client_certificate::AtAnyTime::new(roots).map_err(|error| setup(&error))?;
    let (sender, receiver) = watch::channel(issue(app, &names)?);
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Certificate(receiver)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), renew(app.clone(), names, sender, stop)))
}

async fn renew(
    app: App,
    names: Vec<String>,
    sender: watch::Sender<Arc<CertifiedKey>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SERVER_CERTIFICATE_LIFE / 3) => {}
        }
        match issue(&app, &names) {
            Ok(fresh) => drop(sender.send(fresh)),
            Err(error) => tracing::error!(%error, "the replica's certificate could not be renewed"),
        }
    }
}

fn issue(app: &App, names: &[String]) -> Result<Arc<CertifiedKey>, ServerTlsError> {
    let ServerCertificate { chain, key } =
        app.ca.issue_server(names, app.serial(), app.clock.now())?;
    let chain = certificates(&chain, "server certificate")?;
    let key = provider()
        .key_provider
        .load_private_key(private_key(&key, "server key")?)
        .map_err(|error| ServerTlsError::Setup(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// Binds every configured address and takes over the sockets of the service manager.
pub async fn listeners(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    use anyhow::Context;
    let mut listeners = Vec::new();
    let mut inherited = listenfd::ListenFd::from_env();
    for index in 0..inherited.len() {
        if let Some(listener) = inherited.take_tcp_listener(index)? {
            listener.set_nonblocking(true)?;
            listeners.push(TcpListener::from_std(listener)?);
        }
    }
    for address in addresses {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}; is another process there?"))?;
        listeners.push(listener);
    }
    if listeners.is_empty() {
        anyhow::bail!("nothing to listen on: set listen.addresses or pass a socket");
    }
    Ok(listeners)
}
