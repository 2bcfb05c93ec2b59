//! How fast a change of routes is live on every edge, what a look-up costs with many hostnames, and
//! that changes disturb nobody.
//!
//! Hostnames are made through the API, spread over environments as on a platform with many tenants.
//! Times of changes are taken on the client's host with one clock: from the answer of the API to the
//! end of the first connection that was routed, on the last of the edges.

mod fill;
mod probe;
mod report;
mod storm;

use std::time::{Duration, Instant};

use clap::Args;
use sextant_api::resource::workload::WorkloadStatus;
use sextant_model::EnvironmentId;
use tokio::runtime::Runtime;

use self::{
    fill::{Filled, Hostnames},
    probe::{Connections, Latencies},
};
pub use self::{
    probe::{Probe, run as run_probe},
    report::Report,
};
use super::{in_scratch_lab, print};
use crate::{
    directory::LabDirectory,
    error::{LabError, Result},
    interrupt::Interrupt,
    lab::Lab,
    operator::Operator,
    programs::Programs,
    progress::Progress,
    up::Size,
    wait::until_saying,
};

const SIZE: Size = Size { nodes: 2, replicas: 2 };
const EDGES: u16 = 2;
const LIMIT: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Clone, Copy, Debug, Args)]
pub struct RoutesOptions {
    /// Hostnames with which a table is called large
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub hostnames: u32,
    /// Changes whose time is taken, at each size
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub changes: u32,
    /// Changes during steady traffic
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub storm: u32,
    /// Connections through each edge by which the cost of a look-up is taken, at each size
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub connections: u32,
    /// A fiftieth of everything
    #[arg(long)]
    pub quick: bool,
    /// Leave the lab running at the end
    #[arg(long)]
    pub keep: bool,
}

/// How often the connections are made. What else the machine does, such as what Postgres has left
/// over from making a hundred thousand routes, only ever adds to their time: the quickest run counts.
const RUNS: usize = 5;

/// A table is called small with so many hostnames.
const SMALL: u32 = 100;

impl RoutesOptions {
    fn scaled(self) -> Self {
        let part = |count: u32| if self.quick { (count / 50).max(20) } else { count };
        Self {
            hostnames: part(self.hostnames).max(SMALL),
            changes: part(self.changes),
            storm: part(self.storm),
            connections: part(self.connections),
            ..self
        }
    }
}

/// Brings a lab up, measures, prints. Returns whether every goal is reached.
pub fn run(options: RoutesOptions) -> Result<bool> {
    let progress = Progress::start();
    let report = in_scratch_lab(options.keep, |directory, interrupt| {
        trial(directory, Programs::beside_this()?, options, interrupt, progress)
    })?;
    print(&report.to_string());
    Ok(report.is_good())
}

/// The same in `directory`, without printing.
pub fn trial(
    directory: LabDirectory,
    programs: Programs,
    options: RoutesOptions,
    interrupt: Interrupt,
    progress: Progress,
) -> Result<Report> {
    let options = options.scaled();
    let lab = Lab::up_with_edges(directory, programs, SIZE, EDGES, interrupt, progress)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| LabError::Spawn { program: "the async runtime".to_owned(), source })?;
    Bench { operator: Operator::of(lab.description())?, lab, options, runtime }.run()
}

struct Bench {
    lab: Lab,
    options: RoutesOptions,
    operator: Operator,
    runtime: Runtime,
}

/// What was measured with so many hostnames.
#[derive(Clone, Debug)]
pub struct AtSize {
    hostnames: u32,
    latencies: Latencies,
    connections: Vec<Connections>,
}

impl Bench {
    fn run(self) -> Result<Report> {
        let environments = self.environments()?;
        let mut hostnames = Hostnames::new(environments);
        self.fill(&mut hostnames, SMALL)?;
        let small = self.measure(&hostnames)?;
        let filled = self.fill(&mut hostnames, self.options.hostnames)?;
        let large = self.measure(&hostnames)?;
        let storm = self.storm(&hostnames)?;
        let edges = self.edge_memory();
        Ok(Report { options: self.options, small, filled, large, storm, edges })
    }

    /// Environments, each with a workload to lead to.
    fn environments(&self) -> Result<Vec<EnvironmentId>> {
        let count = self.options.hostnames.div_ceil(fill::PER_ENVIRONMENT).max(fill::WORKERS);
        let first = self.operator.create_environment("bench/web/first")?;
        let client = Operator::of(self.lab.description())?.client().clone();
        let made = fill::environments(&client, &first, count, &self.lab.interrupt);
        let made = self.runtime.block_on(made)?;
        let expected = made.len();
        let what = "every workload to be healthy";
        until_saying(what, LIMIT, &self.lab.interrupt, &self.lab.progress, || {
            let workloads = self.operator.workloads()?;
            let healthy = |status| status == WorkloadStatus::Healthy;
            let count = workloads.iter().filter(|it| healthy(it.status)).count();
            Ok(if count >= expected {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(format!("{count} of {expected}"))
            })
        })?;
        self.lab.progress.say(format_args!("{expected} environments with a workload each"));
        Ok(made)
    }

    /// Makes hostnames with their routes until there are so many, and waits until the edges know.
    fn fill(&self, hostnames: &mut Hostnames, total: u32) -> Result<Filled> {
        let client = Operator::of(self.lab.description())?.client().clone();
        let missing = total.saturating_sub(hostnames.count());
        let start = Instant::now();
        let interrupt = self.lab.interrupt.clone();
        self.runtime.block_on(hostnames.fill(&client, total, &interrupt, &self.lab.progress))?;
        let took = start.elapsed();
        self.lab.await_edges(&self.operator, LIMIT)?;
        let behind = start.elapsed().saturating_sub(took);
        self.lab.progress.say(format_args!(
            "{missing} hostnames in {:.1} s; the edges knew all {:.1} s later",
            took.as_secs_f64(),
            behind.as_secs_f64()
        ));
        Ok(Filled { routes: missing, took, behind })
    }

    fn measure(&self, hostnames: &Hostnames) -> Result<AtSize> {
        let count = hostnames.count();
        let environment = hostnames.environments()[0];
        let probe = |probe: Probe| probe::ask(self.lab.description(), &probe);
        let plan = Probe::changes(&self.lab, environment, self.options.changes)?;
        let latencies = probe(plan)?.latencies();
        let most = self.options.connections as usize;
        let mut connections = Vec::new();
        for edge in self.lab.description().edges() {
            let plan = Probe::connections(edge, hostnames.names(most), most);
            let mut runs = Vec::new();
            for _ in 0..RUNS {
                runs.push(probe(plan.clone())?.connections());
            }
            connections.extend(runs.into_iter().min_by_key(Connections::median));
        }
        let at_size = AtSize { hostnames: count, latencies, connections };
        self.lab.progress.say(format_args!("at {count} hostnames: {}", at_size.line()));
        Ok(at_size)
    }

    /// Resident memory of each edge, in KiB.
    fn edge_memory(&self) -> Vec<u64> {
        let pids = self.lab.description().edges().filter_map(|edge| edge.pids.edge);
        pids.filter_map(|pid| {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = rollup.lines().find(|line| line.starts_with("Rss:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .collect()
    }
}
