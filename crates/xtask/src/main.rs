//! Developer commands, run as `cargo xtask COMMAND`.

mod audit;
mod fuzz_api;
mod generate;
mod lint;
mod nix;
mod previous;
mod setup;
mod shell;
mod test;
mod tool;

use std::{
    ffi::OsString,
    io::Write,
    process::{Command, ExitCode},
};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::shell::{cargo, run, target_directory, workspace_root};

/// Developer commands of Sextant.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check that the programs Sextant needs are there; as root on Debian, install what is missing
    Setup,
    /// Set up, build, and show what the mesh does and survives
    Demo {
        /// Passed to `sextant-lab demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Set up, build, and run every test against a real Postgres
    Test {
        /// Passed to `cargo nextest run`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Set up, build and run a benchmark
    Bench {
        /// What to measure
        subject: Subject,
        /// Passed to the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Set up, start a lab, and let schemathesis look for requests that are answered with a 5xx
    FuzzApi {
        /// Passed to `schemathesis run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Check licences, sources, duplicates and published advisories of all dependencies
    Audit {
        /// Go on without the advisories if their database cannot be fetched
        #[arg(long)]
        if_reachable: bool,
    },
    /// Write the checked-in files that follow from the code: .sqlx and docs/openapi.json
    Generate {
        /// Write nothing; fail if a file would change
        #[arg(long)]
        check: bool,
    },
    /// Check the flake: format, unused code, lock, and that its outputs evaluate
    Nix,
    /// Check the rules of the house that no compiler knows
    Lint,
    /// Build the daemons of the last version that has landed, for the tests that run both
    Previous,
    /// Describe the queries against the database of a scratch server
    #[command(hide = true)]
    DescribeQueries {
        /// Where to write the descriptions
        output: std::path::PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Subject {
    /// Appending to and reading from the event log
    Store,
    /// Allocating addresses
    Ipam,
    /// From a node's enrolment to the last peer that knows it
    Join,
    /// What is lost when parts are killed at random moments; nothing may be
    Kill,
    /// Whether each fault is named by its cause in time, and forgotten once it is healed
    Faults,
    /// The edge beside HAProxy, nginx and sozu
    Edge,
    /// How soon a change of routes is live, with few and with 100,000 hostnames
    Routes,
    /// What strangers and one tenant leave of the platform to the others
    Pressure,
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Setup => setup::setup(),
        Action::Demo { arguments } => demo(&arguments),
        Action::Test { arguments } => test::test(&arguments),
        Action::Bench { subject, arguments } => bench(subject, &arguments),
        Action::FuzzApi { arguments } => fuzz_api::fuzz_api(&arguments),
        Action::Audit { if_reachable } => audit::audit(if_reachable),
        Action::Generate { check } => generate::generate(check),
        Action::Nix => nix::nix(),
        Action::Lint => lint::lint(),
        Action::Previous => previous::build(),
        Action::DescribeQueries { output } => generate::describe_queries(&output),
    }
}

fn demo(arguments: &[OsString]) -> anyhow::Result<()> {
    setup::setup()?;
    lab(&["demo"], arguments)
}

fn bench(subject: Subject, arguments: &[OsString]) -> anyhow::Result<()> {
    setup::setup()?;
    let of_crate = |name: &str, bench: &str| {
        let mut command = cargo()?;
        command.args(["bench", "-p", name, "--bench", bench, "--"]).args(arguments);
        replace(&mut command)
    };
    match subject {
        Subject::Store => of_crate("sextant-control", "store"),
        Subject::Ipam => of_crate("sextant-store", "ipam"),
        Subject::Join => lab(&["bench", "join"], arguments),
        Subject::Kill => lab(&["bench", "kill"], arguments),
        Subject::Faults => lab(&["bench", "faults"], arguments),
        Subject::Edge => release_lab(&["sextant-edge"], &["bench", "edge"], arguments),
        Subject::Routes => {
            let platform = ["sextant-control", "sextant-agent", "sextant-edge"];
            release_lab(&platform, &["bench", "routes"], arguments)
        }
        Subject::Pressure => lab(&["bench", "pressure"], arguments),
    }
}

/// Builds the programs and runs a lab with them. The dev profile is quick enough: the packets are
/// moved by WireGuard, not by Sextant, and a lab spends its time waiting for other processes.
fn lab(action: &[&str], arguments: &[OsString]) -> anyhow::Result<()> {
    run(cargo()?.args(["build", "--workspace", "--bins"]))?;
    let program = target_directory()?.join("debug/sextant-lab");
    replace(Command::new(program).args(action).args(arguments))
}

/// Builds these packages and the lab as they would be shipped, and measures.
fn release_lab(packages: &[&str], action: &[&str], arguments: &[OsString]) -> anyhow::Result<()> {
    let mut build = cargo()?;
    build.args(["build", "--release", "--bins", "-p", "sextant-lab"]);
    run(build.args(packages.iter().flat_map(|package| ["-p", package])))?;
    let program = target_directory()?.join("release/sextant-lab");
    replace(Command::new(program).args(action).args(arguments))
}

/// Becomes `command`, so that signals and the exit code are its own.
fn replace(command: &mut Command) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    let error = command.current_dir(workspace_root()?).exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
}
