//! What the others notice of it.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use sextant_api::{
    Client,
    client::PageQuery,
    resource::release::{NewRelease, ReleaseStatus},
};
use sextant_model::{EnvironmentId, event::ProcessSpec};
use tokio::runtime::Runtime;

use super::Tenant;
use crate::{bench::figures::Figures, error::Result, lab::Lab};

/// Between two reads.
const READ_INTERVAL: Duration = Duration::from_millis(50);
/// Between two looks at a release.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Between two looks at the memory of replicas.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);
/// A deploy that is not live by then is counted with this time.
const DEPLOY_LIMIT: Duration = Duration::from_secs(30);
/// What agents write when a report was not taken.
const UNDELIVERED: &str = "a report could not be delivered";

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// Reads of another org.
    pub reads: Figures,
    /// Reads that failed.
    pub failed_reads: usize,
    /// From the deploy of three workloads until they were live.
    pub deploys: Figures,
    /// Lines of agents whose reports were not taken.
    pub undelivered: usize,
    /// The most that a replica had resident, in KiB.
    pub memory: u64,
}

impl Measured {
    pub(super) fn take(
        lab: &Lab,
        runtime: &Runtime,
        victim: &Tenant,
        seconds: u64,
    ) -> Result<Self> {
        let until = Instant::now() + Duration::from_secs(seconds);
        let logs: Vec<_> =
            lab.description().nodes.iter().map(|node| log(lab, &node.name)).collect();
        let before = undelivered(&logs);
        let pids: Vec<_> =
            lab.description().replicas.iter().filter_map(|replica| replica.pids.control).collect();
        let (client, environment) = (victim.admin.clone(), victim.environment.id);
        let reading = runtime.spawn(read(client.clone(), until));
        let deploying = runtime.spawn(deploy(client, environment, until));
        let watching = runtime.spawn(watch(pids, until));
        let ended = runtime.block_on(async { tokio::try_join!(reading, deploying, watching) });
        let ((times, failed_reads), deploys, memory) =
            ended.map_err(|error| crate::error::LabError::ControlPlane {
                action: "measure".to_owned(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            reads: Figures::new(times),
            failed_reads,
            deploys: Figures::new(deploys),
            undelivered: undelivered(&logs).saturating_sub(before),
            memory,
        })
    }
}

async fn read(client: Client, until: Instant) -> (Vec<Duration>, usize) {
    let (mut times, mut failed) = (Vec::new(), 0);
    let page = PageQuery::default();
    while Instant::now() < until {
        let begun = Instant::now();
        match client.apps(None, &page).await {
            Ok(_) => times.push(begun.elapsed()),
            Err(_) => failed += 1,
        }
        tokio::time::sleep(READ_INTERVAL).await;
    }
    (times, failed)
}

/// Deploys again and again; how long each took until it was live.
async fn deploy(client: Client, environment: EnvironmentId, until: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    let Ok(process_type) = "web".parse() else { return times };
    let new = NewRelease { processes: vec![ProcessSpec { process_type, instances: 3 }] };
    while Instant::now() < until {
        let begun = Instant::now();
        let live = async {
            let release = client.deploy(environment, &new, None).await.ok()?;
            loop {
                match client.release(release.id).await {
                    Ok(release) if release.status == ReleaseStatus::Live => return Some(()),
                    _ => tokio::time::sleep(LOOK_INTERVAL).await,
                }
            }
        };
        let live = tokio::time::timeout(DEPLOY_LIMIT, live).await;
        times.push(if matches!(live, Ok(Some(()))) { begun.elapsed() } else { DEPLOY_LIMIT });
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    times
}

/// The most that one of these processes has resident meanwhile, in KiB.
async fn watch(pids: Vec<u32>, until: Instant) -> u64 {
    let mut most = 0;
    while Instant::now() < until {
        most = pids.iter().filter_map(|pid| resident(*pid)).max().unwrap_or(0).max(most);
        tokio::time::sleep(MEMORY_INTERVAL).await;
    }
    most
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn log(lab: &Lab, node: &str) -> PathBuf {
    lab.directory.log(node)
}

fn undelivered(logs: &[PathBuf]) -> usize {
    let text = |log: &PathBuf| fs::read_to_string(log).unwrap_or_default();
    logs.iter().map(|log| text(log).matches(UNDELIVERED).count()).sum()
}
