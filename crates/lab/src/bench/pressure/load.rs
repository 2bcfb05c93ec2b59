//! What the attackers do, until they are told to stop.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::ServerName;
use sextant_api::{Auth, Client, client::tls, resource::release::NewRelease};
use sextant_model::{EnvironmentId, event::ProcessSpec};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{PressureOptions, Tenant, trust};
use crate::{
    error::{LabError, Result},
    lab::Lab,
};

/// Before a connection that was closed is opened again.
const PAUSE: Duration = Duration::from_millis(200);
/// Requests sent at a time by those who never read.
const PIPELINE: usize = 50;

/// Everything an attacker needs.
#[derive(Clone)]
pub struct Attack {
    options: PressureOptions,
    replicas: Vec<SocketAddr>,
    tls: TlsConnector,
    admin: Client,
    viewer_token: String,
    environment: EnvironmentId,
}

/// What the attackers have got hold of, or done.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    silent: AtomicUsize,
    unread: AtomicUsize,
    streams: AtomicUsize,
    refused_streams: AtomicUsize,
    deploys: AtomicUsize,
    refused_deploys: AtomicUsize,
}

/// [`Counts`] at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Silent connections that are open.
    pub silent: usize,
    /// Connections that do not read and are open.
    pub unread: usize,
    /// Streams that are open.
    pub streams: usize,
    /// Streams that were refused.
    pub refused_streams: usize,
    /// Deploys that were accepted.
    pub deploys: usize,
    /// Deploys that were refused.
    pub refused_deploys: usize,
}

impl Counts {
    /// How it stands.
    pub fn read(&self) -> Counted {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let Counters { silent, unread, streams, refused_streams, deploys, refused_deploys } =
            &*self.0;
        Counted {
            silent: read(silent),
            unread: read(unread),
            streams: read(streams),
            refused_streams: read(refused_streams),
            deploys: read(deploys),
            refused_deploys: read(refused_deploys),
        }
    }
}

/// Counts as long as it lives.
struct Open<'c>(&'c AtomicUsize);

impl<'c> Open<'c> {
    fn new(counter: &'c AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Attack {
    pub(super) fn new(lab: &Lab, options: PressureOptions, attacker: &Tenant) -> Result<Self> {
        let failed = |reason: String| LabError::ControlPlane {
            action: "prepare the attack".to_owned(),
            reason,
        };
        let urls = &lab.description().api_urls;
        let addresses = urls.iter().map(|url| url.socket_addrs(|| None).map(|found| found[0]));
        let replicas = addresses.collect::<std::io::Result<_>>();
        let config = tls::client_config(&trust(lab)?, &Auth::Nobody);
        Ok(Self {
            options,
            replicas: replicas.map_err(|error| failed(error.to_string()))?,
            tls: TlsConnector::from(Arc::new(config.map_err(|error| failed(error.to_string()))?)),
            admin: attacker.admin.clone(),
            viewer_token: attacker.viewer_token.clone(),
            environment: attacker.environment.id,
        })
    }

    /// Starts all attackers.
    pub fn begin(&self, runtime: &Runtime, stop: &CancellationToken) -> Counts {
        let counts = Counts::default();
        let PressureOptions { silent, unread, streams, deploys, .. } = self.options;
        let start = |count: usize, attacker: fn(Self, usize, Counts) -> Attacker| {
            for number in 0..count {
                let attacker = attacker(self.clone(), number, counts.clone());
                let stop = stop.clone();
                runtime.spawn(async move {
                    tokio::select! { () = stop.cancelled() => {}, () = attacker => {} }
                });
            }
        };
        start(silent, |attack, number, counts| Box::pin(attack.be_silent(number, counts)));
        start(unread, |attack, number, counts| Box::pin(attack.never_read(number, counts)));
        start(streams, |attack, number, counts| Box::pin(attack.follow(number, counts)));
        start(deploys, |attack, _, counts| Box::pin(attack.deploy(counts)));
        counts
    }

    async fn connect(&self, number: usize) -> std::io::Result<TlsStream<TcpStream>> {
        let address = self.replicas[number % self.replicas.len()];
        let stream = TcpStream::connect(address).await?;
        self.tls.connect(ServerName::from(address.ip()), stream).await
    }

    async fn be_silent(self, number: usize, counts: Counts) {
        loop {
            if let Ok(mut stream) = self.connect(number).await {
                let _open = Open::new(&counts.0.silent);
                let _ = stream.read(&mut [0; 16]).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn never_read(self, number: usize, counts: Counts) {
        let requests = "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(PIPELINE);
        loop {
            if let Ok(mut stream) = self.connect(number).await {
                let _open = Open::new(&counts.0.unread);
                while stream.write_all(requests.as_bytes()).await.is_ok() {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(self, number: usize, counts: Counts) {
        let request = format!(
            "GET /v1/stream?after=0 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.viewer_token
        );
        loop {
            let opened = async {
                let mut stream = self.connect(number).await?;
                stream.write_all(request.as_bytes()).await?;
                let mut status = [0; 12];
                stream.read_exact(&mut status).await?;
                std::io::Result::Ok((stream, &status == b"HTTP/1.1 101"))
            };
            match opened.await {
                Ok((mut stream, true)) => {
                    let _open = Open::new(&counts.0.streams);
                    let mut part = vec![0; 65_536];
                    while let Ok(1..) = stream.read(&mut part).await {}
                }
                Ok((_, false)) => drop(counts.0.refused_streams.fetch_add(1, Ordering::Relaxed)),
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn deploy(self, counts: Counts) {
        let Ok(process_type) = "web".parse() else { return };
        let processes = vec![ProcessSpec { process_type, instances: self.options.workloads }];
        let new = NewRelease { processes };
        loop {
            let counter = match self.admin.deploy(self.environment, &new, None).await {
                Ok(_) => &counts.0.deploys,
                Err(_) => &counts.0.refused_deploys,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One attacker at work.
type Attacker = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
