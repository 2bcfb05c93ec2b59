//! `sextant-control run`: one replica, from configuration to shutdown.

use std::{net::SocketAddr, time::Duration};

use http::StatusCode;
use sextant_daemon::{
    clock::{SystemClock, SystemEntropy},
    metrics::Answer,
    readiness, shutdown,
};
use sextant_store::Store;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::{App, CaCheck, Parts},
    appender::appender,
    ca::Ca,
    config::Config,
    database_clock::{self, DatabaseClock},
    descriptors,
    door::{
        Door,
        limits::{Limits, Work},
        metrics::metrics,
        record,
    },
    housekeeping, http as api,
    ingress::HostnameRules,
    init::check_ca,
    rates::Rates,
    server,
    tail::Tail,
    token_cache::TokenCache,
};

/// Before the platform's CA is asked for again.
const CA_RETRY: Duration = Duration::from_secs(1);
/// What is left over after the drain may not keep the process alive.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Serves until a signal. The database may come later: until then requests are put off (503).
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let mut options = config.database.connect_options()?;
    options.max_connections = config.database.checked_max_connections()?;
    let store = Store::connect(&options)?.with_quotas(config.quotas);
    let ca = Ca::load(&config.tls.ca_certificate_file, &config.tls.ca_key_file)?;
    if config.tls.names.is_empty() {
        anyhow::bail!(
            "tls.names is empty; give the names and addresses clients reach this replica by"
        );
    }
    let listeners = server::listeners(&config.listen.addresses).await?;
    let hostnames = HostnameRules::from(&config.hostnames);
    let drain = Duration::from_secs(config.workloads.drain_seconds);
    let names = config.tls.names;
    let mut limits =
        Limits { work: Work::for_connections(options.max_connections), ..Limits::default() };
    limits.places = descriptors::places(limits.places);
    let silent = match config.nodes.silent_days {
        0 => housekeeping::NEVER,
        days => Duration::from_hours(24 * days),
    };
    let settings = Settings { names, hostnames, drain, silent, limits };
    let metrics = match config.metrics.listen {
        Some(address) => Some(sextant_daemon::metrics::Listener::on_address(address).await?),
        None => None,
    };
    // Said first: whoever reads "ready" in the log may connect.
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, "listening");
    }
    let replica = Replica::start(store, ca, settings, listeners, stop.clone())?;
    if let Some(listener) = metrics {
        replica.serve_metrics(listener, stop.clone());
    }
    let tail = replica.app.tail.clone();
    let alive = move || tail.progress().turns(std::time::Instant::now());
    let watchdog = tokio::spawn(readiness::feed_watchdog(alive, stop));
    // A replica may start before its database, and serves 503 until it is there.
    readiness::ready("waiting for the database");
    replica.stopped().await;
    let _ = watchdog.await;
    tracing::info!("stopped");
    Ok(())
}

/// Says when the database is there and the replica has the platform's CA. With another one it is
/// never ready.
async fn announce_ready(app: App, stop: CancellationToken) {
    let checked = async {
        app.tail.ready().await;
        loop {
            match app.store.recorded_ca().await {
                Ok(recorded) => return check_ca(&app.ca, recorded.as_deref()),
                Err(error) => {
                    tracing::debug!(%error, "the platform's CA is not known yet; asking again");
                    tokio::time::sleep(CA_RETRY).await;
                }
            }
        }
    };
    let checked = tokio::select! {
        () = stop.cancelled() => return,
        checked = checked => checked,
    };
    app.ca_check.settle(checked.as_ref().err().map(ToString::to_string));
    match checked {
        Ok(()) => {
            readiness::ready("serving");
            tracing::info!(version = sextant_daemon::VERSION, "ready");
        }
        Err(error) => {
            tracing::error!(%error, "the replica has a wrong CA and will not be ready");
            readiness::status("not ready: the CA's files are those of another platform");
        }
    }
}

/// What the replica is called beside others: the first address at which others reach it, else the
/// first of its names and its port.
fn called(names: &[String], addresses: &[SocketAddr]) -> String {
    let of_this_machine =
        |address: &&SocketAddr| !address.ip().is_unspecified() && !address.ip().is_loopback();
    if let Some(address) = addresses.iter().find(of_this_machine) {
        return address.to_string();
    }
    let name = names.first().map_or("unnamed", String::as_str);
    let port = addresses.first().map_or(0, SocketAddr::port);
    if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
}

/// How a replica is to be.
#[derive(Debug)]
pub struct Settings {
    /// Names and addresses under which clients reach it.
    pub names: Vec<String>,
    /// Which hostnames need a proof.
    pub hostnames: HostnameRules,
    /// How long a withdrawn workload keeps its address.
    pub drain: Duration,
    /// A node that has not reported for so long is not waited for when another one leaves.
    pub silent: Duration,
    /// What callers may take.
    pub limits: Limits,
}

/// A running replica.
#[derive(Debug)]
pub struct Replica {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    app: App,
    store: Store,
    serving: JoinSet<()>,
    chores: JoinSet<()>,
    streams: TaskTracker,
    tail_stop: CancellationToken,
}

impl Replica {
    /// Starts serving on `listeners`; stops, politely, when `stop` is cancelled.
    pub fn start(
        store: Store,
        ca: Ca,
        settings: Settings,
        listeners: Vec<TcpListener>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let Settings { names, hostnames, drain, silent, limits } = settings;
        let (appender, appending) = appender();
        let tail = Tail::default();
        let app = App::new(Parts {
            store: store.clone(),
            door: Door::new(limits),
            ca,
            hostnames,
            drain,
            silent,
            appender,
            tail: tail.clone(),
            ca_check: CaCheck::default(),
            tokens: TokenCache::default(),
            rates: Rates::default(),
            clock: Box::new(SystemClock),
            database_clock: DatabaseClock::default(),
            entropy: Box::new(SystemEntropy),
            streams: TaskTracker::new(),
            stop: stop.clone(),
        });
        let streams = app.streams.clone();
        let addresses =
            listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let name = called(&names, &addresses);
        let (tls, renewal) = server::tls(&app, names, stop.clone())?;
        // Requests in flight wait for the tail, so it stops last.
        let tail_stop = CancellationToken::new();
        let mut chores = JoinSet::new();
        chores.spawn({
            let (app, store, stop) = (app.clone(), store.own(), tail_stop.clone());
            async move { app.tail.run(store, stop).await }
        });
        chores.spawn(appending.run(store.own(), tail_stop.clone()));
        chores.spawn(record::run(app.clone(), tail_stop.clone()));
        chores.spawn(housekeeping::run(app.clone(), stop.clone()));
        chores.spawn(database_clock::run(app.clone(), name, stop.clone()));
        chores.spawn(renewal);
        chores.spawn(announce_ready(app.clone(), tail_stop.clone()));
        let mut serving = JoinSet::new();
        let router = api::router(app.clone());
        serving.spawn(server::serve(app.clone(), router, listeners, tls));
        Ok(Self { addresses, app, store, serving, chores, streams, tail_stop })
    }

    /// Serves metrics on `listener` until `stop`.
    pub fn serve_metrics(
        &self,
        listener: sextant_daemon::metrics::Listener,
        stop: CancellationToken,
    ) {
        let app = self.app.clone();
        let answer = move |path: &str, _: &str| match path {
            "/metrics" => metrics(&app.door),
            other => Answer::refused(StatusCode::NOT_FOUND, format!("there is no {other}")),
        };
        tokio::spawn(listener.serve(answer, stop));
    }

    /// Waits until it has stopped and let go of everything.
    pub async fn stopped(mut self) {
        while self.serving.join_next().await.is_some() {}
        self.streams.close();
        let _ = tokio::time::timeout(STOP_LIMIT, self.streams.wait()).await;
        self.tail_stop.cancel();
        let all = async { while self.chores.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_LIMIT, all).await;
        let _ = tokio::time::timeout(STOP_LIMIT, self.store.close()).await;
    }
}
