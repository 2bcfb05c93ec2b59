//! `sextant workload`: running instances of process types.

use clap::Subcommand;
use sextant_api::{
    Client,
    client::WorkloadQuery,
    resource::workload::{HealthReport, NewWorkload, ReportedHealth, Workload, WorkloadStatus},
};
use sextant_model::{DnsLabel, WorkloadId};
use uuid::Uuid;

use crate::{
    args::{Globals, examples, one_of},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, Row, details, or_dash, word},
    path::EnvironmentRef,
};

/// What to do with workloads.
#[derive(Debug, Subcommand)]
pub enum WorkloadCommand {
    /// Register one workload by itself: it gets an address, and no deploy replaces it
    #[command(after_long_help = examples(&[
        "sextant workload register shop/web/production --process web",
        "sextant workload register shop/web/production --process web --node worker-1",
    ]))]
    Register {
        /// Which environment runs in it
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
        /// Which process type it runs
        #[arg(long, value_name = "TYPE")]
        process: DnsLabel,
        /// Where it runs; the control plane chooses if not given
        #[arg(long, value_name = "NAME|ID", add = completed(Things::Nodes))]
        node: Option<String>,
    },
    /// List the workloads: all, those of an environment, those on a node
    #[command(visible_alias = "ls", after_long_help = examples(&[
        "sextant workload list",
        "sextant workload list shop/web/production",
        "sextant workload list --node worker-1 --json",
    ]))]
    List {
        /// Only those of this environment
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: Option<EnvironmentRef>,
        /// Only those on this node
        #[arg(long, value_name = "NAME|ID", add = completed(Things::Nodes))]
        node: Option<String>,
    },
    /// Show a workload
    #[command(after_long_help = examples(&["sextant workload show 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e"]))]
    Show {
        /// Which one; `sextant workload list` shows it
        #[arg(add = completed(Things::Workloads))]
        id: String,
    },
    /// Make a workload leave: edges send it nothing new, then its address is released
    #[command(visible_aliases = ["rm", "delete", "remove"], after_long_help = examples(&["sextant workload withdraw 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e --yes"]))]
    Withdraw {
        /// Which one; `sextant workload list` shows it
        #[arg(add = completed(Things::Workloads))]
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Say whether a workload may be given connections; "unhealthy" stands until "healthy" is said
    #[command(after_long_help = examples(&["sextant workload health 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e unhealthy"]))]
    Health {
        /// Which one; `sextant workload list` shows it
        #[arg(add = completed(Things::Workloads))]
        id: String,
        /// How it is
        #[arg(value_parser = one_of::<ReportedHealth>(&["healthy", "unhealthy"]))]
        health: ReportedHealth,
    },
}

/// Does it.
pub async fn run(
    command: &WorkloadCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        WorkloadCommand::Register { environment, process, node } => {
            let environment = lookup::environment_id(&client, environment).await?;
            let node_id = match node {
                Some(node) => Some(lookup::node_id(&client, node).await?),
                None => None,
            };
            let new = NewWorkload { process_type: process.clone(), node_id };
            let send =
                async |key: &str| client.register_workload(environment, &new, Some(key)).await;
            output.one(&lookup::create(send).await?.value, |made| described(made, output))?;
        }
        WorkloadCommand::List { environment, node } => {
            let found = list(&client, environment.as_ref(), node.as_deref()).await?;
            output.list(&found, |found| listing(found, output))?;
        }
        WorkloadCommand::Show { id } => {
            let id = lookup::workload_id(&client, id).await?;
            output.one(&client.workload(id).await?.value, |found| described(found, output))?;
        }
        WorkloadCommand::Withdraw { id, yes } => {
            let id = lookup::workload_id(&client, id).await?;
            return withdraw(&client, id, *yes, output).await;
        }
        WorkloadCommand::Health { id, health } => {
            let report = HealthReport { health: *health };
            let id = lookup::workload_id(&client, id).await?;
            let said = client.set_workload_health(id, report).await?;
            output.one(&said, |said| described(said, output))?;
        }
    }
    Ok(Exit::Success)
}

async fn list(
    client: &Client,
    environment: Option<&EnvironmentRef>,
    node: Option<&str>,
) -> Result<Vec<Workload>, Failure> {
    let mut query = WorkloadQuery::default();
    if let Some(environment) = environment {
        query.environment_id = Some(lookup::environment_id(client, environment).await?);
    }
    let mut named = None;
    match node {
        None => {}
        // An org may not list nodes, but sees the names of those that run its workloads.
        Some(node) => match lookup::node_id(client, node).await {
            Ok(id) => query.node_id = Some(id),
            Err(failure) if failure.is_forbidden() => named = Some(node),
            Err(failure) => return Err(failure),
        },
    }
    let mut found = lookup::workloads(client, query).await?;
    found.retain(|workload| named.is_none_or(|node| workload.node_name.as_str() == node));
    Ok(found)
}

async fn withdraw(
    client: &Client,
    id: WorkloadId,
    yes: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let found = client.workload(id).await?;
    let mut workload = found.value;
    let what = format!(
        "workload {id} ({} of {} on {})",
        workload.process_type, workload.environment, workload.node_name
    );
    let said = match workload.status {
        WorkloadStatus::Withdrawn | WorkloadStatus::Released => {
            format!("is {} already", word(&workload.status))
        }
        _ => {
            if let Some(exit) = output.confirmed(yes, &format!("Withdraw {what}?")).await? {
                return Ok(exit);
            }
            workload = client.remove_workload(id, found.etag.as_deref()).await?;
            "is withdrawn; edges send it nothing new".into()
        }
    };
    output.done(&format!("{what} {said}"), &workload)?;
    Ok(Exit::Success)
}

/// A row for each workload.
pub fn listing(workloads: &[Workload], output: &Output) -> String {
    let ids: Vec<Uuid> = workloads.iter().map(|workload| workload.id.0).collect();
    let short = lookup::short_ids(&ids);
    let rows = workloads.iter().zip(short).map(|(workload, short)| {
        let cells = vec![
            workload.environment.clone(),
            workload.process_type.to_string(),
            workload.node_name.to_string(),
            workload.address.to_string(),
            word(&workload.status),
            short,
            output.moments.age(workload.placed_at),
            workload.id.to_string(),
        ];
        Row::marked(cells, workload.status == WorkloadStatus::Unhealthy)
    });
    let age = format!("+{}", output.moments.title("placed at"));
    let header = ["environment", "process", "node", "address", "status", "id", &age, "+whole id"];
    output.table(&header, rows)
}

fn described(workload: &Workload, output: &Output) -> String {
    details([
        ("id", workload.id.to_string()),
        ("environment", workload.environment.clone()),
        ("process type", workload.process_type.to_string()),
        ("release id", or_dash(workload.release_id)),
        ("node", format!("{} ({})", workload.node_name, workload.node_id)),
        ("address", workload.address.to_string()),
        ("status", word(&workload.status)),
        ("placed at", output.moments.full(workload.placed_at)),
        ("placed by event", workload.placed_event_id.to_string()),
        ("version", workload.version.to_string()),
    ])
}
