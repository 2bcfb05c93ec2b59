//! What became of a pass, and how the log tells it.

use std::{collections::BTreeSet, net::Ipv6Addr};

use sextant_model::health::Kind;

use super::Tally;
use crate::{problem::Problem, wireguard::Observation, workloads::Outcome};

/// What became of one pass.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Everything that was desired is true now.
    pub complete: bool,
    /// Nothing will become true until a person acts; the interface was not touched.
    pub blocked: bool,
    /// How many steps it took; none if all was well.
    pub steps: usize,
    /// What these steps were.
    pub done: Tally,
    /// What the last complete pass had made true and was true no more.
    pub drift: Tally,
    /// The interface afterwards.
    pub observation: Option<Observation>,
    /// MTU of the underlay, in bytes, if a way to anybody is known.
    pub underlay_mtu: Option<u32>,
    /// Addresses of workloads that packets reach, through rules that know them.
    pub ready: BTreeSet<Ipv6Addr>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Pass {
    /// Adds what became of the workloads.
    pub(super) fn take(&mut self, outcome: Outcome) {
        self.steps += outcome.done.total();
        self.done.merge(outcome.done);
        self.drift.merge(outcome.drift);
        self.complete &= outcome.failures.is_empty();
        self.ready = outcome.ready;
        let of_kind =
            |kind, lines: Vec<String>| lines.into_iter().map(move |line| Problem::new(kind, line));
        self.problems.extend(of_kind(Kind::WorkloadUnready, outcome.failures));
        self.problems.extend(of_kind(Kind::WorkloadRemark, outcome.remarks));
    }

    /// Tells the log. A problem that lasts, one of the `known` ones, is told once.
    pub fn log(&self, known: &[Problem]) {
        for problem in self.problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::error!("interface: {problem}");
        }
        if self.steps == 0 || !self.complete {
            return;
        }
        let Self { steps, done, drift, .. } = self;
        let peers = self.observation.as_ref().map_or(0, |found| found.interface.peers.len());
        if drift.is_drift() {
            tracing::warn!(
                steps, %drift, %done, peers,
                "something else had changed the interface; it was repaired"
            );
        } else {
            tracing::info!(steps, %done, peers, "the interface was changed");
        }
    }
}
