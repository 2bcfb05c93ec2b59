//! The operator's command line: a thin layer over the typed API client.
//!
//! A command reads what it needs, does one thing and says what happened: results on standard
//! output (a table, or JSON with `--json`), notes and errors on standard error, and the rest in
//! the exit code ([`exit::Exit`]).

pub mod args;
mod commands;
pub mod completion;
pub mod connection;
pub mod context;
pub mod doctor;
pub mod duration;
mod edge_admin;
mod edge_health;
pub mod exit;
mod health;
mod help;
mod lookup;
mod moment;
mod named;
mod output;
mod path;
mod progress;
mod values;

use std::{ffi::OsString, io::Write, process::ExitCode};

use crate::{
    args::Cli,
    exit::{Exit, Failure},
    output::Output,
};

/// Runs one command line, `arguments[0]` being the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match completion::answer(&arguments) {
        Ok(false) => {}
        Ok(true) => return Exit::Success.into(),
        Err(error) => {
            let _ = write!(std::io::stderr(), "{error}");
            return Exit::BadInput.into();
        }
    }
    let cli = match Cli::read(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors; a closed pipe is not worth a word.
            let output = Output::new(output::Format::Table, false);
            let text = help::of_error(&error, output.colours_errors());
            let _ = if error.use_stderr() {
                write!(std::io::stderr(), "{text}")
            } else {
                write!(std::io::stdout(), "{text}")
            };
            let exit = if error.use_stderr() { Exit::BadInput } else { Exit::Success };
            return exit.into();
        }
    };
    let output = Output::new(cli.globals.format(), cli.globals.utc);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::BadInput(format!("cannot start: {error}"));
            output.failure(&failure);
            return failure.exit().into();
        }
    };
    let ended = runtime.block_on(until_interrupted(&cli, &output));
    // A prompt may still wait for its answer; nobody waits for it any more.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit().into()
        }
    }
}

async fn until_interrupted(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {
            output.interrupted();
            Ok(Exit::Interrupted)
        }
        ended = commands::run(cli, output) => ended,
    }
}
