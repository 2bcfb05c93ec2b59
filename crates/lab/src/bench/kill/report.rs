//! What a run has shown.

use std::fmt;

use super::{
    KillOptions,
    comparison::Comparison,
    journal::{Outcome, Write},
};
use crate::{lab::Target, ping::Tally};

/// What was done to the platform.
#[derive(Clone, Debug, Default)]
pub(super) struct Kills {
    pub(super) agents: u32,
    pub(super) replicas: u32,
    pub(super) postgres: u32,
    /// The victim had ended by itself, because its node left.
    pub(super) too_late: u32,
    pub(super) joins: u32,
    pub(super) leaves: u32,
}

/// A run, and what came of it.
#[derive(Debug)]
pub struct Report {
    pub(super) options: KillOptions,
    pub(super) kills: Kills,
    pub(super) journal: Vec<Write>,
    /// Writes that got no answer and were done all the same.
    pub(super) silently: usize,
    pub(super) pings: Tally,
    /// How often the follower connected.
    pub(super) connections: usize,
    pub(super) comparisons: Vec<Comparison>,
}

impl Kills {
    pub(super) fn count(&mut self, victim: &Target) {
        let counter = match victim {
            Target::Postgres => &mut self.postgres,
            Target::Host(name) if name.starts_with('c') => &mut self.replicas,
            Target::Host(_) => &mut self.agents,
            // Its lab has none.
            Target::Edge(_) | Target::Workloads(_) => return,
        };
        *counter += 1;
    }
}

impl Report {
    /// Whether nothing was lost, in the log or on the mesh, and all accounts agree.
    pub fn is_good(&self) -> bool {
        let worked = self.acknowledged() > 0 && self.pings.sent > 0;
        worked
            && self.pings.lost.is_empty()
            && self.comparisons.iter().all(Comparison::is_identical)
    }

    fn acknowledged(&self) -> usize {
        self.journal.iter().filter(|write| write.outcome == Outcome::Acknowledged).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (options, kills) = (self.options, &self.kills);
        writeln!(
            f,
            "{} rounds with seed {} on {} nodes and {} replicas: {} agents, {} replicas and {} \
             times Postgres killed;\n\
             {} kills came too late for an agent whose node had left; {} nodes joined, {} left",
            options.rounds,
            options.seed,
            options.nodes,
            super::REPLICAS,
            kills.agents,
            kills.replicas,
            kills.postgres,
            kills.too_late,
            kills.joins,
            kills.leaves,
        )?;
        let (acknowledged, all) = (self.acknowledged(), self.journal.len());
        let is_unknown = |write: &&Write| matches!(write.outcome, Outcome::Unknown(_));
        let unanswered = self.journal.iter().filter(is_unknown).count();
        let repeated = self.journal.iter().filter(|write| write.attempts > 1).count();
        writeln!(
            f,
            "writes: {acknowledged} acknowledged, {unanswered} without an answer ({} of them done all \
             the same), {} answered with \"nothing was changed\"; {repeated} were repeated",
            self.silently,
            all - acknowledged - unanswered,
        )?;
        writeln!(f, "follower: {} connections", self.connections)?;
        let Self { pings, .. } = self;
        writeln!(f, "pings n1 to n2: {} sent, {} lost", pings.sent, pings.lost.len())?;
        for comparison in &self.comparisons {
            writeln!(f, "{comparison}")?;
        }
        let verdict = if self.is_good() { "nothing was lost or cut" } else { "FAILED" };
        write!(f, "{verdict}")
    }
}
