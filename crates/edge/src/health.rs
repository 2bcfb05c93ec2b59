//! Active checks: connections made to see whether a backend answers, spread over time and bounded in
//! number, so that ten thousand backends make no bursts. Whoever has many backends that do not answer
//! delays the checks of its own backends alone.

mod schedule;
mod turns;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use sextant_model::{
    EnvironmentId,
    routing::{HealthSource, RouteKey, ServedRoute},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    balance::{Backend, Health},
    config,
    connect_error::Failure,
    proxy_protocol,
};
use schedule::{Schedule, Standing};
use turns::Turns;

/// Checks under way at a time. One owner alone gets half of them.
const CONCURRENT: usize = 512;
/// How long a backend may take to end a connection that was made for a check.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a backend is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Check {
    /// What is connected to.
    pub target: SocketAddr,
    /// Whether a PROXY header is expected there. One of kind `LOCAL` says that nobody is forwarded.
    pub proxy_header: bool,
}

impl Check {
    /// How the backend at `address` of a route is checked, if it is.
    pub fn of(address: SocketAddr, route: &ServedRoute) -> Option<Self> {
        let port = match route.health_source {
            HealthSource::None => return None,
            HealthSource::Tcp { port } => port.unwrap_or(address.port()),
        };
        // What listens on another port is not what the route forwards to.
        let proxy_header = route.proxy_protocol && port == address.port();
        Some(Self { target: SocketAddr::new(address.ip(), port), proxy_header })
    }
}

/// Whose backend it is. Owners share the checks that may be under way at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A tenant of the control plane.
    Environment(EnvironmentId),
    /// A route that belongs to nobody in particular.
    Route(RouteKey),
}

impl Owner {
    /// Whose the backends of `route` are.
    pub fn of(route: &ServedRoute) -> Self {
        route.environment_id.map_or_else(|| Self::Route(route.key.clone()), Self::Environment)
    }
}

/// What is to be checked.
#[derive(Clone, Debug)]
pub enum Watch {
    /// From now on.
    Begin {
        /// How.
        check: Check,
        /// Who is told.
        backend: Arc<Backend>,
        /// Whose it is.
        owner: Owner,
    },
    /// No longer.
    End {
        /// How it was checked.
        check: Check,
        /// Who was told.
        backend: Arc<Backend>,
    },
}

/// Takes [`Watch`]es.
pub type Watches = mpsc::UnboundedSender<Vec<Watch>>;

/// Starts the task that checks. Must be called inside a tokio runtime.
pub fn start(settings: config::Health, stop: CancellationToken) -> Watches {
    let (sender, watches) = mpsc::unbounded_channel();
    let mut checks = Checks::new(settings);
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = checks.run(watches) => {}
        }
    });
    sender
}

/// Several backends may have one target: a backend is known by its own address too.
type Key = (Check, SocketAddr);

/// What a check has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    Answers,
    Fails(String),
    /// Nothing of the backend: this process had no descriptor or memory to ask.
    Unasked(String),
}

struct Checks {
    settings: config::Health,
    schedule: Schedule<Key>,
    watched: HashMap<Key, (Arc<Backend>, Standing, Owner)>,
    /// Checks that are due, and those under way.
    turns: Turns<Owner, Key>,
    under_way: JoinSet<(Key, Owner, Finding)>,
}

impl Checks {
    fn new(settings: config::Health) -> Self {
        Self {
            settings,
            schedule: Schedule::default(),
            watched: HashMap::new(),
            turns: Turns::new(CONCURRENT),
            under_way: JoinSet::new(),
        }
    }

    async fn run(&mut self, mut watches: mpsc::UnboundedReceiver<Vec<Watch>>) {
        loop {
            let due = self.schedule.next();
            tokio::select! {
                changes = watches.recv() => match changes {
                    Some(changes) => changes.into_iter().for_each(|change| self.take(change)),
                    None => return,
                },
                Some(Ok((key, owner, finding))) = self.under_way.join_next() => {
                    self.turns.end(&owner);
                    self.judge(key, &finding);
                    self.begin_due();
                }
                () = sleep_until(due) => self.begin_due(),
            }
        }
    }

    fn take(&mut self, change: Watch) {
        match change {
            Watch::Begin { check, backend, owner } => {
                let key = (check, backend.address());
                let pause = self.settings.interval.mul_f64(rand::random());
                self.schedule.put(key, Instant::now() + pause);
                self.watched.insert(key, (backend, Standing::default(), owner));
            }
            Watch::End { check, backend } => {
                let key = (check, backend.address());
                if self.watched.get(&key).is_some_and(|(known, ..)| Arc::ptr_eq(known, &backend)) {
                    self.watched.remove(&key);
                    self.schedule.remove(&key);
                }
            }
        }
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while let Some(key) = self.schedule.take_due(now) {
            if let Some((.., owner)) = self.watched.get(&key) {
                self.turns.wait(owner.clone(), key);
            }
        }
        while let Some((owner, key)) = self.turns.begin() {
            if !self.watched.contains_key(&key) {
                self.turns.end(&owner);
                continue;
            }
            let timeout = self.settings.timeout;
            self.under_way.spawn(async move { (key, owner, key.0.make(timeout).await) });
        }
    }

    fn judge(&mut self, key: Key, finding: &Finding) {
        let Some((backend, standing, _)) = self.watched.get_mut(&key) else { return };
        // A tenth more or less keeps backends that began together apart.
        let pause = self.settings.interval.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        self.schedule.put(key, Instant::now() + pause);
        let (address, target) = (backend.address(), key.0.target);
        if let Finding::Unasked(reason) = finding {
            tracing::debug!(%address, %target, %reason, "backend was not checked");
            return;
        }
        let rules = (self.settings.rise, self.settings.fall);
        let Some(health) = standing.take(*finding == Finding::Answers, rules) else { return };
        let before = backend.health();
        backend.set_health(health);
        match (finding, before) {
            (Finding::Fails(reason) | Finding::Unasked(reason), _) => {
                tracing::warn!(%address, %target, %reason, "backend is down");
            }
            (Finding::Answers, Health::Unknown) => {
                tracing::debug!(%address, %target, "backend is up");
            }
            (Finding::Answers, _) => tracing::info!(%address, %target, "backend is up again"),
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

impl Check {
    async fn make(self, timeout: Duration) -> Finding {
        match tokio::time::timeout(timeout, TcpStream::connect(self.target)).await {
            Ok(Ok(stream)) => {
                // It has answered, whatever comes after that.
                self.say_goodbye(stream).await;
                Finding::Answers
            }
            Ok(Err(error)) => self.finding(&error),
            Err(_) => Finding::Fails(format!("no answer within {} ms", timeout.as_millis())),
        }
    }

    async fn say_goodbye(self, mut stream: TcpStream) {
        if !self.proxy_header {
            // The backend need not be left with a connection in TIME_WAIT or half open.
            let _ = stream.set_zero_linger();
            return;
        }
        // Whoever reads a header takes a reset before it for a broken connection, and logs it.
        let _ = tokio::time::timeout(LAST_WORDS, async {
            stream.write_all(proxy_protocol::encode_local().as_bytes()).await?;
            stream.shutdown().await?;
            let mut discarded = [0; 512];
            while stream.read(&mut discarded).await? > 0 {}
            io::Result::Ok(())
        })
        .await;
    }

    fn finding(self, error: &io::Error) -> Finding {
        match Errno::from_io_error(error).map(Failure::from) {
            Some(Failure::Process) => Finding::Unasked(error.to_string()),
            Some(Failure::Backend(why)) => Finding::Fails(why.towards(self.target)),
            None => Finding::Fails(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
