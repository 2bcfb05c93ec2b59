//! Faults are named by their cause. Needs root or user namespaces, and the programs of the
//! workspace beside this one. All faults: `sextant-lab bench faults`.

use std::{path::PathBuf, time::Duration};

use sextant_lab::{
    Programs, Progress, ScratchDirectory,
    bench::faults::{FAULTS, Fault, trial},
    interrupt::Interrupt,
};

/// The goal is 15 s; tests run on machines that have other things to do.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn status_and_doctor_name_the_cause_of_a_fault_and_forget_it_when_it_is_healed() {
    let place = ScratchDirectory::new().expect("make");
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    let programs = Programs::in_directory(lab.parent().expect("a directory"));
    let quick: Vec<&Fault> = FAULTS.iter().filter(|fault| fault.quick).collect();
    let report = trial(place.directory(), programs, &quick, Interrupt::never(), Progress::start())
        .expect("the trial comes to its end");
    assert!(report.is_good(LIMIT), "{report}");
    place.remove().expect("down");
}
