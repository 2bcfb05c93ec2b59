//! `sextant edge`: who takes connections from outside, and whether they all serve the same.

use std::time::Duration;

use clap::{Args, Subcommand};
use sextant_api::resource::edge::Edge;

use crate::{
    args::{Globals, examples},
    connection::connect,
    duration::{self, ago},
    edge_health::{complaints, silent_listeners, trouble},
    exit::{Exit, Failure},
    lookup,
    output::{Output, or_dash, table},
    progress::{Progress, Wait, until_ended},
};

/// What to do about edges.
#[derive(Debug, Subcommand)]
pub enum EdgeCommand {
    /// Show what each edge serves; exits 1 if they do not all serve the same, newest routes
    #[command(long_about = ABOUT)]
    Status(StatusArgs),
}

const ABOUT: &str = "\
    Show what each edge serves.\n\nExits 0 if every edge reported less than 30 s ago, serves up to \
    the newest event that concerns its network, refuses no route and listens everywhere it should; \
    1 otherwise. The last line says so in words. --wait stays until it is so.";

/// Arguments of `sextant edge status`.
#[derive(Args, Debug)]
#[command(after_long_help = examples(&[
    "sextant edge status",
    "sextant edge status --wait --timeout 10s",
    "sextant edge status --json",
]))]
pub struct StatusArgs {
    /// Stay until all serve the same, newest routes
    #[arg(long)]
    pub wait: bool,
    /// Longest time to wait; exits 1 after it
    #[arg(long, requires = "wait", value_name = "DURATION", value_parser = duration::parse)]
    pub timeout: Option<Duration>,
}

/// Does it.
pub async fn run(
    command: &EdgeCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let EdgeCommand::Status(args) = command;
    let client = connect(globals).await?;
    let look = async || {
        let edges = lookup::edges(&client).await?;
        Ok(if complaints(&edges).is_empty() {
            Progress::Ended(edges)
        } else {
            Progress::Waits(complaints(&edges).join("; "))
        })
    };
    let edges = match until_ended(Wait::new(args.wait, args.timeout), output, look).await? {
        Some(edges) => edges,
        None => lookup::edges(&client).await?,
    };
    output.list(&edges, described)?;
    Ok(if complaints(&edges).is_empty() { Exit::Success } else { Exit::Finding })
}

fn described(edges: &[Edge]) -> String {
    const HEADER: [&str; 8] = [
        "edge",
        "revision",
        "newest",
        "in sync",
        "routes",
        "refused",
        "not listening",
        "last seen",
    ];
    let verdict = verdict(edges);
    if edges.is_empty() {
        return format!("{verdict}\n");
    }
    let trouble = edges
        .iter()
        .flat_map(trouble)
        .fold(String::new(), |text, line| text + &crate::output::printable(&line) + "\n");
    format!("{}{trouble}\n{verdict}\n", table(&HEADER, edges.iter().map(row)))
}

fn row(edge: &Edge) -> Vec<String> {
    let report = edge.report.as_ref();
    vec![
        edge.name.to_string(),
        or_dash(edge.revision),
        edge.newest.to_string(),
        if edge.in_sync { "yes" } else { "no" }.into(),
        or_dash(report.map(|report| report.routes)),
        or_dash(report.map(|report| report.refused.len())),
        or_dash(report.map(|_| silent_listeners(edge).count())),
        edge.last_seen_age_s.map_or_else(|| "never".into(), ago),
    ]
}

/// Whether all serve the same, in words.
pub fn verdict(edges: &[Edge]) -> String {
    let complaints = complaints(edges);
    match (edges, complaints.as_slice()) {
        ([], _) => "there is no edge; invite one with `sextant token create --role edge`".into(),
        ([edge], []) => format!("{} serves the newest routes", edge.name),
        (several, []) => format!("all {} edges serve the same, newest routes", several.len()),
        (_, complaints) => {
            format!("not all edges serve the same, newest routes: {}", complaints.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use sextant_api::resource::edge::ListenerState;

    use super::*;
    use crate::edge_health::tests::{edge, listener, report};

    #[test]
    fn edges_that_serve_the_same_are_well() {
        assert_eq!(verdict(&[edge(1)]), "e1 serves the newest routes");
        assert_eq!(verdict(&[edge(1), edge(2)]), "all 2 edges serve the same, newest routes");
        let mut behind = [edge(1), edge(2)];
        behind[1].in_sync = false;
        let differ = "not all edges serve the same, newest routes: e2 is at event 43, not 42";
        assert_eq!(verdict(&behind), differ);
        assert!(verdict(&[]).contains("sextant token create --role edge"));
    }

    #[test]
    fn the_table_has_a_line_for_each_edge_and_tells_their_troubles() {
        let mut edges = [edge(1), edge(2)];
        report(&mut edges[1]).listeners.push(listener(ListenerState::Failed));
        let text = described(&edges);
        let squeezed: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            squeezed,
            [
                "EDGE REVISION NEWEST IN SYNC ROUTES REFUSED NOT LISTENING LAST SEEN",
                "e1 43 42 yes 7 0 0 3s ago",
                "e2 43 42 yes 7 0 1 3s ago",
                "e2: cannot listen on [::]:443: address in use",
                "",
                "not all edges serve the same, newest routes: e2 cannot listen on 1 socket",
            ]
        );
    }
}
