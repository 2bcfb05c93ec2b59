//! How long it takes from the commit of a join until every other agent has applied it.
//!
//! Both ends are read off one clock, Postgres's, after the fact: a trigger of this bench notes
//! every ack as it arrives, and `track_commit_timestamp` says when the rows of the join and of the
//! acks were committed. Waiting is by coarse polling and does not enter the figures.

mod acks;

use std::{fmt, ops::ControlFlow, time::Duration};

use sextant_api::resource::{
    node::{Node, NodePhase},
    status::Status,
};
use sextant_model::NodeId;

use self::acks::{Acks, Times};
use super::{
    PROFILE,
    figures::{Figures, TITLES},
    in_scratch_lab, print,
};
use crate::{
    directory::LabDirectory, error::Result, interrupt::Interrupt, lab::Lab, operator::Operator,
    programs::Programs, progress::Progress, up::Size, wait::until,
};

/// The goal for the 99th percentile.
const GOAL: Duration = Duration::from_secs(1);
const REPLICAS: u16 = 2;
const LIMIT: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct JoinOptions {
    /// Nodes that stay.
    pub nodes: u16,
    /// Joins, one at a time; each joined node is removed again.
    pub joins: u16,
}

/// What was measured.
#[derive(Debug)]
pub struct JoinReport {
    options: JoinOptions,
    times: Vec<Times>,
}

/// Brings a lab up, measures, prints. Returns whether the goal is reached.
pub fn run(options: JoinOptions) -> Result<bool> {
    let progress = Progress::start();
    let report = in_scratch_lab(false, |directory, interrupt| {
        trial(directory, Programs::beside_this()?, options, interrupt, progress)
    })?;
    print(&report.to_string());
    Ok(report.is_good())
}

/// The same in `directory`, without printing.
pub fn trial(
    directory: LabDirectory,
    programs: Programs,
    options: JoinOptions,
    interrupt: Interrupt,
    progress: Progress,
) -> Result<JoinReport> {
    let size = Size { nodes: options.nodes, replicas: REPLICAS };
    let mut lab = Lab::up(directory, programs, size, interrupt, progress.clone())?;
    let operator = Operator::of(lab.description())?;
    let acks = Acks::install(lab.description())?;
    let mut times = Vec::new();
    for number in 1..=options.joins {
        let (name, took) = measure(&mut lab, &operator, &acks)?;
        let (ms, of) = (took.from_start.as_millis(), options.joins);
        progress.say(format_args!("join {number} of {of}: {name}, {ms} ms"));
        times.push(took);
    }
    Ok(JoinReport { options, times })
}

/// One node joins, and is removed again.
fn measure(lab: &mut Lab, operator: &Operator, acks: &Acks) -> Result<(String, Times)> {
    let name = lab.add_node(operator, None)?;
    let (joined, others) = until("the join to be known to all", LIMIT, lab.interrupt(), || {
        Ok(match known_to_all(operator.status()?, &name) {
            Ok(known) => ControlFlow::Break(known),
            Err(missing) => ControlFlow::Continue(missing),
        })
    })?;
    let times = acks.times(joined.enrolled_event_id, &others)?;
    lab.remove_node(operator, &name, LIMIT)?;
    Ok((name, times))
}

/// The joined node and all others, once it and they have acknowledged the join.
fn known_to_all(status: Status, name: &str) -> Result<(Node, Vec<NodeId>), String> {
    let joined = status.nodes.iter().find(|node| node.node.name.as_str() == name);
    let joined = joined.ok_or("it has not enrolled")?.node.clone();
    let active = status.nodes.iter().filter(|node| node.node.phase == NodePhase::Active);
    let mut others = Vec::new();
    for node in active {
        if node.revision < Some(joined.enrolled_event_id) {
            return Err(format!("{} has not acknowledged", node.node.name));
        }
        others.push(node.node.id);
    }
    others.retain(|id| *id != joined.id);
    Ok((joined, others))
}

impl JoinReport {
    /// Whether the goal is reached.
    pub fn is_good(&self) -> bool {
        self.figures(|times| times.from_start).percentile(99) <= GOAL
    }

    fn figures(&self, of: fn(&Times) -> Duration) -> Figures {
        Figures::new(self.times.iter().map(of).collect())
    }
}

impl fmt::Display for JoinReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JoinOptions { nodes, joins } = self.options;
        writeln!(
            f,
            "{joins} joins, one at a time, into a mesh of {nodes} nodes with {REPLICAS} replicas; \
             programs of the {PROFILE} profile.\n\
             Each time ends when the last of the other agents' acks is committed. One clock: \
             Postgres's.\n"
        )?;
        writeln!(f, "{:<44}{TITLES}", "")?;
        let from_start = self.figures(|times| times.from_start);
        let lines = [
            ("from the start of the join's transaction", from_start.clone()),
            ("from its commit", self.figures(|times| times.from_commit)),
            ("from its start to its commit", self.figures(Times::commit)),
        ];
        for (what, figures) in lines {
            writeln!(f, "{what:<44}{}", figures.line())?;
        }
        writeln!(
            f,
            "\nThe transaction's start is the event's occurred_at. It is earlier than the commit \
             and makes the\nfigure worse; the goal is held against it."
        )?;
        let verdict = if self.is_good() { "reached" } else { "MISSED" };
        let p99 = from_start.percentile(99).as_secs_f64() * 1000.0;
        write!(f, "goal p99 <= {} ms: {verdict} ({p99:.1} ms)", GOAL.as_millis())
    }
}
