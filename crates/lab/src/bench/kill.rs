//! Parts of the platform are killed (SIGKILL) at random moments while it works; afterwards every
//! account of what happened must agree with every other, and no packet may be lost.

mod comparison;
mod follower;
mod journal;
mod plan;
mod report;
mod trial;
mod work;

use self::trial::Trial;
pub use self::{comparison::Comparison, report::Report};
use super::{in_scratch_lab, print};
use crate::{
    directory::LabDirectory, error::Result, interrupt::Interrupt, lab::Lab, programs::Programs,
    progress::Progress, up::Size,
};

const REPLICAS: u16 = 2;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct KillOptions {
    /// Kills.
    pub rounds: u32,
    /// Nodes at the start, at least three; some leave, others join.
    pub nodes: u16,
    /// Decides who is killed when; what the kill hits depends on timing too.
    pub seed: u64,
    /// Leave the lab running at the end.
    pub keep: bool,
}

/// Brings a lab up, kills, compares, prints. Returns whether all accounts agree.
pub fn run(options: KillOptions) -> Result<bool> {
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
    options: KillOptions,
    interrupt: Interrupt,
    progress: Progress,
) -> Result<Report> {
    progress.say(format_args!("seed {}", options.seed));
    let size = Size { nodes: options.nodes, replicas: REPLICAS };
    let lab = Lab::up(directory, programs, size, interrupt, progress)?;
    let mut trial = Trial::begin(lab, options)?;
    for number in 1..=options.rounds {
        trial.round(number)?;
    }
    trial.finish()
}
