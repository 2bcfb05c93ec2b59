//! What the control plane does by itself, on whichever replica comes first: release what departed
//! nodes held once every live node has let go of them, end quarantines, forget old answers.

use std::time::Duration;

use sextant_model::{ActorId, NodeId, aggregate::NodeState, ipam::Ipam};
use sextant_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::app::App;

const RELEASE_INTERVAL: Duration = Duration::from_secs(1);
/// Every so many rounds the slower chores are done too.
const SLOW_ROUNDS: u32 = 60;

/// Runs until `stop`. Every step is level-triggered: what fails is found again next time.
pub async fn run(app: App, stop: CancellationToken) {
    let mut round = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RELEASE_INTERVAL) => {}
        }
        if let Err(error) = release_departed(&app).await {
            tracing::debug!(%error, "departed nodes could not be released; trying again");
        }
        if round.is_multiple_of(SLOW_ROUNDS)
            && let Err(error) = end_quarantines(&app).await
        {
            tracing::debug!(%error, "quarantines could not be ended; trying again");
        }
        round = round.wrapping_add(1);
    }
}

async fn release_departed(app: &App) -> Result<(), StoreError> {
    for id in app.store.releasable_nodes().await? {
        match release(app, id).await {
            // Another replica was faster.
            Ok(()) | Err(StoreError::VersionConflict) => {}
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
    tracing::info!(node_id = %id, "a departed node was released; its addresses are in quarantine");
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
