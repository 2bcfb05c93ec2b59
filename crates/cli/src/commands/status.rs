//! `sextant status`, and the table of nodes that `node status` shares.

mod counts;

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use serde::Serialize;
use sextant_api::{
    Client,
    resource::{
        refusal::{Refused, RefusedCode},
        status::{NodeStatus, ReplicaStatus, Status},
    },
};
use sextant_model::health::Finding;

use crate::{
    args::{Globals, examples},
    connection::connect,
    duration::{ago, short},
    exit::{Exit, Failure},
    health::{NodeHealth, mark, problems, verdict},
    output::{Output, details, or_dash, printable, table, word},
};
use counts::Counts;

/// Time between two looks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// The beginning of `sextant status --help`.
pub const ABOUT: &str = "\
    Show how the platform is doing, and what is wrong.\n\nExits 1 if there is a finding that is a \
    failure or a warning, 0 otherwise. docs/health.md lists all kinds of findings; `sextant doctor` \
    and GET /v1/status have the same ones.";

/// Arguments of `sextant status`.
#[derive(Args, Debug)]
#[command(
    after_long_help = examples(&["sextant status", "sextant status --watch", "sextant status --json"])
)]
pub struct StatusArgs {
    /// Look again every two seconds, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Show where the log and what is derived from it stand
    #[arg(long)]
    pub internals: bool,
}

/// Looks once, or again and again.
pub async fn run(args: &StatusArgs, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    if !args.watch {
        let overview = Overview::of(&client).await?;
        output.show(&overview, |overview| described(overview, args.internals))?;
        return Ok(verdict(&overview.status.judged()));
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
                format!("{clear}{}\n", described(overview, args.internals))
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

fn described(overview: &Overview, internals: bool) -> String {
    let Overview { status, counts } = overview;
    let nodes = if status.nodes.is_empty() {
        "no nodes yet; invite one with `sextant token create`\n".into()
    } else {
        nodes(status)
    };
    let sums = details([
        ("environments", counts.environments.to_string()),
        ("workloads", counts.workloads.to_string()),
        ("routes", counts.routes.to_string()),
        ("edges", counts.edges.to_string()),
        ("control planes", control_planes(status)),
    ]);
    let text = format!("{nodes}\n{}\n{sums}", findings(&status.judged()));
    if internals { format!("{text}\n{}", positions(status)) } else { text }
}

/// What is wrong, each with what to do.
pub fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "all is well\n".into();
    }
    findings.iter().fold(String::new(), |text, finding| {
        let Finding { severity, kind, subject, what, remedy, .. } = finding;
        let line = format!("{}  {subject}: {what} ({kind})", mark(*severity));
        text + &format!("{}\n      do: {}\n", printable(&line), printable(remedy))
    })
}

fn control_planes(status: &Status) -> String {
    let planes = status.replicas.iter().map(|replica| {
        let ReplicaStatus { name, version, seen_age_s, .. } = replica;
        format!("{name} ({version}, {})", ago(*seen_age_s))
    });
    let planes: Vec<String> = planes.collect();
    if planes.is_empty() { status.version.clone() } else { planes.join(", ") }
}

/// Where the log and what is derived from it stand.
fn positions(status: &Status) -> String {
    let projections = status.projections.iter().map(|projection| {
        let behind = status.settled - projection.checkpoint;
        let behind = if behind > 0 { format!(" ({behind} behind)") } else { String::new() };
        format!("{} {}{behind}", projection.name, projection.checkpoint)
    });
    details([
        ("epoch", status.epoch.to_string()),
        ("settled", status.settled.to_string()),
        ("projections", projections.collect::<Vec<_>>().join(", ")),
        ("time", status.now.to_string()),
        ("refused", refused(status)),
    ])
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
        "contact",
        "lag",
        "peers",
        "worst rtt",
        "certificate",
        "problems",
    ];
    let findings = status.judged();
    table(&HEADER, status.nodes.iter().map(|node| row(node, status, &findings)))
}

fn row(node: &NodeStatus, status: &Status, findings: &[Finding]) -> Vec<String> {
    let health = NodeHealth::of(node, status);
    // What a silent node said last says nothing about now.
    let lag = node.lag.filter(|_| health.reached.is_some());
    vec![
        node.node.name.to_string(),
        word(&node.node.phase),
        or_dash(node.node.addresses.iter().next()),
        contact(node),
        or_dash(lag),
        reached(&health),
        or_dash(health.worst_rtt_us.map(rtt)),
        certificate(node, status),
        problems(node.node.id, findings),
    ]
}

/// When it last reported.
pub fn contact(node: &NodeStatus) -> String {
    node.contact_age_s.map_or_else(|| "never".into(), ago)
}

/// `2/3`: peers that it reaches, and peers that it has.
pub fn reached(health: &NodeHealth) -> String {
    format!("{}/{}", or_dash(health.reached), health.peers)
}

/// When its client certificate ends: `in 20d`.
pub fn certificate(node: &NodeStatus, status: &Status) -> String {
    let Some(end) = node.node.certificate_not_after else { return "-".into() };
    match end.unix_seconds() - status.now.unix_seconds() {
        left @ 1.. => format!("in {}", short(left.unsigned_abs())),
        over => format!("ended {}", ago(over.unsigned_abs())),
    }
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
        (status.nodes[1].lag, status.nodes[1].lag_age_s) = (Some(4), Some(10));
        status.nodes[2].contact_age_s = Some(50);
        for (from, to) in [(0, 0), (1, 0)] {
            let lost = &mut report(&mut status, from).peers[to];
            (lost.rtt_us, lost.lost) = (None, Some(2));
        }
        let text = nodes(&status);
        let squeezed: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            squeezed,
            [
                "NAME PHASE ADDRESS CONTACT LAG PEERS WORST RTT CERTIFICATE PROBLEMS",
                "n1 active fd00:0:0:1::1 3s ago 0 1/2 0.50ms in 20d pair-dead",
                "n2 active fd00:0:0:2::1 3s ago 4 1/2 0.50ms in 20d node-behind, pair-dead",
                "n3 active fd00:0:0:3::1 50s ago - -/2 - in 20d agent-silent",
            ]
        );
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
    fn nodes_come_first_then_findings_and_internals_only_if_asked_for() {
        let mut status = healthy(2);
        let look = |status: &Status, internals| {
            let overview = Overview { status: status.clone(), counts: Counts::default() };
            described(&overview, internals)
        };
        let text = look(&status, false);
        assert!(text.starts_with("NAME") && text.contains("\nall is well\n"), "{text}");
        assert!(!text.contains("projections"), "{text}");
        status.nodes[1].clock_skew_ms = Some(5000);
        status.projections[0].checkpoint = 7;
        let text = look(&status, true);
        assert!(text.contains("nodes 7 (2 behind)"), "{text}");
        let finding =
            "warn  node n2: its clock is 5.0 s ahead of the database's (node-clock)\n      do: ";
        assert!(text.contains(finding), "{text}");
        let empty = look(&healthy(0), false);
        assert!(
            empty.contains("sextant token create") && empty.contains("routes          0"),
            "{empty}"
        );
    }
}
