//! Each fault is caused in a lab; `sextant status` and `sextant doctor` must name the right cause in
//! time, and nothing any more once the fault is healed.

mod table;
mod trial;

use std::{fmt, time::Duration};

pub use self::table::{FAULTS, Fault};
use self::trial::Trial;
use super::{in_scratch_lab, print};
use crate::{
    directory::LabDirectory, error::Result, interrupt::Interrupt, lab::Lab, programs::Programs,
    progress::Progress, up::Size,
};

/// Within which a cause must be named.
pub const GOAL: Duration = Duration::from_secs(15);

/// What the faults need: pairs, majorities, and a replica to fail over to.
const SIZE: Size = Size { nodes: 4, replicas: 2 };

/// What became of one fault.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub name: &'static str,
    /// When status named the cause; `None` if it did not.
    pub named: Option<Duration>,
    /// Whether doctor named it as well.
    pub doctor: bool,
    /// When status was well again after the fault was healed; `None` if it was not.
    pub cleared: Option<Duration>,
    /// What was said, or what went wrong.
    pub said: String,
}

/// What became of all of them.
#[derive(Debug)]
pub struct Report(Vec<Outcome>);

impl Report {
    /// Whether every cause was named within `limit`, and none stayed.
    pub fn is_good(&self, limit: Duration) -> bool {
        self.0.iter().all(|one| {
            one.doctor && one.cleared.is_some() && one.named.is_some_and(|named| named <= limit)
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |span: Option<Duration>| {
            span.map_or_else(|| "never".into(), |span| format!("{:.1} s", span.as_secs_f64()))
        };
        writeln!(f, "{:<22}{:>9}{:>8}{:>9}  said", "fault", "status", "doctor", "cleared")?;
        for one in &self.0 {
            let doctor = if one.doctor { "yes" } else { "no" };
            let (named, cleared) = (seconds(one.named), seconds(one.cleared));
            writeln!(f, "{:<22}{named:>9}{doctor:>8}{cleared:>9}  {}", one.name, one.said)?;
        }
        Ok(())
    }
}

/// Tries all faults, or those with `only` in their name, in a lab of its own; prints a table.
/// Returns whether every cause was named in time.
pub fn run(only: Option<&str>, keep: bool) -> Result<bool> {
    let progress = Progress::start();
    let chosen = |fault: &&Fault| only.is_none_or(|only| fault.name.contains(only));
    let faults: Vec<&Fault> = FAULTS.iter().filter(chosen).collect();
    let report = in_scratch_lab(keep, |directory, interrupt| {
        trial(directory, Programs::beside_this()?, &faults, interrupt, progress)
    })?;
    print(&report.to_string());
    Ok(report.is_good(GOAL))
}

/// The same in `directory`, without printing.
pub fn trial(
    directory: LabDirectory,
    programs: Programs,
    faults: &[&Fault],
    interrupt: Interrupt,
    progress: Progress,
) -> Result<Report> {
    let lab = Lab::up(directory, programs, SIZE, interrupt, progress.clone())?;
    let mut trial = Trial::begin(lab)?;
    let mut outcomes = Vec::new();
    for fault in faults {
        progress.say(format_args!("{}", fault.name));
        outcomes.push(trial.try_fault(fault)?);
    }
    Ok(Report(outcomes))
}
