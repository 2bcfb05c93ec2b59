//! What the process knows of itself: one place that status, metrics and explanations read from.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::{
    access::AccessSender,
    access_log::AccessLog,
    limits::Limits,
    publish::{Publisher, Served},
    table::Published,
    worker::Workers,
};

/// Refused records that a status names; all are counted.
const REFUSED_LIMIT: usize = 100;

/// Shared by everything that looks at the running edge.
#[derive(Debug)]
pub struct Shared {
    /// The routes.
    pub published: Arc<Published>,
    /// Who serves them.
    pub workers: Arc<Workers>,
    /// Who may connect.
    pub limits: Arc<Limits>,
    /// Where lines of the access log wait.
    pub access: AccessSender,
    /// Who writes them, if somebody does.
    pub access_log: Option<AccessLog>,
    /// The routes by key, as they were last published.
    pub routes: ArcSwap<Served>,
    /// What changes with the routes.
    pub situation: ArcSwap<Situation>,
    /// Changes of the routes that were taken in.
    pub changes: AtomicU64,
    /// Route files or snapshots that were refused as a whole.
    pub rejected: AtomicU64,
    /// Whether the process is on its way down.
    pub draining: AtomicBool,
    /// How many processes handed over before this one.
    pub generation: u32,
    /// When it began.
    pub started: Instant,
}

/// What changes with the routes, as it is shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Situation {
    /// Where routes come from.
    pub source: String,
    /// What is wrong with that, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Listening sockets.
    pub listeners: Vec<ListenerStatus>,
    /// How many records are refused.
    pub refused_count: usize,
    /// Some of them.
    pub refused: Vec<RefusedStatus>,
}

/// One listening socket.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerStatus {
    /// Where.
    pub listen: SocketAddr,
    /// Whether it is open.
    pub open: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether one on `[::]` takes IPv4 too.
    #[serde(skip)]
    pub dual: bool,
}

/// One record that is not served.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedStatus {
    /// Which.
    pub route: String,
    /// Why not.
    pub reason: String,
}

/// The answer to `GET /status`.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    pid: u32,
    generation: u32,
    uptime_s: u64,
    draining: bool,
    revision: u64,
    routes: usize,
    connections: u64,
    changes: u64,
    rejected: u64,
    #[serde(flatten)]
    situation: Situation,
}

impl Shared {
    /// Everything in short.
    pub fn status(&self) -> Status {
        let snapshot = self.published.load();
        Status {
            version: sextant_daemon::VERSION,
            pid: std::process::id(),
            generation: self.generation,
            uptime_s: self.started.elapsed().as_secs(),
            draining: self.draining.load(Relaxed),
            revision: snapshot.revision,
            routes: snapshot.table.len(),
            connections: self.workers.connections(),
            changes: self.changes.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            situation: Situation::clone(&self.situation.load()),
        }
    }
}

impl ListenerStatus {
    /// Whether connections to `local` arrive here.
    pub fn takes(&self, local: SocketAddr) -> bool {
        let every = self.listen.ip().is_unspecified() && self.listen.port() == local.port();
        let family = self.listen.is_ipv4() == local.is_ipv4() || self.dual;
        self.listen == local || (every && family)
    }
}

impl Situation {
    /// What `publisher` has made of the routes.
    pub fn of(publisher: &Publisher, source: &str, problem: Option<String>) -> Self {
        let open = publisher.open_sockets().map(|(socket, _)| ListenerStatus {
            listen: socket.address,
            open: true,
            error: None,
            dual: socket.dual,
        });
        let failed = publisher.failed_sockets().map(|(socket, reason)| ListenerStatus {
            listen: socket.address,
            open: false,
            error: Some(reason.to_owned()),
            dual: socket.dual,
        });
        let refused = publisher.routes().refused();
        Self {
            source: source.to_owned(),
            problem,
            listeners: open.chain(failed).collect(),
            refused_count: refused.len(),
            refused: refused
                .values()
                .take(REFUSED_LIMIT)
                .map(|refused| RefusedStatus {
                    route: refused.route.key.to_string(),
                    reason: refused.conflict.to_string(),
                })
                .collect(),
        }
    }
}
