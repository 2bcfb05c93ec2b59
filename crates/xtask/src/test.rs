//! Running every test.

use std::ffi::OsString;

use crate::{
    previous,
    setup::setup,
    shell::{cargo, has_program, run, with_scratch_postgres},
};

/// Builds everything, then runs the tests with one Postgres for all of them, then the doc tests.
pub fn test(arguments: &[OsString]) -> anyhow::Result<()> {
    setup()?;
    if !has_program("cargo-nextest") {
        run(cargo()?.args(["install", "--locked", "cargo-nextest"]))?;
    }
    // First, because the build that follows puts the programs of this version back.
    previous::build()?;
    // Lab tests run the daemons' programs, which nextest alone would not build.
    run(cargo()?.args(["build", "--workspace", "--bins"]))?;
    let mut nextest = cargo()?;
    nextest.args(["nextest", "run", "--workspace"]).args(arguments);
    with_scratch_postgres(&nextest)?;
    if arguments.is_empty() {
        run(cargo()?.args(["test", "--doc", "--workspace"]))?;
    }
    Ok(())
}
