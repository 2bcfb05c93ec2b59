//! The benchmarks of whole platforms, in small. Needs root or user namespaces, and the programs of
//! the workspace beside this one.

use std::path::PathBuf;

use sextant_lab::{
    Programs, Progress, ScratchDirectory,
    bench::{
        join::{JoinOptions, trial},
        pressure::{self, PressureOptions},
    },
    interrupt::Interrupt,
};

#[test]
fn a_join_is_soon_known_to_all() {
    let place = ScratchDirectory::new().expect("make");
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    let programs = Programs::in_directory(lab.parent().expect("a directory"));
    let options = JoinOptions { nodes: 2, joins: 2 };
    let report = trial(place.directory(), programs, options, Interrupt::never(), Progress::start())
        .expect("every join is known to all, and every joined node is removed");
    assert!(report.is_good(), "{report}");
    place.remove().expect("down");
}

#[test]
fn strangers_and_a_tenant_leave_the_platform_to_the_others() {
    let place = ScratchDirectory::new().expect("make");
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    let programs = Programs::in_directory(lab.parent().expect("a directory"));
    let options = PressureOptions {
        silent: 1500,
        unread: 100,
        streams: 40,
        deploys: 8,
        workloads: 20,
        seconds: 8,
        keep: false,
    };
    let (interrupt, progress) = (Interrupt::never(), Progress::start());
    let report = pressure::trial(place.directory(), programs, options, interrupt, progress)
        .expect("the others go on working");
    assert!(report.is_served(), "{report}");
    place.remove().expect("down");
}
