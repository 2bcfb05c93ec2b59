//! What the agent reports of itself, and the task that sends it: one report under way, the newest
//! one waiting, older ones forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    time::Duration,
};

use sextant_api::{
    Client, ClientError,
    resource::report::{NodeReport, PeerReport, WireGuardImplementation},
};
use sextant_model::{Cursor, NodeId, Timestamp, WorkloadId, membership::Membership};
use tokio::{sync::watch, task::JoinHandle};

use crate::wireguard::Observation;

/// Most lines about problems in one report, as the API allows.
const PROBLEM_LIMIT: usize = 32;
/// Longest line about a problem, in characters.
const LINE_LIMIT: usize = 300;
/// Most peers in one report: its body must stay below the server's limit.
const PEER_LIMIT: usize = 200;
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
    /// Round trips in microseconds.
    pub rtts: &'a BTreeMap<NodeId, u32>,
    /// What is wrong.
    pub problems: &'a [String],
    /// The node's clock.
    pub now: Timestamp,
    /// Which slice of the peers is reported where they are too many for one report.
    pub turn: usize,
}

/// Puts a report together.
pub fn build(material: &Material<'_>) -> NodeReport {
    let interface = material.observation.map(|observation| &observation.interface);
    let mut peers: Vec<PeerReport> = material
        .membership
        .members
        .values()
        .filter(|member| member.node_id != material.me)
        .map(|member| {
            let observed = interface.and_then(|interface| interface.peers.get(&member.public_key));
            let traffic = material.observation.and_then(|o| o.traffic.get(&member.public_key));
            let traffic = traffic.copied().unwrap_or_default();
            PeerReport {
                node_id: member.node_id,
                handshake_age_s: observed.and_then(|peer| Some(peer.handshake_age?.as_secs())),
                rx_bytes: traffic.rx_bytes,
                tx_bytes: traffic.tx_bytes,
                endpoint: observed
                    .and_then(|peer| peer.endpoint)
                    .filter(|endpoint| *endpoint != member.endpoint),
                rtt_us: material.rtts.get(&member.node_id).copied(),
            }
        })
        .collect();
    if peers.len() > PEER_LIMIT {
        let start = (material.turn * PEER_LIMIT) % peers.len();
        peers.rotate_left(start);
        peers.truncate(PEER_LIMIT);
    }
    let line = |problem: &String| problem.chars().take(LINE_LIMIT).collect();
    NodeReport {
        revision: material.revision,
        agent_version: sextant_daemon::VERSION.into(),
        clock: material.now,
        implementation: material
            .observation
            .map_or(WireGuardImplementation::Kernel, |observation| observation.implementation),
        mtu: interface.map_or(0, |interface| interface.mtu),
        underlay_mtu: material.underlay_mtu.unwrap_or(0),
        problems: material.problems.iter().take(PROBLEM_LIMIT).map(line).collect(),
        peers,
        workloads_live: workloads_live(material),
    }
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
    task: JoinHandle<()>,
}

impl Reporter {
    /// Starts the task. Must be called inside a tokio runtime.
    pub fn start(client: Client) -> Self {
        let (newest, waiting) = watch::channel(None);
        Self { newest, task: tokio::spawn(send(client, waiting)) }
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

async fn send(client: Client, mut waiting: watch::Receiver<Option<NodeReport>>) {
    let mut failures = 0u32;
    while waiting.changed().await.is_ok() {
        loop {
            let Some(report) = waiting.borrow_and_update().clone() else { break };
            match client.report(&report).await {
                Ok(()) => {
                    failures = 0;
                    break;
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
mod tests;
