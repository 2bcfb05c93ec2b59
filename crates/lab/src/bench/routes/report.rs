//! What was measured, against the goals.

use std::{fmt, time::Duration};

use super::{AtSize, RoutesOptions, fill::Filled, probe::Connections, storm::Storm};
use crate::bench::{
    PROFILE,
    figures::{Figures, TITLES},
};

/// The goal for the 99th percentile of changes.
const GOAL: Duration = Duration::from_millis(50);
/// How much longer a connection may take with many hostnames than with few.
const LOOK_UP_GOAL: f64 = 1.1;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) options: RoutesOptions,
    pub(super) small: AtSize,
    pub(super) filled: Filled,
    pub(super) large: AtSize,
    pub(super) storm: Storm,
    /// Resident memory of each edge, in KiB.
    pub(super) edges: Vec<u64>,
}

impl AtSize {
    fn live(&self) -> Figures {
        Figures::new(self.latencies.live.clone())
    }

    fn set_up(&self) -> Figures {
        Figures::new(self.connections.iter().flat_map(|edge| edge.times.clone()).collect())
    }

    /// CPU of an edge for one connection, in microseconds.
    fn cpu_us(&self) -> f64 {
        let count: usize = self.connections.iter().map(|edge| edge.times.len()).sum();
        let cpu: Duration = self.connections.iter().map(|edge: &Connections| edge.cpu).sum();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand connections")]
        let count = count.max(1) as f64;
        cpu.as_secs_f64() * 1e6 / count
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        let (live, set_up) = (self.live(), self.set_up());
        format!(
            "a change is live after {:.1} ms (p50), {:.1} ms (p99); a connection takes {} us and \
             {:.0} us of an edge's CPU",
            ms(live.percentile(50)),
            ms(live.percentile(99)),
            set_up.percentile(50).as_micros(),
            self.cpu_us()
        )
    }
}

impl Report {
    /// Whether every goal is reached.
    pub fn is_good(&self) -> bool {
        self.goals().iter().all(|(_, reached, _)| *reached)
    }

    /// Whether no connection was dropped or refused.
    pub fn disturbs_nobody(&self) -> bool {
        self.storm.tally.is_good()
    }

    /// The longest time until a change was live.
    pub fn slowest(&self) -> Duration {
        self.small.live().percentile(100).max(self.large.live().percentile(100))
    }

    /// How much longer a connection takes with many hostnames, by the medians.
    fn look_up_ratio(&self) -> f64 {
        let median = |at: &AtSize| at.set_up().percentile(50).as_secs_f64();
        median(&self.large) / median(&self.small).max(f64::EPSILON)
    }

    fn goals(&self) -> [(String, bool, String); 4] {
        let p99 = |at: &AtSize| at.live().percentile(99);
        let (small, large) = (p99(&self.small), p99(&self.large));
        let live = |p99: Duration, at: &AtSize| {
            let what = format!("a change is live within {} ms (p99)", GOAL.as_millis());
            (format!("{what} at {}", at.hostnames), p99 <= GOAL, format!("{:.1} ms", ms(p99)))
        };
        let ratio = self.look_up_ratio();
        let tally = &self.storm.tally;
        [
            live(small, &self.small),
            live(large, &self.large),
            (
                format!("a connection takes at most {LOOK_UP_GOAL} times as long (p50)"),
                ratio <= LOOK_UP_GOAL,
                format!("{ratio:.2}"),
            ),
            (
                format!("{} changes: none dropped, none refused", self.storm.changes),
                tally.is_good(),
                format!("{} failed, {} dropped", tally.failed, tally.dropped),
            ),
        ]
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filled { routes, took, behind } = self.filled;
        let rate = f64::from(routes) / took.as_secs_f64().max(f64::EPSILON);
        writeln!(
            f,
            "2 edges, 2 replicas, programs of the {PROFILE} profile.\n\
             {routes} hostnames with a route each through the API: {:.1} s, {rate:.0} per second; \
             edges knew all {:.1} s later.\n",
            took.as_secs_f64(),
            behind.as_secs_f64(),
        )?;
        writeln!(f, "{:<52}{TITLES}", format!("{} changes, one at a time", self.options.changes))?;
        for at in [&self.small, &self.large] {
            let n = at.hostnames;
            let answer = Figures::new(at.latencies.answer.clone());
            writeln!(f, "{:<52}{}", format!("request to answer, {n} hostnames"), answer.line())?;
            let what = format!("answer to live on the last edge, {n} hostnames");
            writeln!(f, "{what:<52}{}", at.live().line())?;
        }
        for at in [&self.small, &self.large] {
            let what = format!("a connection to an echo, {} hostnames", at.hostnames);
            let cpu = at.cpu_us();
            writeln!(f, "{what:<52}{}   edge CPU {cpu:.1} us", at.set_up().line())?;
        }
        let memory: Vec<_> = self.edges.iter().map(|kib| format!("{} MiB", kib / 1024)).collect();
        writeln!(f, "\nmemory of the edges at the end: {}", memory.join(", "))?;
        let Storm { changes, took, tally } = &self.storm;
        let rate = f64::from(*changes) / took.as_secs_f64().max(f64::EPSILON);
        writeln!(
            f,
            "{changes} changes in {:.1} s ({rate:.0} per second): {tally}\n",
            took.as_secs_f64()
        )?;
        let lines: Vec<_> = self
            .goals()
            .into_iter()
            .map(|(what, reached, found)| {
                format!("goal {what}: {} ({found})", if reached { "reached" } else { "MISSED" })
            })
            .collect();
        write!(f, "{}", lines.join("\n"))
    }
}
