//! The figures beside their goals.

use std::{fmt, time::Duration};

use super::{PressureOptions, load::Counted, measure::Measured};
use crate::bench::{PROFILE, figures::TITLES};

/// For the 99th percentile of another org's reads.
const READ_GOAL: Duration = Duration::from_millis(100);
/// For the slowest of another org's deploys.
const DEPLOY_GOAL: Duration = Duration::from_secs(5);
/// For the memory of a replica, in KiB.
const MEMORY_GOAL: u64 = 300 * 1024;

/// What was measured under which attack.
#[derive(Debug)]
pub struct Report {
    pub(super) options: PressureOptions,
    pub(super) counts: Counted,
    pub(super) measured: Measured,
}

impl Report {
    /// Whether every goal is reached.
    pub fn is_good(&self) -> bool {
        self.goals().iter().all(|(_, reached, _)| *reached)
    }

    /// Whether everybody was served and nothing grew without bound, however slow the machine is.
    pub fn is_served(&self) -> bool {
        let Measured { failed_reads, undelivered, memory, .. } = self.measured;
        failed_reads == 0 && undelivered == 0 && memory <= MEMORY_GOAL
    }

    fn goals(&self) -> Vec<(String, bool, String)> {
        let Measured { reads, failed_reads, deploys, undelivered, memory } = &self.measured;
        let (p50, p99) = (reads.percentile(50), reads.percentile(99));
        let slowest = deploys.percentile(100);
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        vec![
            (
                format!("another org's reads, p50 {}, p99", ms(p50)),
                p99 < READ_GOAL,
                format!("{} (goal < {})", ms(p99), ms(READ_GOAL)),
            ),
            (
                "another org's reads that failed".into(),
                *failed_reads == 0,
                format!("{failed_reads} (goal 0)"),
            ),
            (
                "its deploys of 3 workloads until live, slowest".into(),
                slowest < DEPLOY_GOAL,
                format!("{} (goal < {})", ms(slowest), ms(DEPLOY_GOAL)),
            ),
            (
                "reports of nodes that were not taken".into(),
                *undelivered == 0,
                format!("{undelivered} (goal 0)"),
            ),
            (
                "memory of a replica".into(),
                *memory < MEMORY_GOAL,
                format!("{} MiB (goal < {} MiB)", memory / 1024, MEMORY_GOAL / 1024),
            ),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PressureOptions { silent, unread, streams, deploys, workloads, seconds, .. } =
            self.options;
        let Counted { refused_streams, refused_deploys, .. } = self.counts;
        writeln!(
            f,
            "{silent} silent connections, {unread} that never read, {streams} streams from the \
             beginning,\n{deploys} deploys of {workloads} workloads at a time, for {seconds} s; \
             programs of the {PROFILE} profile, all on this machine.\n\
             At the end the attackers held {}, {} and {} of these; {refused_streams} streams were \
             refused,\n{} deploys made and {refused_deploys} refused.\n",
            self.counts.silent, self.counts.unread, self.counts.streams, self.counts.deploys
        )?;
        writeln!(f, "{:<48}{TITLES}", "")?;
        writeln!(f, "{:<48}{}", "another org's reads", self.measured.reads.line())?;
        writeln!(f, "{:<48}{}\n", "its deploys until live", self.measured.deploys.line())?;
        for (what, reached, figure) in self.goals() {
            let verdict = if reached { "reached" } else { "MISSED" };
            writeln!(f, "{what:<48} {verdict:<8} {figure}")?;
        }
        Ok(())
    }
}
