//! `sextant completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{
    args::{Cli, examples},
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

/// Prints the script.
pub fn run(args: &CompletionsArgs, output: &Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sextant", &mut script);
    output.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
