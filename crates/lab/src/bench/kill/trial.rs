//! The rounds, and the calm after them.

use std::{ops::ControlFlow, thread, time::Duration};

use sextant_api::resource::status::Status;
use sextant_model::{NodeId, Timestamp};
use time::OffsetDateTime;
use tokio::runtime::Runtime;

use super::{
    KillOptions, REPLICAS, Report,
    comparison::{claims, kernel, log, projections},
    follower::Follower,
    journal::{LogRow, Outcome, Write},
    plan::{Change, Plan, Round},
    report::Kills,
    work::Work,
};
use crate::{
    error::{LabError, Result},
    lab::{Lab, Target},
    operator::Operator,
    ping::ContinuousPing,
    postgres::query,
    wait::until,
};

/// How long anything may take to become true once nothing is being killed.
const LIMIT: Duration = Duration::from_secs(90);

/// A lab in which parts are killed while it works.
#[derive(Debug)]
pub(super) struct Trial {
    lab: Lab,
    options: KillOptions,
    operator: Operator,
    plan: Plan,
    kills: Kills,
    /// Nodes that have been told to leave.
    leaving: Vec<(String, NodeId)>,
    /// What this thread asked for, besides the workers.
    journal: Vec<Write>,
    work: Work,
    follower: Follower,
    pings: ContinuousPing,
    /// Carries the workers and the follower.
    runtime: Runtime,
}

impl Trial {
    /// Starts the work, the follower and the pings.
    pub(super) fn begin(mut lab: Lab, options: KillOptions) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|source| LabError::Spawn {
                program: "the async runtime".to_owned(),
                source,
            })?;
        let operator = Operator::of(lab.description())?;
        let network = lab.network_id(&operator)?;
        let epoch = operator.status()?.epoch;
        // A client of its own: a connection belongs to the runtime it was made in.
        let client = Operator::of(lab.description())?.client().clone();
        let (work, follower) = {
            let _context = runtime.enter();
            (Work::start(&client, network, options.seed), Follower::start(&client, epoch))
        };
        let pings = ContinuousPing::start(lab.description(), "n1", "n2")?;
        Ok(Self {
            plan: Plan::new(options.seed, options.nodes, REPLICAS),
            kills: Kills::default(),
            leaving: Vec::new(),
            journal: Vec::new(),
            lab,
            options,
            operator,
            work,
            follower,
            pings,
            runtime,
        })
    }

    /// One kill, and the start of what was killed.
    pub(super) fn round(&mut self, number: u32) -> Result<()> {
        self.lab.interrupt.check()?;
        let round = self.plan.next();
        let of = self.options.rounds;
        self.lab.progress.say(format_args!("round {number} of {of}: {round}"));
        let Round { change, moment, victim } = round;
        match change {
            Some(Change::Join(name)) => self.join(&name)?,
            Some(Change::Leave(name)) => self.leave(name)?,
            None => {}
        }
        // Not a wait for anything: the kill shall come at a random moment of what is going on.
        thread::sleep(moment);
        self.kill(&victim)?;
        self.lab.start(&victim)
    }

    fn join(&mut self, name: &str) -> Result<()> {
        let interrupt = self.lab.interrupt.clone();
        until("a token for a node", LIMIT, &interrupt, || {
            match self.lab.add_node(&self.operator, Some(name)) {
                Ok(_) => Ok(ControlFlow::Break(())),
                // Only the token is asked for, before anything else is done.
                Err(LabError::ControlPlane { reason, .. }) => Ok(ControlFlow::Continue(reason)),
                Err(error) => Err(error),
            }
        })?;
        self.kills.joins += 1;
        Ok(())
    }

    fn leave(&mut self, name: String) -> Result<()> {
        let mut attempts = 0;
        let id =
            until(&format!("\"{name}\" to be told to leave"), LIMIT, &self.lab.interrupt, || {
                attempts += 1;
                let asked = self.operator.node(&name);
                Ok(match asked.and_then(|node| self.operator.withdraw_node(node.id)) {
                    Ok(node) => ControlFlow::Break(node.id),
                    Err(error) => ControlFlow::Continue(error.to_string()),
                })
            })?;
        self.journal.push(Write {
            event_type: "node-withdrawn",
            name: String::new(),
            id: Some(id.0),
            key: None,
            attempts,
            outcome: Outcome::Acknowledged,
        });
        self.leaving.push((name, id));
        self.kills.leaves += 1;
        Ok(())
    }

    fn kill(&mut self, victim: &Target) -> Result<()> {
        let leaves = |name: &String| self.leaving.iter().any(|(leaving, _)| leaving == name);
        match self.lab.kill(victim) {
            // The agent of a node that leaves ends by itself; it may have been faster.
            Err(LabError::WrongState { .. }) if matches!(victim, Target::Host(name) if leaves(name)) =>
            {
                self.kills.too_late += 1;
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.kills.count(victim);
                Ok(())
            }
        }
    }

    /// Ends the work, waits until all is calm, compares.
    pub(super) fn finish(mut self) -> Result<Report> {
        let say = self.lab.progress.clone();
        say.say("no more kills; waiting until the platform has converged");
        let since = Timestamp(OffsetDateTime::now_utc());
        self.journal.extend(self.runtime.block_on(self.work.finish()));
        for (name, id) in &self.leaving {
            self.lab.await_released(&self.operator, *id, LIMIT)?;
            self.lab.await_departed(name, LIMIT)?;
            self.lab.discard_host(name)?;
        }
        self.lab.await_converged(&self.operator, Some(since), LIMIT)?;
        let log = await_calm(&self.lab, &self.operator)?;
        let last = log.last().map_or(0, |row| row.event_id);
        let seen = self.follower.finish(last, LIMIT, &self.lab.interrupt)?;
        let pings = self.pings.finish()?;
        say.say("comparing");

        let url = &self.lab.description.postgres_url;
        let keys = query(url, "SELECT key FROM idempotency_keys WHERE key LIKE 'kill-%'")?;
        let mut comparisons = vec![
            log::sequences(&log),
            log::writes(&log, &self.journal),
            log::keys(&log, &self.journal, keys),
            log::follower(&log, &seen),
            kernel::compare(&self.lab.description, &self.operator)?,
        ];
        comparisons.extend(claims::compare(url)?);
        comparisons.extend(projections::compare(&self.lab)?);
        Ok(Report {
            options: self.options,
            kills: self.kills,
            silently: log::done_silently(&log, &self.journal),
            journal: self.journal,
            pings,
            connections: seen.connections,
            comparisons,
        })
    }
}

/// Waits until every projection and every node has taken in the whole log; returns the log.
fn await_calm(lab: &Lab, operator: &Operator) -> Result<Vec<LogRow>> {
    until("all to take in the whole log", LIMIT, &lab.interrupt, || {
        let log = read_log(&lab.description.postgres_url)?;
        let last = log.last().map_or(0, |row| row.event_id);
        Ok(match behind(&operator.status()?, last) {
            None => ControlFlow::Break(log),
            Some(who) => ControlFlow::Continue(format!("{who} is behind event {last}")),
        })
    })
}

/// Who has not taken in everything up to the event `last`.
fn behind(status: &Status, last: i64) -> Option<String> {
    let projection = status.projections.iter().find(|projection| projection.checkpoint < last);
    let node = status.nodes.iter().find(|node| node.lag != Some(0));
    let projection = projection.map(|projection| projection.name.clone());
    projection.or_else(|| node.map(|node| node.node.name.to_string()))
}

fn read_log(url: &str) -> Result<Vec<LogRow>> {
    let rows = query(url, LogRow::QUERY)?;
    let parse = |row: &String| {
        LogRow::parse(row).ok_or_else(|| LabError::Command {
            command: "reading the log".to_owned(),
            status: "unreadable".to_owned(),
            output: row.clone(),
        })
    };
    rows.iter().map(parse).collect()
}
