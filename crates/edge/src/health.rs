//! Active checks: connections made to see whether a backend answers, spread over time and bounded in
//! number, so that ten thousand backends make no bursts.

mod schedule;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    balance::{Backend, Health},
    config,
};
use schedule::{Schedule, Standing};

/// Checks under way at a time.
const CONCURRENT: usize = 256;

/// What is to be checked.
#[derive(Clone, Debug)]
pub enum Watch {
    /// From now on.
    Begin {
        /// What to connect to.
        target: SocketAddr,
        /// Who is told.
        backend: Arc<Backend>,
    },
    /// No longer.
    End {
        /// What was connected to.
        target: SocketAddr,
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
type Key = (SocketAddr, SocketAddr);

struct Checks {
    settings: config::Health,
    schedule: Schedule<Key>,
    watched: HashMap<Key, (Arc<Backend>, Standing)>,
    under_way: JoinSet<(Key, Result<(), String>)>,
}

impl Checks {
    fn new(settings: config::Health) -> Self {
        Self {
            settings,
            schedule: Schedule::default(),
            watched: HashMap::new(),
            under_way: JoinSet::new(),
        }
    }

    async fn run(&mut self, mut watches: mpsc::UnboundedReceiver<Vec<Watch>>) {
        loop {
            let due = self.schedule.next().filter(|_| self.under_way.len() < CONCURRENT);
            tokio::select! {
                changes = watches.recv() => match changes {
                    Some(changes) => changes.into_iter().for_each(|change| self.take(change)),
                    None => return,
                },
                Some(Ok((key, outcome))) = self.under_way.join_next() => self.judge(key, &outcome),
                () = sleep_until(due) => self.begin_due(),
            }
        }
    }

    fn take(&mut self, change: Watch) {
        match change {
            Watch::Begin { target, backend } => {
                let key = (target, backend.address());
                let pause = self.settings.interval.mul_f64(rand::random());
                self.schedule.put(key, Instant::now() + pause);
                self.watched.insert(key, (backend, Standing::default()));
            }
            Watch::End { target, backend } => {
                let key = (target, backend.address());
                if self.watched.get(&key).is_some_and(|(known, _)| Arc::ptr_eq(known, &backend)) {
                    self.watched.remove(&key);
                    self.schedule.remove(&key);
                }
            }
        }
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.under_way.len() < CONCURRENT {
            let Some(key) = self.schedule.take_due(now) else { return };
            let timeout = self.settings.timeout;
            self.under_way.spawn(async move { (key, check(key.0, timeout).await) });
        }
    }

    fn judge(&mut self, key: Key, outcome: &Result<(), String>) {
        let Some((backend, standing)) = self.watched.get_mut(&key) else { return };
        // A tenth more or less keeps backends that began together apart.
        let pause = self.settings.interval.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        self.schedule.put(key, Instant::now() + pause);
        let rules = (self.settings.rise, self.settings.fall);
        let Some(health) = standing.take(outcome.is_ok(), rules) else { return };
        let before = backend.health();
        backend.set_health(health);
        let (address, target) = (backend.address(), key.0);
        match (outcome, before) {
            (Ok(()), Health::Unknown) => tracing::debug!(%address, %target, "backend is up"),
            (Ok(()), _) => tracing::info!(%address, %target, "backend is up again"),
            (Err(reason), _) => tracing::warn!(%address, %target, %reason, "backend is down"),
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

async fn check(target: SocketAddr, timeout: Duration) -> Result<(), String> {
    match tokio::time::timeout(timeout, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => {
            // The backend need not be left with a connection in TIME_WAIT or half open.
            let _ = stream.set_zero_linger();
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
    }
}

#[cfg(test)]
mod tests;
