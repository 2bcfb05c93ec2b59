//! The loop of an enrolled node: items of the stream and timers come in, passes, saves and reports
//! go out. The order of a change is always apply, save, acknowledge, so that no acknowledgement
//! names a revision that a restart would forget.

mod contact;
mod duplicate;
mod standing;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sextant_api::{
    Client,
    client::NamedTime,
    follow::{Item, follow_view},
    frame::StreamView,
};
use sextant_daemon::clock::{Clock, Entropy};
use sextant_model::{Cursor, health::Kind};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    Exit, RunError,
    background::Background,
    node_client,
    pulse::Pulse,
    timers::{Due, Timers},
    view::{Taken, View},
};
use crate::{
    certificate::Validity,
    config::AgentConfig,
    disk, egress,
    heard::Heard,
    probe::{ProbeHandle, Targets},
    problem::{Owner, Problem, Problems},
    reconcile::{Pass, Reconciler},
    report::{self, Material, Reporter},
    state::{NodeIdentity, StateFolder},
};

/// Between two looks at an interface that is as it should be.
const DRIFT_INTERVAL: Duration = Duration::from_secs(10);
/// Between news and the report of it: more of the same may follow.
const NEWS_PAUSE: Duration = Duration::from_millis(500);
/// How long a bookmark may wait to be saved and acknowledged.
const FLUSH_PAUSE: Duration = Duration::from_secs(2);
/// Before the stream is opened again after a refusal or a snapshot that cannot be believed.
const RESUME_PAUSE: Duration = Duration::from_secs(30);
/// Before another snapshot is asked for where one was older than what the node knows.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(500);
/// A loop that has not come round for so long hangs; it does so every ten seconds otherwise.
const HANG_LIMIT: Duration = Duration::from_secs(60);
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
/// Things that are left out because the rules forbid them, reported one by one.
const FAULTS_REPORTED: usize = 8;
/// Items that are taken in before the interface follows.
const BURST: usize = 1024;

/// What the loop is made from.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub config: AgentConfig,
    /// The state folder, locked.
    pub folder: StateFolder,
    /// Who the node is.
    pub node: NodeIdentity,
    /// The TLS key, PEM.
    pub client_key: Zeroizing<String>,
    /// What it knows of its network.
    pub view: View,
    /// Its interface.
    pub reconciler: Reconciler,
    /// Its measurements, where it may make any.
    pub probe: Option<ProbeHandle>,
    /// Tells this process from those before and after it.
    pub process: Uuid,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Runs until `stop` is cancelled or the node has left.
pub async fn run(parts: Parts, stop: CancellationToken) -> Result<Exit, RunError> {
    let (mut timers, mut pass, mut backoff) =
        (Timers::default(), Pass::default(), SHORTEST_BACKOFF);
    let Parts { config, folder, node, client_key, view, mut reconciler, entropy, .. } = parts;
    // The last good state first: it needs no control plane and no certificate.
    if let Some(state) = view.current() {
        pass = reconciler.pass(&state.membership, node.node_id).await;
        pass.log(&[]);
        settle(&pass, &mut timers, &mut backoff);
    }
    let certificate = folder.certificate()?;
    let validity = Validity::of(&certificate).ok();
    let time = NamedTime::default();
    let instance = entropy.id();
    let client = node_client(&config, &folder, certificate.clone(), &client_key, &time, instance)?;
    let saved = view.cursor();
    let applied = saved.filter(|_| pass.complete);
    let mut agent = Agent {
        stream: Some(Stream::open(&client, resume_after(&view))),
        reporter: Reporter::start(client.clone(), parts.clock.clone()),
        background: Background::new(),
        client,
        config,
        folder,
        node,
        client_key,
        view,
        reconciler,
        probe: parts.probe,
        process: parts.process,
        clock: parts.clock,
        entropy,
        time,
        instance,
        affairs: standing::Affairs::default(),
        validity,
        timers,
        pass,
        backoff,
        saved,
        applied,
        problems: Problems::default(),
        heard: Heard::default(),
        endpoint_is_local: None,
        reports: 0,
        endpoint_problem: None,
        silenced: false,
        connected: true,
        ready: false,
        turn: 0,
    };
    if agent.probe.is_none() {
        let text = "round trips cannot be measured; the agent needs CAP_NET_RAW";
        agent.problems.set(Owner::Probe, Problem::new(Kind::ProbeBlind, text));
    }
    agent.publish_identity(&certificate);
    agent.after_pass();
    agent.timers.set(Due::Report, NEWS_PAUSE);
    agent.timers.set(Due::Certificate, Duration::ZERO);
    agent.timers.set(Due::Endpoint, Duration::ZERO);
    let pulse = Arc::new(Pulse::new());
    let watched = pulse.clone();
    let alive = move || watched.age() < HANG_LIMIT;
    let watchdog = sextant_daemon::readiness::feed_watchdog(alive, stop.child_token());
    let watchdog = tokio::spawn(watchdog);
    let result = agent.work(&stop, &pulse).await;
    watchdog.abort();
    result
}

struct Agent {
    config: AgentConfig,
    folder: StateFolder,
    node: NodeIdentity,
    client_key: Zeroizing<String>,
    client: Client,
    stream: Option<Stream>,
    reporter: Reporter,
    background: Background,
    view: View,
    reconciler: Reconciler,
    probe: Option<ProbeHandle>,
    process: Uuid,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// The control plane's time, where the clock is wrong.
    time: NamedTime,
    /// Which process this is.
    instance: Uuid,
    affairs: standing::Affairs,
    validity: Option<Validity>,
    timers: Timers,
    /// The last pass over the interface.
    pass: Pass,
    backoff: Duration,
    /// The cursor on disk.
    saved: Option<Cursor>,
    /// The cursor that may be acknowledged.
    applied: Option<Cursor>,
    /// What is wrong besides the interface.
    problems: Problems,
    heard: Heard,
    /// Whether the registered endpoint is an address of this machine.
    endpoint_is_local: Option<bool>,
    /// How many reports there were.
    reports: i64,
    /// What is wrong with the endpoint.
    endpoint_problem: Option<Problem>,
    /// Whether another machine runs as this node: then this one keeps quiet.
    silenced: bool,
    /// Whether the stream is up, or has not been tried yet.
    connected: bool,
    ready: bool,
    turn: usize,
}

/// The follower; ends when dropped.
struct Stream {
    items: mpsc::Receiver<Item>,
    _stop: DropGuard,
}

impl Stream {
    fn open(client: &Client, after: Option<Cursor>) -> Self {
        let (stop, view) = (CancellationToken::new(), StreamView::Boundary);
        let items = follow_view(client.clone(), view, after, stop.clone());
        Self { items, _stop: stop.drop_guard() }
    }
}

/// What a burst of items asks for.
#[derive(Default)]
struct Burst {
    changed: bool,
    advanced: bool,
    marked: bool,
    left: Option<String>,
    duplicate: Option<String>,
}

impl Agent {
    async fn work(&mut self, stop: &CancellationToken, pulse: &Pulse) -> Result<Exit, RunError> {
        loop {
            pulse.beat();
            tokio::select! {
                () = stop.cancelled() => return Ok(Exit::Stopped),
                item = next(&mut self.stream) => {
                    let Some(item) = item else { return Err(RunError::Broken) };
                    if let Some(reason) = self.take_burst(item).await {
                        return self.leave(&reason).await;
                    }
                }
                answer = self.background.next() => {
                    if let Some(answer) = answer
                        && let Some(reason) = self.take_answer(answer)?
                    {
                        return self.leave(&reason).await;
                    }
                }
                () = news(self.probe.as_ref()) => self.timers.hasten(Due::Report, NEWS_PAUSE),
                () = self.timers.wait() => {
                    for due in self.timers.take() {
                        self.do_due(due).await;
                    }
                }
            }
        }
    }

    /// Takes in everything that is there before the interface follows. `Some` if the node left.
    async fn take_burst(&mut self, first: Item) -> Option<String> {
        let mut burst = Burst::default();
        self.take_item(first, &mut burst);
        for _ in 1..BURST {
            let item = self.stream.as_mut().and_then(|stream| stream.items.try_recv().ok());
            let Some(item) = item.filter(|_| burst.left.is_none()) else { break };
            self.take_item(item, &mut burst);
        }
        if burst.left.is_some() {
            return burst.left;
        }
        if let Some(reason) = burst.duplicate {
            self.fall_silent(reason).await;
        } else if burst.changed {
            self.converge().await;
        } else if burst.advanced {
            self.commit();
        } else if burst.marked {
            self.timers.set_once(Due::Flush, FLUSH_PAUSE);
        }
        None
    }

    fn take_item(&mut self, item: Item, burst: &mut Burst) {
        if standing::is_untimely(&item) {
            self.suspect_time();
        }
        match self.view.take(item) {
            Taken::Changed => burst.changed = true,
            Taken::Advanced => burst.advanced = true,
            Taken::Marked => burst.marked = true,
            Taken::LeftOut(reason) => {
                tracing::warn!(%reason, "what the control plane says is against the rules");
                burst.advanced = true;
            }
            Taken::Left(reason) => burst.left = Some(reason),
            Taken::Duplicate(reason) => burst.duplicate = Some(reason),
            Taken::Connected(url) => {
                tracing::info!(%url, "following the control plane");
                self.connected = true;
                self.trust_time();
                self.speak_again();
                self.problems.clear(Owner::Stream);
                self.report();
            }
            Taken::Disconnected(reason) => {
                if std::mem::take(&mut self.connected) {
                    tracing::warn!(%reason, "the control plane is away; the interface stays as it is");
                } else {
                    tracing::debug!(%reason, "the control plane is still away");
                }
            }
            Taken::Incomplete => {
                tracing::info!("an environment is new here; asking for a snapshot");
                burst.changed = true;
                self.stream = None;
                self.timers.set(Due::Resume, Duration::ZERO);
            }
            Taken::Stale => {
                tracing::debug!("the snapshot does not know the environment yet");
                self.stream = None;
                self.timers.set(Due::Resume, SNAPSHOT_PAUSE);
            }
            Taken::Unbelievable(reason) => {
                self.suspend("what came from the control plane is refused", reason, RESUME_PAUSE);
            }
            Taken::Refused(reason) => {
                let what = "the control plane does not let this node follow";
                self.suspend(what, reason, RESUME_PAUSE);
            }
        }
    }

    /// Ends the stream for a while; the interface and the last good state stay.
    fn suspend(&mut self, what: &str, reason: String, pause: Duration) {
        let retry_in_s = pause.as_secs();
        tracing::error!(%reason, retry_in_s, "{what}; the last good state stays");
        let text = format!("{what}: {reason}");
        self.problems.set(Owner::Stream, Problem::new(Kind::StreamRefused, text));
        self.connected = false;
        self.stream = None;
        self.timers.set(Due::Resume, pause);
        self.report();
    }

    async fn do_due(&mut self, due: Due) {
        match due {
            Due::Reconcile => self.converge().await,
            Due::Report => {
                self.measure().await;
                self.check_disk();
                self.watch_clock();
                self.turn = self.turn.wrapping_add(1);
                self.report();
                self.timers.set(Due::Report, self.report_interval());
            }
            Due::Flush => self.commit(),
            Due::Certificate => self.check_certificate(),
            Due::Standing => self.ask_standing(),
            Due::Endpoint => self.check_endpoint(),
            Due::Resume => {
                if self.stream.is_none() {
                    self.stream = Some(Stream::open(&self.client, resume_after(&self.view)));
                }
            }
        }
    }

    /// Makes the interface follow, then saves and acknowledges.
    async fn converge(&mut self) {
        if self.silenced {
            return;
        }
        // Without a state there is nothing to make true, and the interface is left alone.
        let Some(state) = self.view.current() else { return };
        let pass = self.reconciler.pass(&state.membership, self.node.node_id).await;
        pass.log(&self.pass.problems);
        let index = |pass: &Pass| pass.observation.as_ref().map(|found| found.index);
        if index(&pass) != index(&self.pass)
            && let Some(probe) = &self.probe
        {
            probe.hurry();
        }
        self.pass = pass;
        settle(&self.pass, &mut self.timers, &mut self.backoff);
        self.after_pass();
        self.commit();
    }

    fn after_pass(&mut self) {
        let Some(state) = self.view.current() else { return };
        if let Some(probe) = &self.probe {
            let others = state.membership.members.values();
            let others = others.filter(|member| member.node_id != self.node.node_id);
            let targets: Targets =
                others.filter_map(|m| Some((m.node_id, m.addresses.ipv6()?))).collect();
            probe.set_targets(targets);
            probe.set_mtu(self.pass.observation.as_ref().map_or(0, |found| found.interface.mtu));
        }
        if self.pass.complete && !self.ready {
            self.ready = true;
            let peers = state.membership.members.len().saturating_sub(1);
            sextant_daemon::readiness::ready(&format!("{peers} peers"));
        } else if self.pass.blocked && !self.ready {
            // A restart would not help: the service manager must not wait for what cannot come.
            self.ready = true;
            sextant_daemon::readiness::ready("waits for a person: see the log");
        }
    }

    /// Saves what was taken in; acknowledges it if it is also applied.
    fn commit(&mut self) {
        self.timers.clear(Due::Flush);
        let Some(state) = self.view.current() else { return };
        if self.saved != Some(state.cursor) {
            if let Err(error) = self.folder.save_state(state) {
                tracing::error!(%error, "the state cannot be saved; nothing is acknowledged");
                self.problems.set(Owner::State, Problem::new(Kind::StateUnsaved, error));
                self.timers.set(Due::Flush, FLUSH_PAUSE);
                self.report();
                return;
            }
            self.problems.clear(Owner::State);
            self.saved = Some(state.cursor);
        }
        if self.pass.complete && self.applied != Some(state.cursor) {
            self.applied = Some(state.cursor);
            tracing::debug!(revision = %state.cursor, "applied");
        }
        self.report();
    }

    /// Reads the interface for the next report; repairs nothing.
    async fn measure(&mut self) {
        if self.silenced {
            return;
        }
        self.pass.observation = self.reconciler.observe().await.ok().flatten();
        if let Some(found) = &self.pass.observation {
            self.heard.look(found, Instant::now());
        }
        let members = self.view.current().map(|state| &state.membership.members);
        let own = members.and_then(|members| members.get(&self.node.node_id));
        self.endpoint_is_local = own.and_then(|own| egress::is_local(own.endpoint.ip()));
        if self.pass.observation.is_none() && self.pass.complete {
            self.timers.set(Due::Reconcile, Duration::ZERO);
        }
    }

    /// A full disk is told before something must be saved.
    fn check_disk(&mut self) {
        match disk::check(self.folder.path()) {
            Ok(()) => drop(self.problems.clear(Owner::Disk)),
            Err(error) => {
                let text = error.to_string();
                if self.problems.set(Owner::Disk, Problem::new(Kind::DiskFull, error)) {
                    tracing::warn!("{text}");
                }
            }
        }
    }

    fn report_interval(&self) -> Duration {
        let members = self.view.current().map_or(0, |state| state.membership.members.len());
        let is_news = self.probe.as_ref().is_some_and(|probe| probe.measurements().is_news);
        if is_news { report::news_interval(members) } else { report::interval(members) }
    }

    fn report(&mut self) {
        if self.silenced {
            return;
        }
        let Some(state) = self.view.current() else { return };
        // Before anything is applied, the ack names the beginning of this life of the log.
        let nothing = Cursor { epoch: state.cursor.epoch, event_id: 0 };
        let measured = self.probe.as_ref().map(ProbeHandle::measurements).unwrap_or_default();
        let problems = self.pass.problems.iter().chain(self.problems.iter());
        let mut problems: Vec<Problem> = problems.cloned().collect();
        if let Some(skipped) = &state.membership.skipped {
            problems.push(Problem::new(Kind::EventsUnknown, skipped));
        }
        let faults = self.view.faults().take(FAULTS_REPORTED);
        problems.extend(faults.map(|fault| Problem::new(Kind::StreamRefused, fault)));
        problems.extend(self.endpoint_problem.clone());
        for (kind, problem) in [
            (Kind::NodeClock, &self.affairs.clock_problem),
            (Kind::NodeCertificate, &self.affairs.certificate_problem),
            (Kind::EdgeIdentity, &self.affairs.edge_problem),
        ] {
            problems.extend(problem.as_ref().map(|text| Problem::new(kind, text)));
        }
        self.reports += 1;
        self.reporter.report(report::build(&Material {
            revision: self.applied.unwrap_or(nothing),
            me: self.node.node_id,
            membership: &state.membership,
            observation: self.pass.observation.as_ref(),
            ready: &self.pass.ready,
            underlay_mtu: self.pass.underlay_mtu,
            measured: &measured,
            heard: &self.heard,
            problems: &problems,
            endpoint_is_local: self.endpoint_is_local,
            process: self.process,
            number: self.reports,
            clock_ahead_at_most_ms: self.reporter.clock_ahead_at_most_ms(),
            now: self.clock.now(),
            turn: self.turn,
        }));
    }

    async fn leave(&mut self, reason: &str) -> Result<Exit, RunError> {
        tracing::warn!(%reason, "this node has left its network; its interface is removed");
        // First the marker: whoever is killed after it goes on from there.
        self.folder.save_left(reason)?;
        self.reconciler.remove().await.map_err(RunError::Remove)?;
        let folder = self.folder.path().display();
        tracing::warn!("done; empty \"{folder}\" to enrol this machine again");
        Ok(Exit::Left)
    }
}

async fn news(probe: Option<&ProbeHandle>) {
    match probe {
        Some(probe) => probe.news().await,
        None => std::future::pending().await,
    }
}

async fn next(stream: &mut Option<Stream>) -> Option<Item> {
    match stream {
        Some(stream) => stream.items.recv().await,
        None => std::future::pending().await,
    }
}

/// Where the stream goes on. A state from which events were left out is not complete: this version
/// may be the one that can read them, so it takes a snapshot.
fn resume_after(view: &View) -> Option<Cursor> {
    let complete = view.current()?.membership.skipped.is_none();
    view.resume().filter(|_| complete)
}

/// Chooses when to look again.
fn settle(pass: &Pass, timers: &mut Timers, backoff: &mut Duration) {
    if pass.complete {
        *backoff = SHORTEST_BACKOFF;
        timers.set(Due::Reconcile, DRIFT_INTERVAL);
    } else {
        timers.set(Due::Reconcile, *backoff);
        *backoff = (*backoff * 2).min(DRIFT_INTERVAL);
    }
}
