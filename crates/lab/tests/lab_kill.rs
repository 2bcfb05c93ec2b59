//! Parts of the platform are killed while it works, and nothing is lost. Needs root or user
//! namespaces, and the programs of the workspace beside this one.

use std::path::PathBuf;

use sextant_lab::{
    Programs, Progress, ScratchDirectory,
    bench::kill::{KillOptions, trial},
    interrupt::Interrupt,
};

#[test]
fn kills_at_random_moments_lose_nothing_and_cut_nobody() {
    let place = ScratchDirectory::new().expect("make");
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    let programs = Programs::in_directory(lab.parent().expect("a directory"));
    let options = KillOptions { rounds: 6, nodes: 4, seed: 978, keep: false };
    let report = trial(place.directory(), programs, options, Interrupt::never(), Progress::start())
        .expect("the trial comes to its end");
    assert!(report.is_good(), "{report}");
    place.remove().expect("down");
}
