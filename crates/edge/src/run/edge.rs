//! The control loop: everything that happens to a running edge comes in here, one thing at a time.

mod ending;

use std::{
    hash::RandomState,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use sextant_daemon::{clock::SystemClock, metrics::BindError, readiness, shutdown};
use sextant_model::Cursor;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    RunError, Startup,
    feed::{self, Fed, Feed, First},
    pulse::{Pulse, is_alive},
    settings,
    startup::raise_descriptor_limit,
    system,
};
use crate::{
    access, access_log,
    admin::Admin,
    config::{EdgeConfig, Source},
    follow::News,
    handover::{Predecessor, Store, Successor, UpgradeError, Upgrader},
    health,
    limits::Limits,
    publish::{Change, Parts, Publisher},
    route_file::{RouteFile, RouteFileError},
    status::{Shared, Situation},
    table::Published,
    timer::Moment,
    worker::Workers,
};

/// The loop comes round at least so often.
const TICK: Duration = Duration::from_secs(1);
/// How long the end waits until connections are cut.
const CUT_PATIENCE: Duration = Duration::from_millis(500);
/// Records of the access log that may wait.
const ACCESS_QUEUE: usize = 65_536;
/// How long the start tries to open at least one listening socket: whoever had it may just be ending.
const FIRST_LISTENER: Duration = Duration::from_secs(1);
/// Longest text for the service manager, in characters.
const STATUS_LENGTH: usize = 200;

/// Why the loop ended.
#[derive(Debug)]
pub enum End {
    /// The process was told to stop.
    Stopped,
    /// The next process has taken over.
    HandedOver(Successor),
}

pub struct Edge {
    config: EdgeConfig,
    publisher: Publisher,
    shared: Arc<Shared>,
    feed: Feed,
    /// What is wrong with what the routes come from.
    problem: Option<String>,
    revision: u64,
    /// What the service manager was told last.
    told: String,
    store: Store,
    upgrader: Upgrader,
    upgrade: Option<JoinHandle<Result<Successor, UpgradeError>>>,
    /// The process before this one, as long as it serves.
    taking_over_from: Option<Predecessor>,
    /// Open as long as the process before this one drains.
    predecessor: Option<JoinHandle<()>>,
    announced: bool,
    /// As long as nobody is answered.
    admin: Option<Admin>,
    /// Cancelled when the next process answers.
    answering: CancellationToken,
    admin_socket: Option<std::net::TcpListener>,
    pulse: Arc<Pulse>,
    signals: Signals,
    /// Cancelled when nothing is left to do.
    finished: CancellationToken,
}

struct Signals {
    stop: CancellationToken,
    /// Cancelled by the second signal to stop, after which the process ends by itself.
    stop_at_once: CancellationToken,
    /// Who has connections to cut then.
    serving: Arc<OnceLock<Arc<Workers>>>,
    reload: Signal,
    upgrade: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (stop_at_once, serving) =
            (CancellationToken::new(), Arc::<OnceLock<Arc<Workers>>>::default());
        let (told, workers) = (stop_at_once.clone(), serving.clone());
        Ok(Self {
            // Whoever is connected must not take what it has for everything.
            stop: shutdown::on_signal_with(move || {
                told.cancel();
                if let Some(workers) = workers.get() {
                    workers.cut_and_wait(CUT_PATIENCE);
                }
            })?,
            stop_at_once,
            serving,
            reload: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

/// What the loop has to do next.
enum Happening {
    Stop,
    Reload,
    Upgrade,
    Upgraded(Result<Successor, UpgradeError>),
    Fed(Fed),
    Retry,
    Tick,
}

impl Edge {
    /// Starts everything, and says that it is ready. Who takes over says so when it knows its routes.
    pub async fn start(config: EdgeConfig, startup: Startup) -> Result<Self, RunError> {
        let Startup { mut inherited, store, upgrader } = startup;
        let signals = Signals::new().map_err(system("listen for signals"))?;
        let taking_over_from =
            Predecessor::from_environment().map_err(system("reach the process before"))?;
        let descriptors = raise_descriptor_limit(&config.limits);
        let take_over = taking_over_from.is_some();
        let (feed, first) = Feed::open(&config.source, take_over).await?;
        let generation = Predecessor::generation();
        let finished = CancellationToken::new();

        let published = Arc::new(Published::default());
        let hashers = [RandomState::new(), RandomState::new()];
        let limits = Arc::new(Limits::new(settings::limits(&config.limits), hashers));
        let settings = settings::workers(&config, descriptors);
        let (sender, records) = access::queue(ACCESS_QUEUE);
        let clock = Arc::new(SystemClock);
        let (file, most) = (&config.access_log, config.access_log_max_bytes);
        let access_log = access_log::start(file, most, records, clock)?;
        let logged = access_log.is_some().then(|| sender.clone());
        let workers =
            Workers::start(config.workers.get(), settings.clone(), &published, &limits, logged);
        let workers = Arc::new(workers.map_err(system("start the workers"))?);
        let _ = signals.serving.set(workers.clone());
        let admin = Admin::open(&config.admin, &mut inherited, take_over);
        let admin = admin.or_else(|error| dispensable(error, &config))?;
        let admin_socket = match admin.as_ref().and_then(Admin::socket) {
            Some(socket) => Some(socket.try_clone().map_err(system("share a socket"))?),
            None => None,
        };
        let mut publisher = Publisher::new(Parts {
            published: published.clone(),
            workers: workers.clone(),
            watches: health::start(config.health, finished.clone()),
            inherited,
            store,
            dual: matches!(config.source, Source::File(_)),
            proxy_protocol_from: config.proxy_protocol_from.clone().into(),
            settings,
        });
        let shared = Arc::new(Shared {
            published,
            workers,
            limits,
            access: sender,
            access_log,
            routes: ArcSwap::default(),
            situation: ArcSwap::default(),
            changes: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            generation,
            started: Instant::now(),
        });
        publisher.share(take_over);
        let mut edge = Self {
            feed,
            config,
            publisher,
            shared,
            problem: None,
            revision: 0,
            told: String::new(),
            store,
            upgrader,
            upgrade: None,
            taking_over_from,
            predecessor: None,
            announced: false,
            admin,
            answering: finished.child_token(),
            admin_socket,
            pulse: Arc::new(Pulse::new()),
            signals,
            finished,
        };
        match first {
            First::File(file) => edge.take_file(file),
            First::State(change) => edge.take_change(change),
        }
        edge.open_one_listener().await?;
        edge.announce_in_time().await?;
        if !edge.announced {
            tracing::warn!(
                "no routes are known; the process before this one serves until they are"
            );
        }
        Ok(edge)
    }

    /// Waits until one listening socket that the routes need is open. Without one there is nothing to
    /// be ready for; with one, the others are tried again while it serves.
    async fn open_one_listener(&mut self) -> Result<(), RunError> {
        let limit = Instant::now() + FIRST_LISTENER;
        while self.publisher.serves_nothing() {
            let again_at = self.publisher.retry_at().filter(|again_at| *again_at < limit);
            if again_at.is_none() {
                let failed = self.publisher.failed_sockets();
                let reasons =
                    failed.map(|(socket, reason)| format!("cannot listen on {socket}: {reason}"));
                return Err(RunError::NoListener(reasons.collect()));
            }
            sleep_until(again_at).await;
            self.publisher.retry();
        }
        self.note_situation();
        Ok(())
    }

    /// Says that it is ready, once. The process before this one stops serving then: it may not as
    /// long as this one does not know what to serve.
    async fn announce_in_time(&mut self) -> Result<(), RunError> {
        let waits = self.taking_over_from.is_some() && !self.feed.knows_routes();
        if !self.announced && !waits {
            self.announced = true;
            self.announce().await?;
        }
        Ok(())
    }

    async fn announce(&mut self) -> Result<(), RunError> {
        if let Some(admin) = self.admin.take() {
            match admin.serve(self.shared.clone(), self.answering.clone()) {
                Ok(serving) => drop(tokio::spawn(serving)),
                Err(error) => drop(dispensable(error, &self.config)?),
            }
        }
        if let Some(mut predecessor) = self.taking_over_from.take() {
            if let Err(error) = predecessor.say_ready().await {
                tracing::warn!(%error, "the process before this one does not hear; going on");
            }
            self.predecessor = Some(tokio::spawn(predecessor.gone()));
            self.publisher.share(false);
            self.note_situation();
        }
        let (pulse, shared) = (self.pulse.clone(), self.shared.clone());
        let alive = move || is_alive(&pulse, &shared, Moment::now());
        tokio::spawn(readiness::feed_watchdog(alive, self.finished.clone()));
        self.told = self.status_line();
        readiness::ready(&self.told);
        let routes = self.shared.published.load().table.len();
        tracing::info!(version = sextant_daemon::VERSION, routes, "ready");
        Ok(())
    }

    /// Serves until the end.
    pub async fn work(&mut self) -> Result<End, RunError> {
        loop {
            self.pulse.beat();
            match self.next().await {
                Happening::Stop => return Ok(End::Stopped),
                Happening::Reload => {
                    if let Some(log) = &self.shared.access_log {
                        log.reopen();
                    }
                    readiness::reloading();
                    self.reload().await;
                    // There is no word for a reload that failed: the status says it.
                    self.told = self.status_line();
                    readiness::ready(&self.told);
                }
                Happening::Fed(Fed::FileChanged) => self.reload().await,
                Happening::Fed(Fed::News(news)) => self.take_news(news),
                Happening::Upgrade => self.begin_upgrade(),
                Happening::Upgraded(Ok(successor)) => return Ok(End::HandedOver(successor)),
                Happening::Upgraded(Err(error)) => {
                    tracing::error!(%error, "the upgrade failed; this process goes on");
                    self.publisher.share(false);
                    self.note_problem(Some(format!("upgrade failed: {error}")));
                }
                Happening::Retry => {
                    self.publisher.retry();
                    self.note_situation();
                }
                Happening::Tick => self.tell_status(),
            }
            self.announce_in_time().await?;
        }
    }

    async fn next(&mut self) -> Happening {
        let retry_at = self.publisher.retry_at();
        tokio::select! {
            () = self.signals.stop.cancelled() => Happening::Stop,
            _ = self.signals.reload.recv() => Happening::Reload,
            _ = self.signals.upgrade.recv() => Happening::Upgrade,
            ended = upgraded(&mut self.upgrade) => Happening::Upgraded(ended),
            fed = self.feed.next() => Happening::Fed(fed),
            () = sleep_until(retry_at) => Happening::Retry,
            () = tokio::time::sleep(TICK) => Happening::Tick,
        }
    }

    /// Takes in the route file as it is now. A file that is not good changes nothing.
    async fn reload(&mut self) {
        let Feed::File { path, watched, .. } = &self.feed else { return };
        match feed::load(path, watched).await {
            Ok(file) => {
                self.take_file(file);
            }
            // It is heard when that is over.
            Err(error @ RouteFileError::BeingWritten { .. }) => {
                tracing::warn!(%error, "the routes stay as they were");
                self.note_problem(Some(error.to_string()));
            }
            Err(error) => {
                self.shared.rejected.fetch_add(1, Relaxed);
                if let RouteFileError::Invalid { mistakes, path } = &error {
                    for mistake in mistakes {
                        tracing::error!(file = %path.display(), "route file: {mistake}");
                    }
                    let count = mistakes.len();
                    tracing::error!(
                        "the route file has {count} mistakes; the routes stay as they were"
                    );
                } else {
                    tracing::error!(%error, "the routes stay as they were");
                }
                self.note_problem(Some(error.to_string()));
            }
        }
    }

    fn take_file(&mut self, file: RouteFile) {
        self.revision += 1;
        for warning in &file.warnings {
            tracing::warn!(file = self.feed.name(), "route file: {warning}");
        }
        self.publisher.set_accept_proxy_from(file.accept_proxy_from);
        let change = Change::between(self.publisher.routes().keys(), file.routes);
        self.publisher.apply(change, self.revision);
        self.shared.changes.fetch_add(1, Relaxed);
        let routes = self.shared.published.load().table.len();
        self.publisher.close_inherited();
        tracing::info!(routes, revision = self.revision, "routes taken in");
        self.note_problem(None);
    }

    /// Takes in what came from the control plane.
    fn take_news(&mut self, news: News) {
        let Feed::ControlPlane { following, .. } = &mut self.feed else { return };
        let saved = matches!(news, News::Saved);
        let outcome = following.take(news, &self.publisher);
        if outcome.rejected {
            self.shared.rejected.fetch_add(1, Relaxed);
        }
        if let Some(change) = outcome.change {
            self.take_change(change);
        }
        let Feed::ControlPlane { following, .. } = &mut self.feed else { return };
        let revision = following.cursor().map_or(0, revision);
        if revision != self.revision {
            self.revision = revision;
            self.publisher.advance(revision);
        }
        if saved || following.wants_report() {
            following.report(&self.publisher);
        }
        let problem = following.problem().map(str::to_owned);
        if problem != self.problem {
            self.note_problem(problem);
        }
    }

    /// Takes in what the control plane says, or said last.
    fn take_change(&mut self, change: Change) {
        let Feed::ControlPlane { following, .. } = &self.feed else { return };
        // Before anything is known, sockets that were taken over are kept.
        let Some(cursor) = following.cursor() else { return };
        self.revision = revision(cursor);
        let size = change.put.len() + change.remove.len();
        self.publisher.apply(change, self.revision);
        self.publisher.close_inherited();
        self.shared.changes.fetch_add(1, Relaxed);
        tracing::debug!(size, revision = self.revision, "routes taken in");
        self.note_situation();
    }

    fn note_problem(&mut self, problem: Option<String>) {
        self.problem = problem;
        self.note_situation();
    }

    fn note_situation(&self) {
        let situation = Situation::of(&self.publisher, &self.feed.name(), self.problem.clone());
        self.shared.situation.store(Arc::new(situation));
        self.shared.routes.store(Arc::new(self.publisher.routes().served().clone()));
    }

    /// Tells the service manager how things are, if that is news.
    fn tell_status(&mut self) {
        let status = self.status_line();
        if self.told != status {
            readiness::status(&status);
            self.told = status;
        }
    }

    /// How many routes there are, and what is wrong.
    fn status_line(&self) -> String {
        let routes = self.shared.published.load().table.len();
        let Some(problem) = &self.problem else { return format!("{routes} routes") };
        let problem = problem.split_whitespace().collect::<Vec<_>>().join(" ");
        let status = format!("{routes} routes; {problem}");
        status.chars().take(STATUS_LENGTH).collect()
    }
}

/// An edge whose operator did not ask for the socket for status runs without it, if need be.
fn dispensable(error: BindError, config: &EdgeConfig) -> Result<Option<Admin>, RunError> {
    if config.admin_given {
        return Err(error.into());
    }
    tracing::warn!(%error, "going on without; set admin to another place, or \"off\"");
    Ok(None)
}

/// Event ids begin at 1.
fn revision(cursor: Cursor) -> u64 {
    u64::try_from(cursor.event_id).unwrap_or_default()
}

async fn upgraded(
    upgrade: &mut Option<JoinHandle<Result<Successor, UpgradeError>>>,
) -> Result<Successor, UpgradeError> {
    let Some(task) = upgrade else { return std::future::pending().await };
    let ended = task.await;
    *upgrade = None;
    ended.unwrap_or_else(|error| Err(UpgradeError::Broken(error.to_string())))
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
