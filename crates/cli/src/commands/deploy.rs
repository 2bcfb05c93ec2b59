//! `sextant deploy`: a new release, and how far it comes.

use std::{str::FromStr, time::Duration};

use clap::Args;
use sextant_api::{
    Client,
    resource::{
        release::{NewRelease, Release, ReleaseStatus},
        workload::{Workload, WorkloadStatus},
    },
};
use sextant_model::{DnsLabel, ReleaseId, aggregate::release::MOST_INSTANCES, event::ProcessSpec};

use crate::{
    args::{Globals, examples},
    commands::release,
    completion::{Things, completed},
    connection::connect,
    duration,
    exit::{Exit, Failure},
    lookup,
    output::{Output, word},
    path::EnvironmentRef,
    progress::{Progress, Wait, until_ended},
    values,
};

/// The beginning of `sextant deploy --help`.
pub const ABOUT: &str = "\
    Make a release: place a workload for every instance of every process type.\n\nThe release goes \
    live when all its workloads are healthy; then older releases give way with their workloads. \
    Until then they go on serving. A process type that is not listed ends with them.\n\nWith \
    --wait it exits 0 when the release is live, and 1 if it was superseded or lost a workload \
    before, or the time is over. Ctrl-C and --timeout end the wait only: the release goes on.";

/// Arguments of `sextant deploy`.
#[derive(Args, Debug)]
#[command(after_long_help = examples(&[
    "sextant deploy shop/web/production web=2 worker=1",
    "sextant deploy shop/web/production web=2 --wait --timeout 2m",
]))]
pub struct DeployArgs {
    /// Where to
    #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
    pub environment: EnvironmentRef,
    /// Process types, each with its number of workloads
    #[arg(required = true, value_name = "TYPE=COUNT")]
    pub processes: Vec<Process>,
    /// Stay until the release is live
    #[arg(long)]
    pub wait: bool,
    /// Longest time to wait; exits 1 after it
    #[arg(long, requires = "wait", value_name = "DURATION", value_parser = duration::parse)]
    pub timeout: Option<Duration>,
}

/// `web=2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process(ProcessSpec);

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write a process type and how many of it, like web=2";
        let (process_type, instances): (DnsLabel, _) = values::pair(text, '=', FORM, instances)?;
        if instances == 0 {
            return Err(format!("\"{text}\" runs none; leave {process_type} out for that"));
        }
        Ok(Self(ProcessSpec { process_type, instances }))
    }
}

/// How many workloads of a process type.
fn instances(text: &str) -> Result<u16, String> {
    match text.parse::<u64>() {
        Ok(count) if count <= MOST_INSTANCES.into() => {
            u16::try_from(count).map_err(|e| e.to_string())
        }
        Ok(count) => {
            Err(format!("{count} is too many; at most {MOST_INSTANCES} of one process type"))
        }
        Err(_) => Err(format!("\"{text}\" is not a number from 1 to {MOST_INSTANCES}")),
    }
}

/// Deploys, and waits as it was told.
pub async fn run(args: &DeployArgs, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    let environment = lookup::environment_id(&client, &args.environment).await?;
    let processes = args.processes.iter().map(|process| process.0.clone()).collect();
    let new = NewRelease { processes };
    let send = async |key: &str| client.deploy(environment, &new, Some(key)).await;
    let made = lookup::create(send).await?;
    let wait = Wait::new(args.wait, args.timeout);
    if wait == Wait::No {
        output.one(&made, |made| release::described(made, None, output))?;
        return Ok(Exit::Success);
    }
    if !output.json {
        output.text(&release::described(&made, None, output))?;
    }
    until_live(&client, made, wait, output).await
}

async fn until_live(
    client: &Client,
    made: Release,
    wait: Wait,
    output: &Output,
) -> Result<Exit, Failure> {
    let id = made.id;
    let goes_on = format!("the release goes on by itself: `sextant release show {id}`");
    output.if_interrupted(goes_on.clone());
    let look = async || progress(client, id).await;
    let ended = until_ended(wait, output, look).await?;
    let what = format!("release {} of {}", made.number, made.environment);
    let (exit, note) = match &ended {
        Some(release) if release.status == ReleaseStatus::Live => {
            (Exit::Success, format!("{what} is live"))
        }
        Some(release) if release.status == ReleaseStatus::Incomplete => {
            (Exit::Finding, format!("{what} {}", release::INCOMPLETE))
        }
        Some(release) => {
            let successor = release::successor(client, release).await?;
            (Exit::Finding, format!("{what} {}", superseded(successor)))
        }
        None => (Exit::Finding, format!("{what} is not live yet; {goes_on}")),
    };
    output.done(&note, &ended.unwrap_or(made))?;
    Ok(exit)
}

fn superseded(successor: Option<i32>) -> String {
    match successor {
        Some(number) => format!("was superseded by release {number} before it was live"),
        None => "was superseded before it was live".into(),
    }
}

async fn progress(client: &Client, id: ReleaseId) -> Result<Progress<Release>, Failure> {
    let release = client.release(id).await?;
    Ok(match release.status {
        ReleaseStatus::Pending => Progress::Waits(waits_for(&release)),
        _ => Progress::Ended(release),
    })
}

/// Which workloads are not healthy yet.
fn waits_for(release: &Release) -> String {
    let behind = |workload: &&Workload| workload.status != WorkloadStatus::Healthy;
    let behind: Vec<String> = release
        .workloads
        .iter()
        .filter(behind)
        .map(|workload| {
            let Workload { process_type, node_name, status, .. } = workload;
            format!("{process_type} on {node_name} ({})", word(status))
        })
        .collect();
    let all = release.workloads.len();
    let healthy = all - behind.len();
    let rest = if behind.is_empty() { "the release".into() } else { behind.join(", ") };
    format!("{rest}; {healthy} of {all} healthy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::release::tests::{release, workload};

    #[test]
    fn a_process_is_a_type_and_a_count() {
        let spec = "web=2".parse::<Process>().expect("spec").0;
        assert_eq!((spec.process_type.as_str(), spec.instances), ("web", 2));
        for (bad, why) in [
            ("web", "like web=2"),
            ("web=", "\"\" is not a number"),
            ("web=two", "\"two\" is not a number"),
            ("web=-1", "\"-1\" is not a number"),
            ("web=101", "at most 100"),
            ("web=100000", "100000 is too many; at most 100"),
            ("Web=1", "contains 'W'"),
            ("web=0", "leave web out"),
        ] {
            let error = bad.parse::<Process>().expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_release_waits_for_the_workloads_that_are_not_healthy() {
        use WorkloadStatus::{Healthy, Starting, Unhealthy};
        let mut release = release(vec![
            workload(1, "web", Healthy),
            workload(2, "web", Starting),
            workload(3, "worker", Unhealthy),
        ]);
        assert_eq!(
            waits_for(&release),
            "web on n2 (starting), worker on n3 (unhealthy); 1 of 3 healthy"
        );
        release.workloads.truncate(1);
        assert_eq!(waits_for(&release), "the release; 1 of 1 healthy");
    }
}
