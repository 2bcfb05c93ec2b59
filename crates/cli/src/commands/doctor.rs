//! `sextant doctor`.

use std::fmt::Write;

use clap::Args;
use sextant_model::health::Severity;

use crate::{
    args::{Globals, examples},
    doctor::{Examination, examine},
    exit::{Exit, Failure},
    health::mark,
    output::{Output, printable},
};

/// The beginning of `sextant doctor --help`.
pub const ABOUT: &str = "\
    Look for what is wrong and say what it is, where, and what to do about it.\n\nIt \
    checks the local files, names, connections and certificates of the control \
    planes, clocks, and everything that the control plane finds about nodes, pairs of nodes, edges and \
    itself.\n\nExits 0 if \
    all is well, 1 with findings that are more than notes, 2 if the nodes could not be checked because no \
    control plane gave their status.";

/// Arguments of `sextant doctor`.
#[derive(Args, Debug)]
#[command(
    after_long_help = examples(&["sextant doctor", "sextant doctor --json"])
)]
pub struct DoctorArgs {}

/// Examines and tells.
pub async fn run(_: &DoctorArgs, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let examination = examine(globals, output).await;
    output.show(&examination, described)?;
    Ok(examination.exit())
}

fn described(examination: &Examination) -> String {
    let mut text = String::new();
    for check in &examination.checks {
        let worst = check.findings.iter().map(|finding| finding.severity).min();
        let mark = worst.map_or("ok  ", mark);
        let _ = writeln!(text, "{mark}  {}", printable(&check.name));
        for finding in &check.findings {
            let _ = writeln!(text, "      what:   {}", printable(&finding.what));
            let _ = writeln!(text, "      where:  {}", printable(&finding.place));
            let _ = writeln!(text, "      do:     {}", printable(&finding.remedy));
        }
    }
    for skipped in &examination.skipped {
        let _ = writeln!(text, "skip  {}", printable(skipped));
    }
    let findings = examination.findings().filter(|one| one.severity != Severity::Note).count();
    let sum = match findings {
        0 => "all is well".to_owned(),
        1 => "1 finding".to_owned(),
        several => format!("{several} findings"),
    };
    text + &format!("{sum}; on a node, `sextant-agent doctor` looks closer\n")
}
