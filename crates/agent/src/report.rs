//! What the agent reports of itself, and the task that sends it: one report under way, the newest
//! one waiting, older ones forgotten.

use std::{
    collections::BTreeSet,
    net::Ipv6Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use sextant_api::{
    Client, ClientError,
    resource::{
        health::PEER_LIMIT,
        report::{
            AgentProblem, AgentReport, NodeReport, PeerReport, ReportTaken, WireGuardImplementation,
        },
    },
};
use sextant_daemon::clock::Clock;
use sextant_model::{Cursor, NodeId, Timestamp, WorkloadId, health::plain, membership::Membership};
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

use crate::{
    heard::Heard, probe::Measurements, problem::Problem, report::clock::ClockWindow,
    wireguard::Observation,
};

mod clock;

/// Most lines about problems in one report, as the API allows.
const PROBLEM_LIMIT: usize = 32;
/// Longest line about a problem, in bytes.
const LINE_LIMIT: usize = 240;
/// Most troubled peers in one report where there are too many for it: the others have turns too.
const TROUBLED_LIMIT: usize = PEER_LIMIT / 2;
/// Time between two reports when nothing changes, in small meshes and in large ones.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);
/// The same while a peer was lost a short while ago: who hears whom tells what the cause is.
const SHORTEST_NEWS_INTERVAL: Duration = Duration::from_secs(1);
/// A control plane that refused what it does not know is asked again with it after so many reports.
const PLAIN_REPORTS: u32 = 20;
/// Most workloads in one report, for the same reason. Half of them are the newest: the control plane
/// waits for these.
const WORKLOAD_LIMIT: usize = 360;
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a report is made from.
#[derive(Debug)]
pub struct Material<'a> {
    /// Up to here everything is applied and saved.
    pub revision: Cursor,
    /// The node itself.
    pub me: NodeId,
    /// Who is in the network.
    pub membership: &'a Membership,
    /// The interface, if it could be read.
    pub observation: Option<&'a Observation>,
    /// Addresses of workloads that packets reach.
    pub ready: &'a BTreeSet<Ipv6Addr>,
    /// MTU of the underlay, in bytes, if known.
    pub underlay_mtu: Option<u32>,
    /// What the probe measured.
    pub measured: &'a Measurements,
    /// When peers were last heard.
    pub heard: &'a Heard,
    /// What is wrong.
    pub problems: &'a [Problem],
    /// Whether the registered endpoint is an address of this machine.
    pub endpoint_is_local: Option<bool>,
    /// Which process reports.
    pub process: Uuid,
    /// How many reports there were before.
    pub number: i64,
    /// See [`AgentReport`].
    pub clock_ahead_at_most_ms: Option<i64>,
    /// The node's clock.
    pub now: Timestamp,
    /// Which slice of the peers is reported where they are too many for one report.
    pub turn: usize,
}

/// Puts a report together.
pub fn build(material: &Material<'_>) -> NodeReport {
    let interface = material.observation.map(|observation| &observation.interface);
    let measured = material.measured;
    let mut peers: Vec<PeerReport> = material
        .membership
        .members
        .values()
        .filter(|member| member.node_id != material.me)
        .map(|member| {
            let observed = interface.and_then(|interface| interface.peers.get(&member.public_key));
            let traffic = material.observation.and_then(|o| o.traffic.get(&member.public_key));
            let traffic = traffic.copied().unwrap_or_default();
            let used = observed.and_then(|peer| peer.endpoint);
            PeerReport {
                node_id: member.node_id,
                handshake_age_s: observed.and_then(|peer| Some(peer.handshake_age?.as_secs())),
                rx_bytes: traffic.rx_bytes,
                tx_bytes: traffic.tx_bytes,
                rtt_us: measured.rtts.get(&member.node_id).copied(),
                lost: measured.lost.get(&member.node_id).copied(),
                heard_age_s: material.heard.age_s(member.public_key),
                endpoint: used.filter(|used| *used != member.endpoint),
                largest_ok: measured.largest.get(&member.node_id).copied(),
            }
        })
        .collect();
    if peers.len() > PEER_LIMIT {
        peers = chosen(peers, material.turn);
    }
    let problems = material.problems.iter().take(PROBLEM_LIMIT);
    let agent = AgentReport {
        process: material.process,
        number: material.number,
        interval_s: u32::try_from(interval(material.membership.members.len()).as_secs())
            .unwrap_or(u32::MAX),
        clock_ahead_at_most_ms: material.clock_ahead_at_most_ms,
        endpoint_is_local: material.endpoint_is_local,
        problems: problems
            .clone()
            .map(|problem| AgentProblem { kind: problem.kind.word().into(), text: line(problem) })
            .collect(),
    };
    NodeReport {
        revision: material.revision,
        agent_version: sextant_daemon::VERSION.into(),
        clock: material.now,
        implementation: material
            .observation
            .map_or(WireGuardImplementation::Kernel, |observation| observation.implementation),
        mtu: interface.map_or(0, |interface| interface.mtu),
        underlay_mtu: material.underlay_mtu.unwrap_or(0),
        problems: problems.map(line).collect(),
        peers,
        workloads_live: workloads_live(material),
        agent: Some(agent),
    }
}

fn line(problem: &Problem) -> String {
    let mut line = plain(&problem.text);
    line.truncate(line.floor_char_boundary(LINE_LIMIT));
    line
}

/// Those in trouble first, and a slice of the others, another one at each turn.
fn chosen(peers: Vec<PeerReport>, turn: usize) -> Vec<PeerReport> {
    let is_troubled =
        |peer: &PeerReport| peer.lost.is_some_and(|lost| lost > 1) || peer.largest_ok.is_some();
    let (mut troubled, mut rest): (Vec<_>, Vec<_>) = peers.into_iter().partition(is_troubled);
    // Where most are in trouble, these have turns as well.
    if troubled.len() > TROUBLED_LIMIT {
        let start = (turn * TROUBLED_LIMIT) % troubled.len();
        troubled.rotate_left(start);
        rest.extend(troubled.split_off(TROUBLED_LIMIT));
    }
    let space = PEER_LIMIT - troubled.len();
    let start = (turn * space) % rest.len().max(1);
    rest.rotate_left(start);
    troubled.extend(rest.into_iter().take(space));
    troubled
}

/// Time until the next report when nothing changes, in a mesh of so many members.
pub fn interval(members: usize) -> Duration {
    spread(members, 20).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

/// The same while a peer was lost a short while ago.
pub fn news_interval(members: usize) -> Duration {
    spread(members, 50).clamp(SHORTEST_NEWS_INTERVAL, LONGEST_INTERVAL)
}

/// So that all members together report so often in a second.
fn spread(members: usize, rate: u32) -> Duration {
    Duration::from_secs(1) * u32::try_from(members).unwrap_or(u32::MAX / 2) / rate
}

/// Workloads whose address is in its place, so that packets to it arrive. Where they are too
/// many for one report, the older ones take turns.
fn workloads_live(material: &Material<'_>) -> Vec<WorkloadId> {
    if !material.observation.is_some_and(|observation| observation.interface.up) {
        return Vec::new();
    }
    let is_live = |address: &Ipv6Addr| material.ready.contains(address);
    let workloads = material.membership.workloads.iter();
    let mut live: Vec<WorkloadId> =
        workloads.filter(|(_, address)| is_live(address)).map(|(id, _)| *id).collect();
    if live.len() > WORKLOAD_LIMIT {
        // Ids grow with time.
        let newest = live.split_off(live.len() - WORKLOAD_LIMIT / 2);
        let start = (material.turn * WORKLOAD_LIMIT / 2) % live.len();
        live.rotate_left(start);
        live.truncate(WORKLOAD_LIMIT - newest.len());
        live.extend(newest);
    }
    live
}

/// Sends reports until it is dropped.
#[derive(Debug)]
pub struct Reporter {
    newest: watch::Sender<Option<NodeReport>>,
    ahead_at_most_ms: watch::Receiver<Option<i64>>,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Starts the task. Must be called inside a tokio runtime.
    pub fn start(client: Client, clock: Arc<dyn Clock>) -> Self {
        let (newest, waiting) = watch::channel(None);
        let (ahead, ahead_at_most_ms) = watch::channel(None);
        let task = tokio::spawn(send(client, waiting, clock, ahead));
        Self { newest, ahead_at_most_ms, task }
    }

    /// By how much the clock here was ahead of the control plane's at most, in milliseconds, when
    /// the last answers came.
    pub fn clock_ahead_at_most_ms(&self) -> Option<i64> {
        *self.ahead_at_most_ms.borrow()
    }

    /// Sends `report` instead of any that still waits.
    pub fn report(&self, report: NodeReport) {
        self.newest.send_replace(Some(report));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(
    client: Client,
    mut waiting: watch::Receiver<Option<NodeReport>>,
    clock: Arc<dyn Clock>,
    ahead: watch::Sender<Option<i64>>,
) {
    let (mut failures, mut plain_reports) = (0u32, 0u32);
    let mut window = ClockWindow::default();
    while waiting.changed().await.is_ok() {
        loop {
            let Some(report) = waiting.borrow_and_update().clone() else { break };
            let report = if plain_reports > 0 { report.without_additions() } else { report };
            match client.report(&report).await {
                Ok(taken) => {
                    failures = 0;
                    plain_reports = plain_reports.saturating_sub(1);
                    if let Some(ReportTaken { now }) = taken {
                        ahead.send_replace(Some(window.answered(Instant::now(), clock.now(), now)));
                    }
                    break;
                }
                // Control planes of an earlier version refuse what they do not know.
                Err(ClientError::Problem(problem))
                    if problem.status == 400 && plain_reports == 0 =>
                {
                    tracing::debug!(%problem, "the report is sent again as earlier versions take it");
                    plain_reports = PLAIN_REPORTS;
                }
                Err(error) => {
                    log(&error, failures);
                    failures = failures.saturating_add(1);
                    if matches!(error, ClientError::Problem(_)) {
                        // It was heard and refused: the same again is no use.
                        break;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause(failures)) => {}
                        // A newer report often means that the control plane is back.
                        changed = waiting.changed() => if changed.is_err() { return },
                    }
                }
            }
        }
    }
}

fn log(error: &ClientError, failures: u32) {
    // A kept-alive connection that the server has just closed costs one attempt.
    if failures == 1 {
        tracing::warn!(%error, "a report could not be delivered; trying again with the newest one");
    } else {
        tracing::debug!(%error, failures, "a report could not be delivered");
    }
}

fn pause(failures: u32) -> Duration {
    SHORTEST_PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_PAUSE)
}

#[cfg(test)]
pub(crate) mod tests;
