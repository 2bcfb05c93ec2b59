//! What the control plane does by itself, on whichever replica comes first: release what departed
//! nodes and withdrawn workloads held once all have let go of them, end claims that nobody proves,
//! end quarantines, forget old answers.

use std::time::{Duration, Instant};

use sextant_model::{
    ActorId, EnvironmentId, HostPattern, NodeId, Timestamp, WorkloadId,
    aggregate::{EnvironmentState, NodeState, WorkloadState, environment::Claim},
    ipam::Ipam,
};
use sextant_store::{StoreError, projection::Projections};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// A claim on a hostname that is not proved for so long has ended.
const PROOF_LIMIT: Duration = Duration::from_secs(7 * 86_400);
/// After its start a replica takes nobody for silent for so long.
const COME_BACK: Duration = Duration::from_mins(10);
/// Longer than anything lasts.
pub(crate) const NEVER: Duration = Duration::from_hours(24 * 365 * 100);
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);
/// Every so many rounds the slower chores are done too.
const SLOW_ROUNDS: u32 = 60;

/// Runs until `stop`. Every step is level-triggered: what fails is found again next time.
pub async fn run(app: App, stop: CancellationToken) {
    let (mut round, started) = (0_u32, Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RELEASE_INTERVAL) => {}
        }
        // Who has let go of what is read from projections: half of them must decide nothing.
        if !app.tail.position().is_filled(Projections::ALL) {
            continue;
        }
        // Nodes that were away together with the control plane get the time to come back.
        let silent = if started.elapsed() < COME_BACK { NEVER } else { app.silent };
        if let Err(error) = release_departed(&app, silent).await {
            tracing::debug!(%error, "departed nodes could not be released; trying again");
        }
        if let Err(error) = release_workloads(&app).await {
            tracing::debug!(%error, "withdrawn workloads could not be released; trying again");
        }
        if round.is_multiple_of(SLOW_ROUNDS)
            && let Err(error) = expire_claims(&app).await
        {
            tracing::debug!(%error, "old claims on hostnames could not be ended; trying again");
        }
        if round.is_multiple_of(SLOW_ROUNDS)
            && let Err(error) = end_quarantines(&app).await
        {
            tracing::debug!(%error, "quarantines could not be ended; trying again");
        }
        round = round.wrapping_add(1);
    }
}

async fn release_departed(app: &App, silent: Duration) -> Result<(), StoreError> {
    let leaving = app.store.leaving_nodes(silent).await?;
    for (id, _) in leaving.into_iter().filter(|(_, waited_for)| waited_for.is_empty()) {
        match release(app, id).await {
            // Another replica was faster, or has to do it: it knows more.
            Ok(()) | Err(StoreError::VersionConflict | StoreError::WrittenByNewer { .. }) => {}
            Err(error) if error.is_transient() => return Err(error),
            // One node that cannot be released must not hold up the others.
            Err(error) => {
                tracing::error!(node_id = %id, %error, "a departed node cannot be released");
            }
        }
    }
    Ok(())
}

async fn release(app: &App, id: NodeId) -> Result<(), StoreError> {
    let mut unit = app.store.begin();
    let mut node = unit.load::<NodeState>(id.0).await?;
    let Some(event) = node.state.release()? else { return Ok(()) };
    unit.append(&mut node, &[event], ActorId::SYSTEM).await?;
    unit.release_names(id.0).await?;
    unit.ipam().await?.release(id.0, app.now()).await?;
    unit.commit().await?;
    app.tail.committed();
    app.store.forget_instances(id).await?;
    tracing::info!(node_id = %id, "a departed node was released; its addresses are in quarantine");
    Ok(())
}

async fn release_workloads(app: &App) -> Result<(), StoreError> {
    let before = Timestamp(app.now().0 - app.drain);
    for id in app.store.releasable_workloads(before).await? {
        match release_workload(app, id).await {
            Ok(()) | Err(StoreError::VersionConflict | StoreError::WrittenByNewer { .. }) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(workload_id = %id, %error, "a workload cannot be released");
            }
        }
    }
    Ok(())
}

async fn release_workload(app: &App, id: WorkloadId) -> Result<(), StoreError> {
    let mut unit = app.store.begin();
    let mut workload = unit.load::<WorkloadState>(id.0).await?;
    let Some(event) = workload.state.release()? else { return Ok(()) };
    unit.append(&mut workload, &[event], ActorId::SYSTEM).await?;
    unit.ipam().await?.release(id.0, app.now()).await?;
    unit.commit().await?;
    app.tail.committed();
    Ok(())
}

/// Claims on hostnames that nobody has proved in time.
async fn expire_claims(app: &App) -> Result<(), StoreError> {
    let before = Timestamp(app.now().0 - PROOF_LIMIT);
    for (id, hostname) in app.store.stale_claims(before).await? {
        match expire_claim(app, id, &hostname).await {
            Ok(()) | Err(StoreError::VersionConflict | StoreError::WrittenByNewer { .. }) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(environment_id = %id, %hostname, %error, "a claim cannot be ended");
            }
        }
    }
    Ok(())
}

async fn expire_claim(
    app: &App,
    id: EnvironmentId,
    hostname: &HostPattern,
) -> Result<(), StoreError> {
    let mut unit = app.store.begin();
    unit.seize(id.0).await?;
    let mut environment = unit.load::<EnvironmentState>(id.0).await?;
    // Proved or gone meanwhile: the list was a moment old.
    if !matches!(environment.state.hostnames().get(hostname), Some(Claim::Pending { .. })) {
        return Ok(());
    }
    let event = environment.state.release_hostname(hostname, 0)?;
    unit.append(&mut environment, &[event], ActorId::SYSTEM).await?;
    unit.commit().await?;
    app.tail.committed();
    tracing::info!(environment_id = %id, %hostname, "a claim was not proved in time and has ended");
    Ok(())
}

async fn end_quarantines(app: &App) -> Result<(), StoreError> {
    let mut unit = app.store.begin();
    let reclaimed = unit.ipam().await?.reclaim(app.now()).await?;
    unit.commit().await?;
    if reclaimed > 0 {
        tracing::info!(reclaimed, "prefixes and addresses came back from quarantine");
    }
    app.store.forget_old_answers().await?;
    Ok(())
}
