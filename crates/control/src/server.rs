//! TLS listeners: who connects is known before the first request.

mod client_certificate;
mod connection;
mod outage;
mod paced;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use rustls::{RootCertStore, server::ResolvesServerCert, sign::CertifiedKey};
use sextant_api::client::tls::{TlsError, certificates, private_key, provider};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::Instant};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::{connection::Connection, outage::Outage};
use crate::{
    app::App,
    ca::{CaError, SERVER_CERTIFICATE_LIFE, ServerCertificate},
};

/// When the process cannot accept (no file descriptors left), it pauses instead of spinning.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves `router` on every listener until `app.stop`, then lets requests in flight finish.
pub async fn serve(
    app: App,
    router: Router,
    listeners: Vec<TcpListener>,
    tls: Arc<rustls::ServerConfig>,
) {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let server = Server {
            app: app.clone(),
            router: router.clone(),
            acceptor: TlsAcceptor::from(tls.clone()),
        };
        accepting.spawn(server.serve(listener));
    }
    while accepting.join_next().await.is_some() {}
}

struct Server {
    app: App,
    router: Router,
    acceptor: TlsAcceptor,
}

impl Server {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        tokio::select! {
            () = self.app.stop.cancelled() => {}
            () = self.accept(&listener, &mut connections) => {}
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        // What has not finished by then is aborted when the set is dropped.
        let _ = tokio::time::timeout(self.app.door.limits.drain, drained).await;
    }

    async fn accept(&self, listener: &TcpListener, connections: &mut JoinSet<()>) {
        let mut outage = Outage::default();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = listener.accept().await;
            match &accepted {
                Ok(_) => outage.accepted(Instant::now()),
                Err(error) => outage.failed(error, Instant::now()),
            }
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            };
            let door = &self.app.door;
            match door.entrance.enter(peer.ip()) {
                Ok(place) => {
                    let (router, acceptor) = (self.router.clone(), self.acceptor.clone());
                    let connection = Connection { app: self.app.clone(), router, acceptor, place };
                    connections.spawn(connection.serve(stream));
                }
                Err(_) => {
                    door.refused(peer.ip(), "too-many-connections", None, self.app.now());
                }
            }
        }
    }
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
