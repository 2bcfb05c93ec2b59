//! `sextant release`: what was deployed.

use clap::Subcommand;
use sextant_api::{
    Client,
    resource::release::{Release, ReleaseStatus},
};
use sextant_model::{EnvironmentId, ReleaseId};

use crate::{
    args::{Globals, examples},
    commands::workload,
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, Row, details, or_dash, word},
    path::EnvironmentRef,
    values,
};

/// What to do with releases; `sextant deploy` makes them.
#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// List the releases of an environment, oldest first
    #[command(visible_alias = "ls", after_long_help = examples(&["sextant release list shop/web/production"]))]
    List {
        /// Which one
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
    },
    /// Show a release with its workloads: by id, or the newest of an environment
    #[command(after_long_help = examples(&[
        "sextant release show shop/web/production",
        "sextant release show shop/web/production 7",
        "sextant release show 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e",
    ]))]
    Show {
        /// The release's id, or its environment
        #[arg(value_name = "ID|ORG/APP/ENVIRONMENT", add = completed(Things::Environments))]
        release: EnvironmentRef,
        /// Its number in the environment; the newest if not given
        #[arg(value_parser = values::release_number)]
        number: Option<i32>,
    },
}

/// Environments that are searched for a release, each with a request.
const MOST_ENVIRONMENTS: usize = 100;

/// What became of a release with that status, and the remedy.
pub const INCOMPLETE: &str = "lost a workload before it was live and never goes live; deploy again";

/// Does it.
pub async fn run(
    command: &ReleaseCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        ReleaseCommand::List { environment } => {
            let id = lookup::environment_id(&client, environment).await?;
            output.list(&lookup::releases(&client, id).await?, |found| listing(found, output))?;
        }
        ReleaseCommand::Show { release, number } => {
            let id = find(&client, release, *number).await?;
            let found = client.release(id).await?;
            let successor = successor(&client, &found).await?;
            output.one(&found, |found| described(found, successor, output))?;
        }
    }
    Ok(Exit::Success)
}

/// The release that is meant. A lone id is that of a release, with a number that of an environment.
async fn find(
    client: &Client,
    wanted: &EnvironmentRef,
    number: Option<i32>,
) -> Result<ReleaseId, Failure> {
    let environment = match (wanted, number) {
        (EnvironmentRef::Id(id), None) => return Ok(ReleaseId(id.0)),
        (EnvironmentRef::IdBeginning(text), None) => return by_beginning(client, text).await,
        _ => lookup::environment_id(client, wanted).await?,
    };
    of_environment(client, environment, wanted, number).await
}

/// The release whose id begins so. There is no list of all releases.
async fn by_beginning(client: &Client, text: &str) -> Result<ReleaseId, Failure> {
    let environments = lookup::environments(client, None, None).await?;
    if environments.len() > MOST_ENVIRONMENTS {
        return Err(Failure::BadInput(format!(
            "with more than {MOST_ENVIRONMENTS} environments the release \"{text}\" is not looked \
             for; give its whole id, or ORG/APP/ENVIRONMENT and its number"
        )));
    }
    let mut candidates = Vec::new();
    for environment in environments {
        let path = environment.path();
        candidates.extend(lookup::releases(client, environment.id).await?.iter().map(|found| {
            let shown = format!("{} of {path}", found.number);
            lookup::Candidate::new(found.id, found.id.0, false, shown)
        }));
    }
    lookup::find(lookup::RELEASE, text, candidates)
}

async fn of_environment(
    client: &Client,
    id: EnvironmentId,
    wanted: &EnvironmentRef,
    number: Option<i32>,
) -> Result<ReleaseId, Failure> {
    let releases = lookup::releases(client, id).await?;
    let newest = releases.last().map(|release| release.number);
    let found = match number {
        None => releases.last(),
        Some(number) => releases.iter().find(|release| release.number == number),
    };
    found.map(|release| release.id).ok_or_else(|| {
        Failure::NotFound(match newest {
            None => format!(
                "environment \"{wanted}\" has no release yet; make one with `sextant deploy`"
            ),
            Some(newest) => format!(
                "environment \"{wanted}\" has no release {}; the newest is {newest}",
                or_dash(number)
            ),
        })
    })
}

fn processes(release: &Release) -> String {
    let processes = release.processes.iter();
    let words = processes.map(|spec| format!("{}={}", spec.process_type, spec.instances));
    words.collect::<Vec<_>>().join(" ")
}

fn instances(release: &Release) -> u32 {
    release.processes.iter().map(|spec| u32::from(spec.instances)).sum()
}

fn listing(releases: &[Release], output: &Output) -> String {
    let rows = releases.iter().map(|release| {
        let cells = vec![
            release.number.to_string(),
            word(&release.status),
            format!("{}/{}", release.healthy, instances(release)),
            processes(release),
            output.moments.age(release.created_at),
            release.id.to_string(),
        ];
        Row::marked(cells, release.status == ReleaseStatus::Incomplete)
    });
    let age = output.moments.title("created at");
    output.table(&["number", "status", "healthy", "processes", age, "+id"], rows)
}

/// The number of the release that has taken the place of this one.
pub async fn successor(client: &Client, release: &Release) -> Result<Option<i32>, Failure> {
    match release.superseded_by {
        Some(by) => Ok(Some(client.release(by).await?.number)),
        None => Ok(None),
    }
}

/// The release, and a row for each of its workloads. `successor` is the number of the one that has
/// taken its place.
pub fn described(release: &Release, successor: Option<i32>, output: &Output) -> String {
    let mut lines = vec![
        ("release", format!("{} of {}", release.number, release.environment)),
        ("id", release.id.to_string()),
        ("status", word(&release.status)),
        ("processes", processes(release)),
        ("healthy", format!("{}/{}", release.healthy, instances(release))),
    ];
    if release.status == ReleaseStatus::Incomplete {
        lines.push(("remedy", format!("it {INCOMPLETE}")));
    }
    if let Some(number) = successor {
        lines.push(("superseded by", format!("release {number}")));
    }
    lines.push(("created at", output.moments.full(release.created_at)));
    format!("{}\n{}", details(lines), workload::listing(&release.workloads, output))
}

#[cfg(test)]
pub mod tests {
    use sextant_api::resource::workload::{Workload, WorkloadStatus};
    use sextant_model::{DnsLabel, NetworkId, NodeId, OrgId, WorkloadId, event::ProcessSpec};
    use uuid::Uuid;

    use super::*;
    use crate::{health::tests::now, output::Format};

    fn shown(release: &Release) -> String {
        described(release, None, &Output::new(Format::Table, false))
    }

    fn label(text: &str) -> DnsLabel {
        DnsLabel::new(text).expect("label")
    }

    /// A workload of the release below, on node `n<number>`.
    pub fn workload(number: u8, process: &str, status: WorkloadStatus) -> Workload {
        let id = Uuid::from_u128(number.into());
        Workload {
            id: WorkloadId(id),
            org_id: OrgId(Uuid::from_u128(1)),
            environment_id: EnvironmentId(Uuid::from_u128(2)),
            environment: "shop/web/production".into(),
            release_id: Some(ReleaseId(Uuid::from_u128(3))),
            process_type: label(process),
            network_id: NetworkId(Uuid::from_u128(4)),
            node_id: NodeId(id),
            node_name: label(&format!("n{number}")),
            address: format!("fd00::{number:x}").parse().expect("address"),
            status,
            version: 1,
            placed_at: now(),
            placed_event_id: 7,
        }
    }

    /// A release that is pending, with these workloads.
    pub fn release(workloads: Vec<Workload>) -> Release {
        let healthy = workloads.iter().filter(|one| one.status == WorkloadStatus::Healthy).count();
        Release {
            id: ReleaseId(Uuid::from_u128(3)),
            org_id: OrgId(Uuid::from_u128(1)),
            environment_id: EnvironmentId(Uuid::from_u128(2)),
            environment: "shop/web/production".into(),
            number: 7,
            processes: vec![
                ProcessSpec { process_type: label("web"), instances: 2 },
                ProcessSpec { process_type: label("worker"), instances: 1 },
            ],
            status: ReleaseStatus::Pending,
            superseded_by: None,
            healthy: u32::try_from(healthy).expect("few"),
            workloads,
            version: 1,
            created_at: now(),
        }
    }

    #[test]
    fn a_release_shows_what_it_runs_and_how_each_workload_is() {
        let text = shown(&release(vec![
            workload(1, "web", WorkloadStatus::Healthy),
            workload(2, "web", WorkloadStatus::Starting),
        ]));
        for line in [
            "release     7 of shop/web/production",
            "processes   web=2 worker=1",
            "healthy     1/3",
            "shop/web/production  web      n2    fd00::2  starting  ",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
    }

    #[test]
    fn a_release_that_lost_a_workload_says_what_to_do() {
        let mut lost = release(vec![workload(1, "web", WorkloadStatus::Withdrawn)]);
        lost.status = ReleaseStatus::Incomplete;
        let text = shown(&lost);
        assert!(text.contains("incomplete") && text.contains("deploy again"), "{text}");
    }
}
