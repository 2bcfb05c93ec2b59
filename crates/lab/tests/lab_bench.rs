//! The benchmarks of whole platforms, in small. Needs root or user namespaces, and the programs of
//! the workspace beside this one.

use std::path::PathBuf;

use sextant_lab::{
    Programs, Progress, ScratchDirectory,
    bench::join::{JoinOptions, trial},
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
