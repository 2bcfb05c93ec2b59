//! `sextant man`: the manual pages, for those who build packages.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::{
    args::Cli,
    exit::{Exit, Failure},
    output::Output,
};

/// Arguments of `sextant man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Where they go: a folder that exists
    pub folder: PathBuf,
}

/// Writes a page for each command.
pub fn run(args: &ManArgs, output: &Output) -> Result<Exit, Failure> {
    let folder = args.folder.display();
    clap_mangen::generate_to(Cli::command(), &args.folder).map_err(|error| {
        Failure::BadInput(format!("cannot write manual pages to \"{folder}\": {error}"))
    })?;
    output.note(&format!("the manual pages are in \"{folder}\""));
    Ok(Exit::Success)
}
