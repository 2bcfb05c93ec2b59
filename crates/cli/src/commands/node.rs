//! `sextant node`.

mod removal;

use std::{net::SocketAddr, time::Duration};

use clap::Subcommand;
use sextant_api::{
    Client,
    resource::{
        network::Network,
        node::{Node, NodePatch, NodePhase},
        status::{NodeStatus, Status},
    },
};
use sextant_model::health::Finding;

use crate::{
    args::{Globals, examples, one_of},
    commands::status,
    completion::{Things, completed},
    connection::connect,
    duration::{self, ago},
    exit::{Exit, Failure},
    health::{NodeHealth, active_peers, measured, verdict},
    lookup,
    moment::{Moments, skew},
    output::{Output, details, listed, or_dash, table, word},
    progress::Wait,
};

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes
    #[command(visible_alias = "ls", after_long_help = examples(&[
        "sextant node list",
        "sextant node list --phase withdrawn --network mesh",
        "sextant node list -o wide",
    ]))]
    List {
        /// Only those in this phase; it may be given several times
        #[arg(long, value_name = "PHASE", value_parser = one_of::<NodePhase>(&["active", "withdrawn"]))]
        phase: Vec<NodePhase>,
        /// Only those of this network
        #[arg(long, value_name = "NAME|ID", add = completed(Things::Networks))]
        network: Option<String>,
    },
    /// Show a node
    #[command(after_long_help = examples(&["sextant node show worker-1"]))]
    Show {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Nodes))]
        node: String,
    },
    /// Make a node leave: its peers drop it, then its addresses are released
    #[command(visible_aliases = ["rm", "delete"], after_long_help = examples(&[
        "sextant node remove worker-1",
        "sextant node remove worker-1 --yes --wait --timeout 5m",
    ]))]
    Remove {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Nodes))]
        node: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Wait until every live node has dropped it
        #[arg(long)]
        wait: bool,
        /// Longest time to wait; exits 1 after it
        #[arg(long, requires = "wait", value_name = "DURATION", value_parser = duration::parse)]
        timeout: Option<Duration>,
    },
    /// Refuse a node's client certificates at once; its peers keep it until it is removed
    #[command(after_long_help = examples(&["sextant node revoke-certificates worker-1"]))]
    RevokeCertificates {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Nodes))]
        node: String,
    },
    /// Accept a node's client certificates again
    #[command(after_long_help = examples(&["sextant node readmit worker-1"]))]
    Readmit {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Nodes))]
        node: String,
    },
    /// Say where peers reach a node's WireGuard on the underlay
    #[command(after_long_help = examples(&["sextant node set-endpoint worker-1 [2001:db8::1]:51820"]))]
    SetEndpoint {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Nodes))]
        node: String,
        /// A unicast IPv6 address and a port, [ADDRESS]:PORT
        #[arg(value_name = "ADDR", value_parser = parse_endpoint)]
        endpoint: SocketAddr,
    },
    /// Show how a node and its peers are doing, or all nodes; exits 1 if one is not well
    #[command(after_long_help = examples(&["sextant node status", "sextant node status worker-1"]))]
    Status {
        /// Which one; all if not given
        #[arg(value_name = "NAME|ID", add = completed(Things::Nodes))]
        node: Option<String>,
    },
}

fn parse_endpoint(text: &str) -> Result<SocketAddr, String> {
    match text.parse() {
        Ok(endpoint @ SocketAddr::V6(_)) => Ok(endpoint),
        Ok(SocketAddr::V4(_)) => {
            Err(format!("\"{text}\" is IPv4 and the underlay is IPv6; give [ADDRESS]:PORT"))
        }
        Err(_) => {
            Err(format!("\"{text}\" is not of the form [ADDRESS]:PORT, like [2001:db8::1]:51820"))
        }
    }
}

/// Does it.
pub async fn run(
    command: &NodeCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        NodeCommand::List { phase, network } => {
            let mut nodes = lookup::nodes(&client).await?;
            nodes.retain(|node| phase.is_empty() || phase.contains(&node.phase));
            if let Some(network) = network {
                let id = lookup::network_id(&client, network).await?;
                nodes.retain(|node| node.network_id == id);
            }
            let networks = networks(&client, output).await?;
            output.list(&nodes, |nodes| listing(nodes, &networks, output))?;
        }
        NodeCommand::Show { node } => {
            let id = lookup::node_id(&client, node).await?;
            let node = client.node(id).await?.value;
            let networks = networks(&client, output).await?;
            output.one(&node, |node| described(node, &networks, output))?;
            if node.phase == NodePhase::Withdrawn {
                let status = client.status().await?;
                let leaving = status.nodes.iter().find(|node| node.node.id == id);
                if let Some(waits) = leaving.and_then(|node| removal::waits_for(node, &status)) {
                    output.note(&format!("it waits for {waits}"));
                }
            }
        }
        NodeCommand::Remove { node, yes, wait, timeout } => {
            let wait = Wait::new(*wait, *timeout);
            return removal::remove(&client, node, *yes, wait, output).await;
        }
        NodeCommand::RevokeCertificates { node } => {
            let id = lookup::node_id(&client, node).await?;
            let node = client.revoke_node_certificates(id).await?;
            let networks = networks(&client, output).await?;
            output.one(&node, |node| described(node, &networks, output))?;
            output.note(
                "it stays in the mesh: `sextant node remove` takes it out, and it comes back with \
                 a new token and an empty state folder; `sextant node readmit` trusts its key again",
            );
        }
        NodeCommand::Readmit { node } => {
            let id = lookup::node_id(&client, node).await?;
            let node = client.readmit_node(id).await?;
            let networks = networks(&client, output).await?;
            output.one(&node, |node| described(node, &networks, output))?;
        }
        NodeCommand::SetEndpoint { node, endpoint } => {
            let id = lookup::node_id(&client, node).await?;
            let etag = client.node(id).await?.etag.unwrap_or_default();
            let patch = NodePatch { endpoint: *endpoint };
            let node = client.patch_node(id, &patch, &etag).await?.value;
            let networks = networks(&client, output).await?;
            output.one(&node, |node| described(node, &networks, output))?;
            output.note("an endpoint in agent.toml there wins over this at the agent's next start");
        }
        NodeCommand::Status { node: None } => {
            let status = client.status().await?;
            output.list(&status.nodes, |_| status::nodes(&status))?;
            return Ok(verdict(&status.judged()));
        }
        NodeCommand::Status { node: Some(node) } => return one_status(&client, node, output).await,
    }
    Ok(Exit::Success)
}

async fn one_status(client: &Client, wanted: &str, output: &Output) -> Result<Exit, Failure> {
    let id = lookup::node_id(client, wanted).await?;
    let status = client.status().await?;
    let Some(node) = status.nodes.iter().find(|node| node.node.id == id) else {
        return Err(Failure::NotFound(format!(
            "node \"{wanted}\" has no status: it is gone; `sextant events` shows when it left"
        )));
    };
    output.one(node, |node| status_of(node, &status))?;
    Ok(verdict(&about(node, &status)))
}

/// For what networks are called; programs get ids.
async fn networks(client: &Client, output: &Output) -> Result<Vec<Network>, Failure> {
    if output.json { Ok(Vec::new()) } else { lookup::networks(client).await }
}

fn network(node: &Node, networks: &[Network]) -> String {
    let found = networks.iter().find(|network| network.id == node.network_id);
    found.map_or_else(|| node.network_id.to_string(), |found| found.name.to_string())
}

fn listing(nodes: &[Node], networks: &[Network], output: &Output) -> String {
    let rows = nodes.iter().map(|node| {
        vec![
            node.name.to_string(),
            network(node, networks),
            word(&node.phase),
            listed(&node.roles),
            or_dash(node.addresses.iter().next()),
            output.moments.age(node.enrolled_at),
            node.prefix.to_string(),
            node.endpoint.to_string(),
            node.id.to_string(),
        ]
    });
    let age = output.moments.title("enrolled at");
    output.table(
        &["name", "network", "phase", "roles", "address", age, "+prefix", "+endpoint", "+id"],
        rows,
    )
}

fn described(node: &Node, networks: &[Network], output: &Output) -> String {
    let moments = &output.moments;
    let addresses: Vec<String> = node.addresses.iter().map(|address| address.to_string()).collect();
    details([
        ("name", node.name.to_string()),
        ("id", node.id.to_string()),
        ("network", network(node, networks)),
        ("phase", word(&node.phase)),
        ("roles", listed(&node.roles)),
        ("addresses", addresses.join(",")),
        ("prefix", node.prefix.to_string()),
        ("endpoint", node.endpoint.to_string()),
        ("public key", node.public_key.to_string()),
        ("certificate until", certificate(node, moments)),
        ("enrolled at", moments.full(node.enrolled_at)),
        ("enrolled by event", node.enrolled_event_id.to_string()),
        ("version", node.version.to_string()),
    ])
}

/// What is wrong with one node.
fn about(node: &NodeStatus, status: &Status) -> Vec<Finding> {
    let mut findings = status.judged();
    findings.retain(|finding| finding.nodes.contains(&node.node.id));
    findings
}

fn certificate(node: &Node, moments: &Moments) -> String {
    let until = or_dash(node.certificate_not_after.map(|at| moments.full(at)));
    if node.certificates_revoked { format!("revoked (was until {until})") } else { until }
}

fn status_of(node: &NodeStatus, status: &Status) -> String {
    // What a silent node said last says nothing about now.
    let silent = node.is_silent();
    let report = node.report.as_ref().filter(|_| !silent);
    let health = NodeHealth::of(node, status);
    let ahead_ms = node.clock_skew_ms.filter(|_| !silent);
    let mut lines = vec![
        ("name", node.node.name.to_string()),
        ("phase", word(&node.node.phase)),
        ("revision", or_dash(node.revision)),
        ("lag", or_dash(node.lag.filter(|_| !silent))),
        ("contact", status::contact(node)),
        ("clock", or_dash(ahead_ms.map(skew))),
        ("certificate ends", status::certificate(node, status)),
        ("agent", or_dash(report.map(|report| &report.agent_version))),
        ("wireguard", or_dash(report.map(|report| word(&report.implementation)))),
        (
            "mtu",
            or_dash(report.map(|report| format!("{} over {}", report.mtu, report.underlay_mtu))),
        ),
        ("peers", status::reached(&health)),
    ];
    if let Some(waits) = removal::waits_for(node, status) {
        lines.push(("leaves after", waits));
    }
    let peers = active_peers(node, status).map(|peer| {
        let measured = measured(node, peer.node.id).filter(|_| !silent);
        let used = measured.and_then(|peer| peer.endpoint).unwrap_or(peer.node.endpoint);
        let handshake = match measured {
            None => "-".into(),
            Some(peer) => peer.handshake_age_s.map_or_else(|| "never".into(), ago),
        };
        vec![
            peer.node.name.to_string(),
            used.to_string(),
            handshake,
            or_dash(measured.and_then(|peer| peer.rtt_us).map(status::rtt)),
            or_dash(measured.and_then(|peer| peer.largest_ok)),
            or_dash(measured.map(|peer| peer.rx_bytes)),
            or_dash(measured.map(|peer| peer.tx_bytes)),
        ]
    });
    let header = ["peer", "endpoint", "handshake", "rtt", "passes", "rx bytes", "tx bytes"];
    let findings = status::findings(&about(node, status));
    format!("{}\n{}\n{findings}", details(lines), table(&header, peers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::healthy;

    #[test]
    fn an_endpoint_is_an_ipv6_address_and_a_port() {
        assert!(parse_endpoint("[2001:db8::1]:51820").is_ok());
        for (bad, why) in [
            ("192.0.2.1:51820", "IPv6"),
            ("2001:db8::1", "[ADDRESS]:PORT"),
            ("n1.example:51820", "[ADDRESS]:PORT"),
        ] {
            assert!(parse_endpoint(bad).expect_err(bad).contains(why), "{bad}");
        }
    }

    #[test]
    fn the_status_of_a_node_shows_each_peer_as_it_sees_it() {
        let mut status = healthy(3);
        status.nodes[0].report.as_mut().expect("report").peers.remove(1);
        let text = status_of(&status.nodes[0], &status);
        let line = |start: &str| {
            let found = text.lines().find(|line| line.starts_with(start)).expect(start);
            found.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("n2"), "n2 [2001:db8::2]:51820 60s ago 0.50ms - 1 1");
        assert_eq!(line("n3"), "n3 [2001:db8::3]:51820 - - - - -");
        assert_eq!(line("mtu"), "mtu 1420 over 1500");
        status.nodes[0].contact_age_s = Some(50);
        let text = status_of(&status.nodes[0], &status);
        assert!(text.contains("mtu               -\n"), "{text}");
        assert!(text.contains("node n1: its last report was 50 s ago"), "{text}");
    }
}
