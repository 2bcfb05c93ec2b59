//! A walk through what the mesh does and what it survives, for someone who sees it first.

mod ingress;
mod steps;
mod transcript;

use std::path::Path;

use self::transcript::Transcript;
use crate::{
    command::tail,
    directory::LabDirectory,
    error::{LabError, Result},
    host::READY,
    interrupt::Interrupt,
    lab::Lab,
    programs::Programs,
    progress::Progress,
    scratch::ScratchDirectory,
    up::Size,
};

const EDGES: u16 = 2;

/// Why the demo did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("this did not hold: {0}")]
    NotHeld(String),
}

/// Runs the demo in a directory of its own. Returns whether every step held.
pub fn run(nodes: u16, keep: bool) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| LabError::Spawn { program: "the async runtime".to_owned(), source })?;
    let interrupt =
        Interrupt::on_signals(runtime.handle()).map_err(LabError::file("catch", "Ctrl-C"))?;
    let scratch = ScratchDirectory::new()?;
    let directory = scratch.directory();
    let mut transcript = Transcript::start();
    let outcome = walk(&directory, nodes, &interrupt, &mut transcript);
    if let Err(error) = &outcome {
        transcript.say(&format!("\nFAILED: {error}"));
        if !matches!(error, DemoError::Lab(LabError::Interrupted)) {
            show_logs(directory.path(), &mut transcript);
        }
    }
    if keep {
        let path = scratch.keep().path().display().to_string();
        transcript
            .say(&format!("\nThe lab keeps running. Use it with `--dir {path}`, for example"));
        transcript.say(&format!("  sextant-lab status --dir {path}"));
        transcript.say(&format!("  sextant-lab down --dir {path}"));
    } else {
        scratch.remove()?;
        transcript.say("\nEverything the demo made is removed.");
    }
    if outcome.is_ok() {
        transcript.say("Every step held.");
    }
    Ok(outcome.is_ok())
}

fn walk(
    directory: &LabDirectory,
    nodes: u16,
    interrupt: &Interrupt,
    transcript: &mut Transcript,
) -> Result<(), DemoError> {
    let size = Size { nodes, replicas: 2 };
    transcript.heading(&format!(
        "A platform with {nodes} nodes, {EDGES} edges and 2 control plane replicas"
    ));
    transcript.explain(
        "Each node, edge and replica is a network namespace of this machine with one cable to a \
         switch. Postgres, the control plane, the agents, the edges and WireGuard are the real \
         ones.",
    );
    let (programs, progress) = (Programs::beside_this()?, Progress::start());
    let interrupt = interrupt.clone();
    let mut lab =
        Lab::up_with_edges(directory.clone(), programs, size, EDGES, interrupt, progress)?;
    steps::nodes(&lab, transcript);
    steps::mesh(&lab, transcript)?;
    steps::no_ipv4(&lab, transcript)?;
    steps::agent_killed(&mut lab, transcript)?;
    steps::node_added(&mut lab, transcript)?;
    steps::control_plane_away(&mut lab, transcript)?;
    let shop = ingress::tenant(&lab, transcript)?;
    ingress::by_name(&lab, &shop, transcript)?;
    ingress::name_moved(&lab, &shop, transcript)?;
    ingress::rollover(&lab, &shop, transcript)?;
    ingress::without_control_plane(&mut lab, &shop, transcript)
}

fn show_logs(directory: &Path, transcript: &mut Transcript) {
    let mut logs: Vec<_> = std::fs::read_dir(directory.join("log"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    logs.sort();
    for log in logs {
        let end = tail(&log, 8);
        // A host that came up has nothing else to say.
        if !end.is_empty() && end != READY {
            let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
            transcript.say(&format!("\nThe end of {name}:\n{end}"));
        }
    }
}
