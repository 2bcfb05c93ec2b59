//! `sextant-lab`: a whole platform on one machine.

mod arguments;

use std::{
    io::Write,
    net::Ipv6Addr,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use sextant_lab::{
    Lab, LabDescription, LabDirectory, LabError, Programs, Progress, Size, Target,
    bench::{
        edge, faults,
        join::{self, JoinOptions},
        kill::{self, KillOptions},
        pressure, routes,
    },
    demo, down, host,
    interrupt::Interrupt,
    operator::Operator,
    ping::{self, ping_all},
    postgres::{PostgresOptions, SHARED, ScratchPostgres},
    process::replace_with,
    serve, shell,
    status::{LabStatus, aligned},
    traffic, workload,
};

use crate::arguments::{Action, Arguments, BenchSubject, DaemonArguments, WorkloadAction};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "sextant-lab: {}", explained(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes. A lab's and a benchmark's error say by themselves what caused them.
fn explained(error: &anyhow::Error) -> String {
    let mut text = Vec::new();
    for cause in error.chain() {
        text.push(cause.to_string());
        if cause.is::<LabError>() || cause.is::<edge::EdgeBenchError>() {
            break;
        }
    }
    text.join(": ")
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let directory = || LabDirectory::choose(arguments.dir.as_deref());
    match arguments.action {
        Action::Up { nodes, replicas, edges } => up(directory()?, Size { nodes, replicas }, edges),
        Action::Down => take_down(&directory()?),
        Action::Exec { host, command } => execute(&directory()?, &host, &command),
        Action::AddNode { name } => add_node(directory()?, name.as_deref()),
        Action::AddEdge => add_edge(directory()?),
        Action::RemoveNode { name } => remove_node(directory()?, &name),
        Action::Stop(target) => change(directory()?, &target, Lab::stop),
        Action::Start(target) => change(directory()?, &target, Lab::start_and_watch),
        Action::Unplug { host } => cable(directory()?, &host, Lab::pull_cable),
        Action::Plug { host } => cable(directory()?, &host, Lab::plug_cable),
        Action::Env => environment(&directory()?),
        Action::Kill(target) => change(directory()?, &target, Lab::kill),
        Action::Status { json } => status(&directory()?, json),
        Action::Ping { json } => ping(&directory()?, json),
        Action::Logs { host } => logs(&directory()?, &host),
        Action::Workload { action: WorkloadAction::List } => list_workloads(&directory()?),
        Action::Workload { action: WorkloadAction::Run { address, command } } => {
            run_in_workload(&directory()?, address, &command)
        }
        Action::Serve { node, certificates } => {
            serve::serve(&node, &certificates)?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Traffic => {
            traffic::run()?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Probe => {
            routes::run_probe()?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Demo { nodes, keep } => Ok(verdict(demo::run(nodes, keep)?)),
        Action::Bench { subject } => Ok(verdict(bench(&subject)?)),
        Action::Hold { name: _ } => {
            host::hold()?;
            Ok(ExitCode::SUCCESS)
        }
        Action::ScratchPostgres { command } => {
            let directory = arguments.dir.context("scratch-postgres needs --dir")?;
            with_scratch_postgres(&directory, &command)
        }
    }
}

fn up(directory: LabDirectory, size: Size, edges: u16) -> anyhow::Result<ExitCode> {
    let progress = Progress::start();
    let was_there = directory.id().is_ok_and(|id| id.is_some());
    let lab = Lab::up_with_edges(
        directory.clone(),
        Programs::beside_this()?,
        size,
        edges,
        Interrupt::never(),
        progress.clone(),
    );
    let lab = match lab {
        Ok(lab) => lab,
        // Nothing was made, so there is nothing to look at or to remove.
        Err(error) if was_there || !directory.id().is_ok_and(|id| id.is_some()) => {
            return Err(error.into());
        }
        Err(error) => {
            let (logs, down) = (directory.path().join("log"), directory.hint("down"));
            let logs = logs.display();
            let hint = format!("the lab is not up; its logs are in {logs}, {down} removes it");
            return Err(anyhow::Error::new(error).context(hint));
        }
    };
    let description = lab.directory().description();
    progress.say(format_args!("everything about it is in {}", description.display()));
    let [ping, exec, down] = ["ping", "exec n1 -- wg show", "down"].map(|it| directory.hint(it));
    progress.say(format_args!("try {ping}, {exec}, {down}"));
    let env = directory.command_line("env");
    progress.say(format_args!("to point `sextant` at it, run `eval \"$({env})\"`"));
    Ok(ExitCode::SUCCESS)
}

fn take_down(directory: &LabDirectory) -> anyhow::Result<ExitCode> {
    let line = if down(directory)? { "is gone" } else { "had no lab in it" };
    Progress::start().say(format_args!("{} {line}", directory.path().display()));
    Ok(ExitCode::SUCCESS)
}

fn execute(directory: &LabDirectory, host: &str, command: &[String]) -> anyhow::Result<ExitCode> {
    let lab = LabDescription::read(directory)?;
    let (program, arguments) = command.split_first().context("no command given")?;
    let mut command = lab.host(host)?.command(&lab.lab_id, program);
    Err(replace_with(command.args(arguments)).into())
}

fn list_workloads(directory: &LabDirectory) -> anyhow::Result<ExitCode> {
    let lab = LabDescription::read(directory)?;
    let workloads = Operator::of(&lab)?.workloads()?;
    print(&aligned(&workload::table(&workloads)))?;
    Ok(ExitCode::SUCCESS)
}

fn run_in_workload(
    directory: &LabDirectory,
    address: Ipv6Addr,
    command: &[String],
) -> anyhow::Result<ExitCode> {
    let mut lab = LabDescription::read(directory)?;
    let (program, arguments) = command.split_first().context("no command given")?;
    let operator = Operator::of(&lab)?;
    lab.take_note(&operator.status()?);
    let workload = operator.workloads()?.into_iter().find(|workload| workload.address == address);
    let workload = workload.with_context(|| {
        format!("no workload has the address \"{address}\"; list the workloads to see theirs")
    })?;
    let host = lab.workload_host(address)?;
    let mut command = host.workload_command(&lab.lab_id, workload.id, program);
    command.args(arguments).env(workload::ADDRESS, address.to_string());
    Err(replace_with(&mut command).into())
}

fn add_node(directory: LabDirectory, name: Option<&str>) -> anyhow::Result<ExitCode> {
    let progress = Progress::start();
    let mut lab = Lab::open(directory, Interrupt::never(), progress.clone())?;
    let operator = Operator::of(lab.description())?;
    let name = lab.add_node(&operator, name)?;
    progress.say(format_args!("node {name} is started"));
    lab.await_converged(&operator, None, convergence_limit(&lab))?;
    progress.say(format_args!("{name} is a member and every pair of nodes pings"));
    Ok(ExitCode::SUCCESS)
}

fn add_edge(directory: LabDirectory) -> anyhow::Result<ExitCode> {
    let progress = Progress::start();
    let mut lab = Lab::open(directory, Interrupt::never(), progress.clone())?;
    let operator = Operator::of(lab.description())?;
    let name = lab.add_edge(&operator)?;
    progress.say(format_args!("edge {name} is started"));
    let limit = convergence_limit(&lab);
    lab.await_converged(&operator, None, limit)?;
    lab.install_edges()?;
    lab.await_edges(&operator, limit)?;
    progress.say(format_args!("{name} is a member and serves what there is"));
    Ok(ExitCode::SUCCESS)
}

fn convergence_limit(lab: &Lab) -> Duration {
    let nodes = u16::try_from(lab.description().nodes.len()).unwrap_or(u16::MAX);
    Size { nodes, replicas: 1 }.convergence_limit()
}

fn remove_node(directory: LabDirectory, name: &str) -> anyhow::Result<ExitCode> {
    let progress = Progress::start();
    let mut lab = Lab::open(directory, Interrupt::never(), progress.clone())?;
    let operator = Operator::of(lab.description())?;
    lab.remove_node(&operator, name, convergence_limit(&lab))?;
    progress.say(format_args!("{name} is gone"));
    Ok(ExitCode::SUCCESS)
}

fn bench(subject: &BenchSubject) -> anyhow::Result<bool> {
    match subject {
        &BenchSubject::Join { nodes, joins } => Ok(join::run(JoinOptions { nodes, joins })?),
        &BenchSubject::Kill { rounds, nodes, seed, keep } => {
            let seed = seed.unwrap_or_else(rand::random);
            Ok(kill::run(KillOptions { rounds, nodes, seed, keep })?)
        }
        BenchSubject::Faults { only, keep } => Ok(faults::run(only.as_deref(), *keep)?),
        BenchSubject::Edge(options) => Ok(edge::run(options)?),
        &BenchSubject::Routes(options) => Ok(routes::run(options)?),
        &BenchSubject::Pressure(options) => Ok(pressure::run(options)?),
    }
}

fn verdict(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn change(
    directory: LabDirectory,
    arguments: &DaemonArguments,
    action: fn(&mut Lab, &Target) -> sextant_lab::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut lab = Lab::open(directory, Interrupt::never(), Progress::start())?;
    action(&mut lab, &arguments.target)?;
    Ok(ExitCode::SUCCESS)
}

fn cable(
    directory: LabDirectory,
    host: &str,
    action: fn(&Lab, &str) -> sextant_lab::Result<()>,
) -> anyhow::Result<ExitCode> {
    action(&Lab::open(directory, Interrupt::never(), Progress::start())?, host)?;
    Ok(ExitCode::SUCCESS)
}

fn environment(directory: &LabDirectory) -> anyhow::Result<ExitCode> {
    for (name, value) in LabDescription::read(directory)?.environment() {
        print(&format!("export {name}={}", shell::word(&value)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(directory: &LabDirectory, json: bool) -> anyhow::Result<ExitCode> {
    let status = LabStatus::of(&LabDescription::read(directory)?);
    if json {
        print(&serde_json::to_string_pretty(&status)?)?;
    } else {
        print(&aligned(&status.table()))?;
        if let Err(reason) = &status.control_plane {
            print(&format!("\n{reason}"))?;
        }
    }
    Ok(verdict(status.all_run()))
}

fn ping(directory: &LabDirectory, json: bool) -> anyhow::Result<ExitCode> {
    let mut lab = LabDescription::read(directory)?;
    let mut pings = ping_all(&lab)?;
    // A node that was removed while its agent was dead does not know that it has left.
    if pings.iter().any(|ping| ping.rtt_ms.is_none())
        && let Ok(status) = Operator::of(&lab).and_then(|operator| operator.status())
    {
        lab.take_note(&status);
        let is_member = |name: &String| lab.members().any(|node| node.name == *name);
        pings.retain(|ping| is_member(&ping.from) && is_member(&ping.to));
    }
    if json {
        print(&serde_json::to_string_pretty(&pings)?)?;
    } else {
        print(&aligned(&ping::table(&lab, &pings)))?;
        print("round trips in ms")?;
    }
    let complete = lab.members().all(|node| node.overlay.is_some());
    let answered = pings.iter().all(|ping| ping.rtt_ms.is_some());
    Ok(verdict(complete && answered))
}

fn logs(directory: &LabDirectory, host: &str) -> anyhow::Result<ExitCode> {
    let lab = LabDescription::read(directory)?;
    lab.check_daemon(host)?;
    let path = directory.log(host);
    let mut log = std::fs::File::open(&path)
        .with_context(|| format!("cannot open the log \"{}\"", path.display()))?;
    let mut out = std::io::stdout().lock();
    written(std::io::copy(&mut log, &mut out).and_then(|_| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command with a Postgres that all tests it runs may share.
fn with_scratch_postgres(
    directory: &std::path::Path,
    command: &[String],
) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command given")?;
    // Ctrl-C ends the command; this process stays to stop Postgres.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _interrupt = Interrupt::on_signals(runtime.handle())?;
    let options = PostgresOptions { durable: false, ..PostgresOptions::default() };
    let server = ScratchPostgres::start(directory, options)?;
    let status = Command::new(program)
        .args(arguments)
        .env(SHARED, server.socket_directory())
        .status()
        .with_context(|| format!("cannot run \"{program}\""));
    server.stop()?;
    let code = status?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// One line or more on stdout. A reader who has gone, such as `head`, is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    written(writeln!(out, "{text}").and_then(|()| out.flush()))
}

fn written(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}
