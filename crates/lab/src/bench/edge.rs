//! sextant-edge beside other layer 4 proxies: what bytes, connections and waiting cost, on one core
//! each, in one run.
//!
//! Every measurement is of a fresh process. Within a round all subjects are measured one after the
//! other with the same load before the next load comes, so that whatever else the machine does hits
//! all of them alike; ratios are taken within a round, and medians over the rounds.
//!
//! [`cores`] says who runs where, [`namespace`] what the network is, [`subject`] how the proxies are
//! configured, [`scenario`] what the loads are and [`report`] what the goals are.

mod backend;
mod client;
mod cores;
mod error;
mod goals;
mod hello;
mod meter;
mod namespace;
mod proxy;
mod reactor;
mod report;
mod scenario;
mod slots;
mod subject;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};

use self::{
    backend::Behaviour,
    client::{Clients, Dialer},
    cores::Waker,
    proxy::Proxy,
    reactor::Load,
    report::Sample,
    scenario::{Length, Outcome, Scenario, Stage, slow},
    subject::Places,
};
pub use self::{
    error::{EdgeBenchError, Result},
    report::Report,
    subject::Subject,
};
use super::{PROFILE, print};
use crate::{error::LabError, interrupt::Interrupt, programs::Programs, progress::Progress};

/// Connections a proxy is to allow beyond those of a measurement.
const SPARE: usize = 16;
/// How long a proxy may take until something passes through it.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often a disturbed measurement is made, at most.
const ATTEMPTS: u32 = 4;
/// Between two attempts to reach a starting proxy.
const RETRY: Duration = Duration::from_millis(20);

/// What to compare.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "these are the switches of a command line")]
pub struct EdgeOptions {
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// One short round, for a first look
    #[arg(long)]
    quick: bool,
    /// Print JSON with every single measurement
    #[arg(long)]
    json: bool,
    /// Measure only this [default: all but slow]
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Measure only these [default: all that are there]
    #[arg(long, value_delimiter = ',', value_name = "SUBJECT")]
    subjects: Vec<Subject>,
    /// How many connections are idle when memory is measured
    #[arg(long, default_value_t = goals::IDLE, value_name = "COUNT")]
    idle: usize,
    /// How long to wait, before each measurement, until nobody else uses the two cores
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    patience: u64,
    /// Another sextant-edge than the one beside this program
    #[arg(long, value_name = "PATH")]
    edge: Option<PathBuf>,
    /// Build sozu first, if it is not there; takes minutes
    #[arg(long)]
    with_sozu: bool,
    /// The network is ready
    #[arg(long, hide = true)]
    inside: bool,
}

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Bytes over 1 and 8 connections
    Throughput,
    /// New connections
    Connections,
    /// Ping-pong over 1 and 256 connections
    Latency,
    /// 10,000 idle connections
    Memory,
    /// 5,000 connections that send one byte a second, beside ordinary ones
    Slow,
}

impl Part {
    fn scenarios(self, idle: usize) -> Vec<Scenario> {
        match self {
            Self::Throughput => [1, 8].map(|connections| Scenario::Stream { connections }).into(),
            Self::Connections => vec![Scenario::Connect { at_once: 64 }],
            Self::Latency => vec![
                Scenario::Ping { connections: 1 },
                Scenario::Ping { connections: 256 },
                Scenario::Paced { connections: 256 },
            ],
            Self::Memory => vec![Scenario::Idle { connections: idle }],
            Self::Slow => Vec::new(),
        }
    }
}

impl EdgeOptions {
    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    fn length(&self) -> Length {
        let milliseconds = if self.quick { (300, 1000) } else { (500, 3000) };
        Length {
            warm_up: Duration::from_millis(milliseconds.0),
            measured: Duration::from_millis(milliseconds.1),
        }
    }

    fn parts(&self) -> Vec<Part> {
        if self.only.is_empty() {
            vec![Part::Throughput, Part::Connections, Part::Latency, Part::Memory]
        } else {
            self.only.clone()
        }
    }

    fn places(&self) -> Result<Places> {
        let edge = self
            .edge
            .as_deref()
            .map(|path| path.canonicalize().map_err(LabError::file("find", path)));
        Ok(Places { edge: edge.transpose()?, programs: Programs::beside_this()? })
    }

    /// Those asked for must be there; otherwise sozu may be missing.
    fn subjects(&self, places: &Places) -> Result<Vec<Subject>> {
        if self.subjects.is_empty() {
            let all = Subject::value_variants().iter().copied();
            Ok(all.filter(|it| *it != Subject::Sozu || it.program(places).is_ok()).collect())
        } else {
            for subject in &self.subjects {
                subject.program(places)?;
            }
            Ok(self.subjects.clone())
        }
    }
}

/// Compares and prints. Returns whether the goals are reached, as far as they were looked at.
pub fn run(options: &EdgeOptions) -> Result<bool> {
    let places = options.places()?;
    if !options.inside {
        if options.with_sozu {
            subject::build_sozu(&places)?;
        }
        return Err(namespace::enter("--inside").into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(EdgeBenchError::load("start the async runtime"))?;
    let interrupt =
        Interrupt::on_signals(runtime.handle()).map_err(LabError::file("catch", "Ctrl-C"))?;
    let mut bench = Bench::prepare(options, places, interrupt)?;
    let slow = if options.parts().contains(&Part::Slow) { Some(bench.slow()?) } else { None };
    let report = bench.compare()?;
    if options.json {
        print(&report.json(slow.as_ref()));
    } else {
        if let Some(slow) = &slow {
            print(&slow.to_string());
        }
        if !report.is_empty() {
            print(&report.to_string());
        }
    }
    Ok(slow.is_none_or(|slow| slow.is_good()) && report.is_good())
}

/// A benchmark under way.
struct Bench {
    places: Places,
    subjects: Vec<Subject>,
    scenarios: Vec<Scenario>,
    rounds: u32,
    attempts: u32,
    length: Length,
    /// Connections that are made when the most are made.
    idle: usize,
    patience: Duration,
    load: Load,
    /// Ordinary clients.
    dialer: Dialer,
    hello: Vec<u8>,
    interrupt: Interrupt,
    progress: Progress,
    /// Held, so that no other benchmark starts.
    _cores: std::fs::File,
}

impl Bench {
    fn prepare(options: &EdgeOptions, places: Places, interrupt: Interrupt) -> Result<Self> {
        let progress = Progress::start();
        if PROFILE != "release" {
            progress.say("this load generator is a debug build: the figures are worth nothing");
        }
        namespace::furnish()?;
        let idle = options.idle.min(allowed_connections(namespace::raise_file_limit()?));
        if idle < options.idle && options.parts().contains(&Part::Memory) {
            progress.say(format_args!(
                "the limit of open files allows {idle} idle connections instead of {}",
                options.idle
            ));
        }
        cores::take()?;
        let backends: Vec<_> = (0..namespace::BACKENDS).map(namespace::backend).collect();
        Ok(Self {
            subjects: options.subjects(&places)?,
            scenarios: options.parts().iter().flat_map(|part| part.scenarios(idle)).collect(),
            idle,
            patience: Duration::from_secs(options.patience),
            rounds: options.rounds(),
            attempts: if options.quick { 1 } else { ATTEMPTS },
            length: options.length(),
            load: Load::new(&backends, interrupt.clone())?,
            dialer: Dialer::new((0..namespace::CLIENT_NETWORKS).map(namespace::client)),
            hello: hello::client_hello(&subject::asked_name()),
            places,
            _cores: cores::reserve(&interrupt, &progress)?,
            interrupt,
            progress,
        })
    }

    /// Everything with every load.
    fn compare(&mut self) -> Result<Report> {
        let mut samples = Vec::new();
        for round in 0..self.rounds {
            for scenario in self.scenarios.clone() {
                // Nobody is always the first.
                let mut subjects = self.subjects.clone();
                subjects.rotate_left(round as usize % self.subjects.len().max(1));
                for subject in subjects {
                    if !scenario.suits(subject) {
                        continue;
                    }
                    let outcome = match self.measure(subject, scenario) {
                        Err(error) if error.is_interrupt() => return Err(error),
                        outcome => outcome.map_err(|error| error.to_string()),
                    };
                    let sample = Sample { round, scenario, subject, outcome };
                    self.progress.say(&sample);
                    samples.push(sample);
                }
            }
        }
        Ok(Report::new(self.rounds, samples))
    }

    /// The least disturbed of some attempts. Others may be using the machine.
    fn measure(&mut self, subject: Subject, scenario: Scenario) -> Result<Outcome> {
        let behaviour = scenario.behaviour(&self.hello);
        let awake = scenario.is_about_waiting();
        let mut best: Option<Outcome> = None;
        for _ in 0..self.attempts {
            meter::await_quiet(self.patience)?;
            let outcome =
                self.with_proxy(subject, behaviour, awake, |stage| scenario.measure(stage))?;
            let share = |outcome: &Outcome| outcome.span.foreign_share();
            if best.as_ref().is_none_or(|best| share(&outcome) < share(best)) {
                best = Some(outcome);
            }
            if best.as_ref().is_some_and(|best| !best.span.is_disturbed()) {
                break;
            }
        }
        Ok(best.expect("there is at least one attempt"))
    }

    /// How ordinary clients fare beside slow ones.
    fn slow(&mut self) -> Result<slow::SlowReport> {
        let subject = self.subjects.iter().copied().find(|it| *it != Subject::Direct);
        let subject = subject.unwrap_or(Subject::Sextant);
        let behaviour = Behaviour::Echo { hello: self.hello.len() };
        let (rounds, progress) = (self.rounds, self.progress.clone());
        self.with_proxy(subject, behaviour, true, |stage| {
            slow::measure(stage, subject, rounds, &progress)
        })
    }

    /// Does `work` with a fresh proxy that is ready, whose core is kept awake or not.
    fn with_proxy<T>(
        &mut self,
        subject: Subject,
        behaviour: Behaviour,
        awake: bool,
        work: impl FnOnce(&mut Stage<'_>) -> Result<T>,
    ) -> Result<T> {
        let backends = self.load.backends.addresses()?;
        let mut proxy = Proxy::start(subject, &self.places, &backends, self.most())?;
        let targets = proxy.targets();
        self.dialer.aim(&targets);
        self.await_ready(&mut proxy)?;
        self.load.reset(behaviour);
        let waker = if awake { Some(Waker::start()?) } else { None };
        let outcome = work(&mut Stage {
            load: &mut self.load,
            targets: &targets,
            dialer: &mut self.dialer,
            meter: &proxy.meter(waker.as_ref()),
            hello: &self.hello,
            length: self.length,
        });
        // Its end explains more than what its clients saw.
        proxy.check()?;
        if outcome.is_err() {
            self.progress.say(format_args!("the log of {subject} ends with:\n{}", proxy.log()));
        }
        // The servers let go first: a proxy may wait for its connections to end.
        self.load.wind_down()?;
        drop(proxy);
        outcome
    }

    /// How many connections the proxies must be ready for.
    fn most(&self) -> usize {
        self.idle.max(slow::CONNECTIONS) + SPARE
    }

    /// Ready is who lets a ping through and its answer back.
    fn await_ready(&mut self, proxy: &mut Proxy) -> Result<()> {
        self.load.reset(Behaviour::Echo { hello: self.hello.len() });
        let deadline = Instant::now() + START_LIMIT;
        loop {
            proxy.check()?;
            match Clients::establish(&mut self.load, &mut self.dialer, 1, &self.hello) {
                Ok(_) => return Ok(()),
                Err(error) if error.is_interrupt() => return Err(error),
                Err(_) if Instant::now() >= deadline => return Err(proxy.not_ready(START_LIMIT)),
                Err(_) => std::thread::sleep(RETRY),
            }
            self.interrupt.check()?;
        }
    }
}

/// A proxy needs two files for each connection, and so does the load; some are left for the rest.
fn allowed_connections(open_files: u64) -> usize {
    usize::try_from(open_files.saturating_sub(200) / 2).unwrap_or(usize::MAX)
}
