//! What strangers and one tenant can do to the others: silent connections, answers that nobody
//! reads, streams from the beginning, and deploys, all at once, while another org and the nodes go
//! on working.
//!
//! Everything runs on this machine: what the attackers themselves need of it makes the figures worse.

mod load;
mod measure;
mod report;

use std::time::Duration;

use clap::Args;
use sextant_api::{
    Auth, Client, ClientConfig, Trust,
    resource::{api_token::NewApiToken, environment::Environment},
};
use sextant_model::{DnsLabel, OperatorRole};
use tokio_util::sync::CancellationToken;

pub use self::report::Report;
use self::{load::Attack, measure::Measured};
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
};

const SIZE: Size = Size { nodes: 3, replicas: 2 };
/// The attack goes on for so long before anything is measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// An undisturbed deploy may take so long, so that a mistake is not taken for a slow platform.
const LIMIT: Duration = Duration::from_secs(60);

/// How hard, and for how long.
#[derive(Clone, Copy, Debug, Args)]
pub struct PressureOptions {
    /// TLS connections that say nothing
    #[arg(long, default_value_t = 4000, value_name = "N")]
    pub silent: usize,
    /// Connections that ask and never read
    #[arg(long, default_value_t = 600, value_name = "N")]
    pub unread: usize,
    /// Streams of one viewer that read the log from its beginning
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub streams: usize,
    /// Deploys that one tenant makes at the same time, again and again
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub deploys: usize,
    /// Workloads in each of them
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub workloads: u16,
    /// How long to measure, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub seconds: u64,
    /// Leave the lab running at the end
    #[arg(long)]
    pub keep: bool,
}

/// Brings a lab up, attacks, measures, prints. Returns whether every goal is reached.
pub fn run(options: PressureOptions) -> Result<bool> {
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
    options: PressureOptions,
    interrupt: Interrupt,
    progress: Progress,
) -> Result<Report> {
    raise_descriptor_limit();
    let lab = Lab::up(directory, programs, SIZE, interrupt, progress)?;
    let operator = Operator::of(lab.description())?;
    let victim = Tenant::new(&lab, &operator, "victim")?;
    let attacker = Tenant::new(&lab, &operator, "attacker")?;
    let before = operator.deploy(victim.environment.id, &[("web", 3)])?;
    operator.await_live(before.id, LIMIT, &lab.interrupt)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| LabError::Spawn { program: "the async runtime".to_owned(), source })?;
    let stop = CancellationToken::new();
    let attack = Attack::new(&lab, options, &attacker)?;
    lab.progress.say("the attack begins");
    let counts = attack.begin(&runtime, &stop);
    runtime.block_on(async { tokio::time::sleep(WARM_UP).await });
    let measured = Measured::take(&lab, &runtime, &victim, options.seconds);
    let counts = counts.read();
    stop.cancel();
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(Report { options, counts, measured: measured? })
}

/// An org with an environment and tokens of its own.
struct Tenant {
    environment: Environment,
    admin: Client,
    viewer_token: String,
}

impl Tenant {
    fn new(lab: &Lab, operator: &Operator, name: &str) -> Result<Self> {
        let environment = operator.create_environment(&format!("{name}/web/prod"))?;
        let token = |role| -> Result<String> {
            let name = DnsLabel::new(name).map_err(|error| LabError::UnusableName {
                name: name.to_owned(),
                reason: error.to_string(),
            })?;
            let org_id = Some(environment.org_id);
            let new = NewApiToken { name, role, org_id, expires_in: None };
            let made = operator.client().create_api_token(&new, None);
            let action = "create an API token";
            operator.ask(action, made)?.token.ok_or_else(|| LabError::ControlPlane {
                action: action.to_owned(),
                reason: "the answer has no token in it".to_owned(),
            })
        };
        let config = ClientConfig {
            api_urls: lab.description().api_urls.clone(),
            trust: trust(lab)?,
            auth: Auth::Token(token(OperatorRole::Admin)?),
        };
        let admin = Client::new(config).map_err(|error| LabError::ControlPlane {
            action: "prepare a client".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { admin, viewer_token: token(OperatorRole::Viewer)?, environment })
    }
}

fn trust(lab: &Lab) -> Result<Trust> {
    let file = &lab.description().ca_file;
    Ok(Trust::Ca(std::fs::read_to_string(file).map_err(LabError::file("read", file))?))
}

/// An attacker has as many descriptors as it may. What it lacks then shows in the counts.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
