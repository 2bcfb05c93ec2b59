//! Workers with routes, and what talks to them.

use std::{
    collections::VecDeque,
    hash::RandomState,
    io::{Read, Write},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sextant_model::{
    Prefix,
    hostname::HostPattern,
    routing::{HealthSource, Matching, RouteKey, ServedRoute},
};

use crate::{
    access::{self, AccessReceiver, AccessRecord},
    balance::Backend,
    hello::builder::HelloBuilder,
    limits::{LimitSettings, Limits},
    outcome::Metric,
    table::{Published, Route, Snapshot},
    worker::{Listening, Settings, Workers, prepare_listener},
};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Running workers with one listening socket.
pub struct Edge {
    pub workers: Workers,
    pub published: Arc<Published>,
    pub limits: Arc<Limits>,
    pub address: SocketAddr,
    pub socket: Arc<OwnedFd>,
    access: AccessReceiver,
    seen: Vec<AccessRecord>,
}

/// What an edge is started with.
pub struct Setup {
    pub workers: usize,
    pub settings: Settings,
    pub limits: LimitSettings,
    pub proxy_header_from: Vec<Prefix>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 2,
            settings: Settings::default(),
            limits: LimitSettings::default(),
            proxy_header_from: Vec::new(),
        }
    }
}

impl Edge {
    /// Workers without a route.
    pub fn start(setup: Setup) -> Self {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("listener");
        let address = listener.local_addr().expect("address");
        let socket = Arc::new(OwnedFd::from(listener));
        prepare_listener(&socket, &setup.settings).expect("options");
        let published = Arc::new(Published::from_pointee(Snapshot::default()));
        let hashers = [RandomState::new(), RandomState::new()];
        let limits = Arc::new(Limits::new(setup.limits, hashers));
        let (sender, access) = access::queue(10_000);
        let workers =
            Workers::start(setup.workers, setup.settings, &published, &limits, Some(sender))
                .expect("workers");
        workers.set_listeners(vec![Listening {
            socket: Arc::clone(&socket),
            address,
            proxy_header_from: setup.proxy_header_from.into(),
        }]);
        Self { workers, published, limits, address, socket, access, seen: Vec::new() }
    }

    /// Publishes these routes in place of those before.
    pub fn publish(&self, routes: &[Arc<Route>]) {
        let mut snapshot =
            Snapshot { revision: self.published.load().revision + 1, ..Snapshot::default() };
        for route in routes {
            let served = route.served();
            snapshot
                .table
                .insert(&served.key, served.listen, &served.matching, Arc::clone(route))
                .expect("no conflict");
        }
        self.published.store(Arc::new(snapshot));
    }

    /// A route on the edge's address. `host`: empty for a raw one.
    pub fn route(&self, host: &str, backends: &[SocketAddr]) -> ServedRoute {
        let matching = if host.is_empty() {
            Matching::Whole
        } else {
            Matching::Sni(HostPattern::new(host).expect("pattern"))
        };
        ServedRoute {
            environment_id: None,
            key: RouteKey(if host.is_empty() { "raw" } else { host }.into()),
            listen: self.address,
            matching,
            backends: backends.to_vec(),
            proxy_protocol: false,
            health_source: HealthSource::None,
            max_connections: None,
        }
    }

    /// Publishes one route to these backends.
    pub fn serve(&self, host: &str, backends: &[SocketAddr]) -> Arc<Route> {
        let route = routed(self.route(host, backends));
        self.publish(&[Arc::clone(&route)]);
        route
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        stream
    }

    /// Waits for the record that `wanted` accepts.
    pub fn record(&mut self, wanted: impl Fn(&AccessRecord) -> bool) -> AccessRecord {
        let mut found = None;
        eventually("an access record", || {
            self.seen.extend(self.access.take(VecDeque::new()));
            found = self.seen.iter().find(|record| wanted(record)).cloned();
            found.is_some()
        });
        found.expect("it was found")
    }

    /// The record of the only connection there was.
    pub fn only_record(&mut self) -> AccessRecord {
        self.record(|_| true)
    }

    pub fn ended(&self, metric: Metric) -> u64 {
        self.workers.counters().map(|counters| counters.ended(metric)).sum()
    }
}

/// A route with backends of its own.
pub fn routed(served: ServedRoute) -> Arc<Route> {
    let backends = served.backends.iter().map(|address| Arc::new(Backend::new(*address))).collect();
    Arc::new(Route::new(served, backends))
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A listening socket that is a backend.
pub fn backend() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("backend");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

/// The next connection to a backend.
pub fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

/// An address where nobody listens.
pub fn refused_address() -> SocketAddr {
    backend().1
}

/// A backend that sends everything back with its name in front, on as many connections as come.
pub fn echo(name: &'static str) -> SocketAddr {
    let (listener, address) = backend();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = stream.try_clone().expect("clone");
                let mut writer = stream;
                let _ = writer.write_all(name.as_bytes());
                let _ = std::io::copy(&mut reader, &mut writer);
                let _ = writer.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

pub fn hello(name: &str) -> Vec<u8> {
    HelloBuilder::for_name(name).build()
}

/// Bytes that tell by their value where they belong.
pub fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(seed).fill(bytes.as_mut_slice());
    bytes
}

/// Writes `bytes` in chunks of random size, small and large.
pub fn write_in_chunks(stream: &mut TcpStream, seed: u64, mut bytes: &[u8]) {
    let mut random = SmallRng::seed_from_u64(seed);
    while !bytes.is_empty() {
        let largest = if random.random_bool(0.5) { 2000 } else { 200_000 };
        let size = random.random_range(1..=largest.min(bytes.len()));
        stream.write_all(&bytes[..size]).expect("written");
        bytes = &bytes[size..];
    }
}

/// Everything up to the end.
pub fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read to the end");
    bytes
}

/// So many bytes.
pub fn read_exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("read");
    bytes
}

/// Fails without printing megabytes.
pub fn assert_same(received: &[u8], sent: &[u8]) {
    assert_eq!(received.len(), sent.len(), "length");
    let first = received.iter().zip(sent).position(|(received, sent)| received != sent);
    assert_eq!(first, None, "first difference");
}
