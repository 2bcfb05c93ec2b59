//! Pings over the overlay.

use std::{
    collections::BTreeSet,
    net::Ipv6Addr,
    process::{Child, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::{
    command::{last_lines, output},
    description::{LabDescription, NodeDescription},
    error::{LabError, Result},
};

/// Pings that run at the same time.
const WORKERS: usize = 16;

/// One ping from a node to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ping {
    /// Who asks.
    pub from: String,
    /// Who answers.
    pub to: String,
    /// Round trip in milliseconds; absent if no answer came within a second.
    pub rtt_ms: Option<f64>,
}

/// Pings every ordered pair of nodes that have an overlay address and have not left, once.
pub fn ping_all(lab: &LabDescription) -> Result<Vec<Ping>> {
    let members: Vec<_> = lab.members().collect();
    let addressed = || members.iter().filter_map(|node| Some((*node, node.overlay?)));
    let pairs: Vec<(&NodeDescription, &NodeDescription, Ipv6Addr)> = addressed()
        .flat_map(|(from, _)| addressed().map(move |(to, address)| (from, to, address)))
        .filter(|(from, to, _)| from.name != to.name)
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((from, to, address)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let rtt_ms = ping(lab, from, *address)?;
            done.push(Ping { from: from.name.clone(), to: to.name.clone(), rtt_ms });
        }
        Ok(done)
    };
    let results: Vec<Result<Vec<Ping>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS.min(pairs.len())).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("pinging does not panic")).collect()
    });
    let mut all = Vec::with_capacity(pairs.len());
    for result in results {
        all.extend(result?);
    }
    all.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    Ok(all)
}

/// One ping from a node; the round trip in milliseconds, if an answer came.
pub fn ping(lab: &LabDescription, from: &NodeDescription, to: Ipv6Addr) -> Result<Option<f64>> {
    let mut command = lab.host_of(from).command(&lab.lab_id, "ping");
    command.args(["-6", "-n", "-c", "1", "-W", "1"]);
    command.args(source(from)).arg(to.to_string());
    let output = output(&mut command, "")?;
    Ok(round_trip(&String::from_utf8_lossy(&output.stdout)))
}

/// Lets a node ping by its own address. The kernel may choose that of a workload, where it is on the
/// host's interface, and other nodes let no workload in.
fn source(from: &NodeDescription) -> Vec<String> {
    from.overlay.map(|own| vec!["-I".to_owned(), own.to_string()]).unwrap_or_default()
}

fn round_trip(written: &str) -> Option<f64> {
    let (_, rest) = written.split_once(" time=")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The pings as a table, a row for each sender, round trips in milliseconds.
pub fn table(lab: &LabDescription, pings: &[Ping]) -> Vec<Vec<String>> {
    let members: Vec<_> = lab.members().collect();
    let names = members.iter().map(|node| node.name.clone());
    let mut rows = vec![std::iter::once("from \\ to".to_owned()).chain(names).collect()];
    for from in &members {
        let cells = members.iter().map(|to| cell(pings, &from.name, &to.name));
        rows.push(std::iter::once(from.name.clone()).chain(cells).collect());
    }
    rows
}

fn cell(pings: &[Ping], from: &str, to: &str) -> String {
    if from == to {
        return "-".to_owned();
    }
    let ping = pings.iter().find(|ping| ping.from == from && ping.to == to);
    match ping.and_then(|ping| ping.rtt_ms) {
        Some(rtt) => format!("{rtt:.2}"),
        None => "LOST".to_owned(),
    }
}

/// Pings ten times a second until it is asked for the result.
#[derive(Debug)]
pub struct ContinuousPing {
    child: Child,
    written: Option<JoinHandle<std::io::Result<String>>>,
}

/// What became of a continuous ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Pings sent. One that was still under way at the end does not count.
    pub sent: u64,
    /// The numbers, from 1, of those that were not answered.
    pub lost: BTreeSet<u64>,
}

impl ContinuousPing {
    /// Starts pinging from `from` to the overlay address of `to`.
    pub fn start(lab: &LabDescription, from: &str, to: &str) -> Result<Self> {
        let address = lab.node(to)?.overlay.ok_or_else(|| LabError::WrongState {
            what: format!("node \"{to}\""),
            state: "not a member of the mesh yet".to_owned(),
        })?;
        let mut child = lab
            .host(from)?
            .command(&lab.lab_id, "ping")
            .args(["-6", "-n", "-i", "0.1", "-W", "1"])
            .args(source(lab.node(from)?))
            .arg(address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| LabError::Spawn { program: "ping".to_owned(), source })?;
        // Read as it is written: a pipe that is full would stop the pings.
        let written = child.stdout.take().map(|out| thread::spawn(|| std::io::read_to_string(out)));
        Ok(Self { child, written })
    }

    /// Stops and counts.
    pub fn finish(mut self) -> Result<Tally> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Not reaped yet, so the pid is still this child's.
            let _ = kill_process(pid, Signal::INT);
        }
        let written = self.written.take().and_then(|reader| reader.join().ok()?.ok());
        let written = written.unwrap_or_default();
        tally(&written).ok_or_else(|| LabError::Command {
            command: "ping".to_owned(),
            status: "no summary".to_owned(),
            output: last_lines(&written, 5),
        })
    }
}

impl Drop for ContinuousPing {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tally(written: &str) -> Option<Tally> {
    let summary = written.lines().find(|line| line.contains("packets transmitted"))?;
    let transmitted: u64 = summary.split_whitespace().next()?.parse().ok()?;
    let answered: BTreeSet<u64> = written.lines().filter_map(answered).collect();
    // The last one may have been sent a moment before the end.
    let sent =
        if answered.contains(&transmitted) { transmitted } else { transmitted.saturating_sub(1) };
    Some(Tally { sent, lost: (1..=sent).filter(|number| !answered.contains(number)).collect() })
}

/// The number of the ping that a line of `ping` reports an answer to.
fn answered(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("icmp_seq=")?;
    let number = rest.split_whitespace().next()?.parse().ok()?;
    // "Destination unreachable" has a number too.
    line.contains(" time=").then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::tests::on_paper;

    #[test]
    fn what_ping_writes_is_understood() {
        let answer = "64 bytes from fd00::1: icmp_seq=1 ttl=64 time=0.314 ms\n";
        assert_eq!(round_trip(answer), Some(0.314));
        assert_eq!(round_trip("1 packets transmitted, 0 received, 100% packet loss"), None);
    }

    #[test]
    fn lost_pings_are_counted_and_the_one_under_way_is_not() {
        let written = |answered: &[u64], transmitted| {
            let line = |n| format!("64 bytes from fd00::1: icmp_seq={n} ttl=64 time=0.3 ms\n");
            let lines: String = answered.iter().map(line).collect();
            format!(
                "{lines}From fd00::9 icmp_seq=2 Destination unreachable\n\n\
                     {transmitted} packets transmitted, 9 received, 5% packet loss\n"
            )
        };
        let lost = |answered, sent| tally(&written(answered, sent)).expect("a tally").lost;
        assert_eq!(lost(&[1, 2, 3], 3), BTreeSet::new());
        assert_eq!(lost(&[1, 2, 3], 4), BTreeSet::new(), "under way");
        assert_eq!(lost(&[1, 3, 4], 4), BTreeSet::from([2]));
        assert_eq!(lost(&[1, 2], 4), BTreeSet::from([3]));
        assert_eq!(tally("PING fd00::1"), None);
    }

    #[test]
    fn the_table_shows_every_pair() {
        let pings = [Ping { from: "n1".into(), to: "n2".into(), rtt_ms: Some(1.234) }];
        let rows = table(&on_paper(&["n1", "n2"]), &pings);
        assert_eq!(rows, [["from \\ to", "n1", "n2"], ["n1", "-", "1.23"], ["n2", "LOST", "-"]]);
        let mut lab = on_paper(&["n1", "n2"]);
        lab.nodes[1].departed = true;
        assert_eq!(table(&lab, &pings), [["from \\ to", "n1"], ["n1", "-"]]);
    }
}
