//! `sextant status`, and the table of nodes that `node status` shares.

mod counts;

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use serde::Serialize;
use sextant_api::{
    Client,
    resource::{
        refusal::{Refused, RefusedCode},
        status::{NodeStatus, Status},
    },
};

use crate::{
    args::{Globals, examples},
    connection::connect,
    duration::ago,
    exit::{Exit, Failure},
    health::{NodeHealth, all_well},
    output::{Output, details, or_dash, table, word},
};
use counts::Counts;

/// Time between two looks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// The beginning of `sextant status --help`.
pub const ABOUT: &str = "\
    Show how the platform is doing.\n\nExits 0 if every active node reported less \
    than 30 s ago, has applied every event and has no problem; 1 otherwise.";

/// Arguments of `sextant status`.
#[derive(Args, Debug)]
#[command(
    after_long_help = examples(&["sextant status", "sextant status --watch", "sextant status --json"])
)]
pub struct StatusArgs {
    /// Look again every two seconds, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// Looks once, or again and again.
pub async fn run(args: &StatusArgs, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    if !args.watch {
        let overview = Overview::of(&client).await?;
        output.show(&overview, described)?;
        return Ok(verdict(&overview.status));
    }
    let mut interval = tokio::time::interval(WATCH_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let on_terminal = std::io::stdout().is_terminal();
    loop {
        interval.tick().await;
        match Overview::of(&client).await {
            Ok(overview) => output.show(&overview, |overview| {
                // On a terminal each look replaces the one before.
                let clear = if on_terminal { "\u{1b}[H\u{1b}[2J" } else { "" };
                format!("{clear}{}\n", described(overview))
            })?,
            Err(failure) => {
                if failure.exit() != Exit::Unreachable {
                    return Err(failure);
                }
                output.notice(&format!("{failure}; trying again"));
            }
        }
    }
}

/// The status as the API gives it, and how much there is.
#[derive(Debug, Serialize)]
struct Overview {
    #[serde(flatten)]
    status: Status,
    counts: Counts,
}

impl Overview {
    async fn of(client: &Client) -> Result<Self, Failure> {
        let status = client.status().await?;
        Ok(Self { status, counts: Counts::of(client).await? })
    }
}

/// 0 or 1, as documented.
pub fn verdict(status: &Status) -> Exit {
    if all_well(status) { Exit::Success } else { Exit::Finding }
}

fn described(overview: &Overview) -> String {
    let Overview { status, counts } = overview;
    let projections = status.projections.iter().map(|projection| {
        let behind = status.settled - projection.checkpoint;
        let behind = if behind > 0 { format!(" ({behind} behind)") } else { String::new() };
        format!("{} {}{behind}", projection.name, projection.checkpoint)
    });
    let platform = details([
        ("epoch", status.epoch.to_string()),
        ("settled", status.settled.to_string()),
        ("projections", projections.collect::<Vec<_>>().join(", ")),
        ("server", format!("{} at {}", status.version, status.now)),
        ("environments", counts.environments.to_string()),
        ("workloads", counts.workloads.to_string()),
        ("routes", counts.routes.to_string()),
        ("edges", counts.edges.to_string()),
        ("refused", refused(status)),
    ]);
    if status.nodes.is_empty() {
        return format!("{platform}\nno nodes yet; invite one with `sextant token create`\n");
    }
    format!("{platform}\n{}", nodes(status))
}

/// What was refused in the last hour.
fn refused(status: &Status) -> String {
    let code = |RefusedCode { code, sources, refused }: &RefusedCode| {
        let Refused { times, last_address, .. } = refused;
        let sources = if *sources > 1 { format!(" ({sources} sources)") } else { String::new() };
        format!("{times} {code}{sources}, last from {last_address}")
    };
    let codes: Vec<_> = status.refusals.iter().map(code).collect();
    if codes.is_empty() { "none in the last hour".into() } else { codes.join("; ") }
}

/// A row for each node.
pub fn nodes(status: &Status) -> String {
    const HEADER: [&str; 9] = [
        "name",
        "phase",
        "address",
        "revision",
        "lag",
        "contact",
        "handshakes",
        "worst rtt",
        "problems",
    ];
    table(&HEADER, status.nodes.iter().map(|node| row(node, status)))
}

fn row(node: &NodeStatus, status: &Status) -> Vec<String> {
    let health = NodeHealth::of(node, status);
    vec![
        node.node.name.to_string(),
        word(&node.node.phase),
        or_dash(node.node.addresses.iter().next()),
        or_dash(node.revision),
        or_dash(node.lag),
        node.contact_age_s.map_or_else(|| "never".into(), ago),
        format!("{}/{}", health.handshakes, health.peers),
        or_dash(health.worst_rtt_us.map(rtt)),
        if health.complaints.is_empty() { "-".into() } else { health.complaints.join("; ") },
    ]
}

/// A round trip in milliseconds.
pub fn rtt(microseconds: u32) -> String {
    format!("{:.2}ms", f64::from(microseconds) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::{healthy, report};

    #[test]
    fn the_table_shows_each_node_and_what_ails_it() {
        let mut status = healthy(3);
        status.nodes[1].lag = Some(4);
        status.nodes[2].contact_age_s = None;
        report(&mut status, 0).peers[0].handshake_age_s = None;
        let text = nodes(&status);
        let squeezed: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            squeezed,
            [
                "NAME PHASE ADDRESS REVISION LAG CONTACT HANDSHAKES WORST RTT PROBLEMS",
                "n1 active fd00:0:0:1::1 9 0 3s ago 1/2 0.50ms -",
                "n2 active fd00:0:0:2::1 9 4 3s ago 2/2 0.50ms 4 events behind",
                "n3 active fd00:0:0:3::1 9 0 never 2/2 0.50ms never reported",
            ]
        );
        assert_eq!(verdict(&status), Exit::Finding);
        assert_eq!(verdict(&healthy(3)), Exit::Success);
    }

    #[test]
    fn what_was_refused_in_the_last_hour_is_summed_up_by_code() {
        let mut status = healthy(0);
        assert_eq!(refused(&status), "none in the last hour");
        status.refusals = vec![RefusedCode {
            code: "token-used".into(),
            sources: 2,
            refused: Refused { times: 3, last_at: status.now, last_address: "2001:db8::23".into() },
        }];
        assert_eq!(refused(&status), "3 token-used (2 sources), last from 2001:db8::23");
    }

    #[test]
    fn a_projection_that_is_behind_shows_by_how_much() {
        let mut status = healthy(0);
        status.projections[0].checkpoint = 7;
        let text = described(&Overview { status, counts: Counts::default() });
        assert!(text.contains("nodes 7 (2 behind)"), "{text}");
        assert!(text.contains("sextant token create"), "{text}");
        assert!(text.contains("routes        0"), "{text}");
    }
}
