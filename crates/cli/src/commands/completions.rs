//! `sextant completions`.

use clap::Args;
use clap_complete::Shell;

use crate::{
    args::examples,
    completion,
    exit::{Exit, Failure},
    output::Output,
};

/// Arguments of `sextant completions`.
#[derive(Args, Debug)]
#[command(after_long_help = examples(&[
    "sextant completions bash > ~/.local/share/bash-completion/completions/sextant",
    "sextant completions fish > ~/.config/fish/completions/sextant.fish",
]))]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: Shell,
}

/// Prints the script, which asks this program for the words, names of nodes and the like included.
pub fn run(args: &CompletionsArgs, output: &Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    completion::script(&args.shell.to_string(), &mut script)
        .map_err(|error| Failure::BadInput(error.to_string()))?;
    output.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
