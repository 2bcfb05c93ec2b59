//! What the control plane does by itself, on whichever replica comes first: release what departed
//! nodes and withdrawn workloads held once all have let go of them, end claims that nobody proves,
//! end quarantines, forget old answers.

use std::time::{Duration, Instant};

use sextant_model::{
    ActorId, AggregateKind, EnvironmentId, HostPattern, NodeId, Timestamp, WorkloadId,
    aggregate::{EnvironmentState, NodeState, WorkloadState, environment::Claim},
    ipam::Ipam,
};
use sextant_store::{
    StoreError, idempotency::FORGOTTEN_AT_ONCE, ipam::RECLAIMED_AT_ONCE, projection::Projections,
};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// A claim on a hostname that is not proved for so long has ended.
const PROOF_LIMIT: Duration = Duration::from_secs(7 * 86_400);
/// After its start a replica takes nobody for silent for so long.
const COME_BACK: Duration = Duration::from_mins(10);
/// Longer than anything lasts.
pub(crate) const NEVER: Duration = Duration::from_hours(24 * 365 * 100);
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);
/// Workloads that are released in one transaction, and such transactions in one round.
const RELEASED_AT_ONCE: usize = 200;
const RELEASE_BATCHES: usize = 5;
/// Bounded statements that a slow chore makes in one round at most.
const SLOW_BATCHES: usize = 100;
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
    let leaving = app.store.own().leaving_nodes(silent).await?;
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
    let mut unit = app.store.own().begin();
    let mut node = unit.load::<NodeState>(id.0).await?;
    let Some(event) = node.state.release()? else { return Ok(()) };
    unit.release_names(id.0).await?;
    unit.ipam().await?.release(id.0, app.now()).await?;
    unit.append(&mut node, &[event], ActorId::SYSTEM).await?;
    unit.commit().await?;
    app.tail.committed();
    app.store.forget_instances(id).await?;
    tracing::info!(node_id = %id, "a departed node was released; its addresses are in quarantine");
    Ok(())
}

/// A bounded number at a time, so that neither the writers' lock nor a round lasts long, and shared
/// between the orgs that wait.
async fn release_workloads(app: &App) -> Result<(), StoreError> {
    let before = Timestamp(app.now().0 - app.drain);
    for _ in 0..RELEASE_BATCHES {
        let due = app.store.own().releasable_workloads(before, RELEASED_AT_ONCE).await?;
        let last = match release_batch(app, &due).await {
            // Another replica was faster.
            Err(StoreError::VersionConflict) => return Ok(()),
            // One that cannot be released must not hold up the others.
            Err(error) if !error.is_transient() => release_each(app, &due).await?,
            released => released?,
        };
        if last == 0 {
            return Ok(());
        }
        // The list is a projection: let it catch up.
        app.tail.wait_projected(last, Projections::of(AggregateKind::Workload)).await;
        if due.len() < RELEASED_AT_ONCE {
            return Ok(());
        }
    }
    Ok(())
}

async fn release_each(app: &App, ids: &[WorkloadId]) -> Result<i64, StoreError> {
    let mut last = 0;
    for id in ids {
        match release_batch(app, &[*id]).await {
            Ok(event_id) => last = last.max(event_id),
            // Another replica was faster, or has to do it: it knows more.
            Err(StoreError::VersionConflict | StoreError::WrittenByNewer { .. }) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(workload_id = %id, %error, "a workload cannot be released");
            }
        }
    }
    Ok(last)
}

async fn release_batch(app: &App, ids: &[WorkloadId]) -> Result<i64, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let mut unit = app.store.own().begin();
    let mut released = vec![];
    for workload in unit.load_all::<WorkloadState>(&ids).await? {
        if let Some(event) = workload.state.release()? {
            released.push((workload, event));
        }
    }
    if released.is_empty() {
        return Ok(0);
    }
    let ids: Vec<_> = released.iter().map(|(workload, _)| workload.id).collect();
    unit.ipam().await?.release_addresses(&ids, app.now()).await?;
    unit.append_next(&mut released, ActorId::SYSTEM).await?;
    let event_id = unit.commit().await?;
    app.tail.committed();
    Ok(event_id)
}

/// Claims on hostnames that nobody has proved in time.
async fn expire_claims(app: &App) -> Result<(), StoreError> {
    let before = Timestamp(app.now().0 - PROOF_LIMIT);
    for (id, hostname) in app.store.own().stale_claims(before).await? {
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
    let mut unit = app.store.own().begin();
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
    let mut all = 0;
    for _ in 0..SLOW_BATCHES {
        let mut unit = app.store.own().begin();
        let reclaimed = unit.ipam().await?.reclaim(app.now()).await?;
        unit.commit().await?;
        all += reclaimed;
        if reclaimed < RECLAIMED_AT_ONCE.unsigned_abs() {
            break;
        }
    }
    if all > 0 {
        tracing::info!(reclaimed = all, "prefixes and addresses came back from quarantine");
    }
    for _ in 0..SLOW_BATCHES {
        if app.store.own().forget_old_answers().await? < FORGOTTEN_AT_ONCE {
            break;
        }
    }
    app.store.own().forget_old_refusals(app.now()).await?;
    Ok(())
}
