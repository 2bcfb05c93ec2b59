//! What several commands do with workloads, each within its own transaction: place them, withdraw
//! them, take in how they are, and let a release go live once all of its own are healthy.

use std::collections::BTreeMap;

use sextant_model::{
    ActorId, DnsLabel, EnvironmentId, EventBody, NodeId, ReleaseId, Timestamp, WorkloadId,
    aggregate::{
        NodeState, ReleaseState, TenancyRefusal, WorkloadState,
        release::{Phase, Standing},
    },
    event::{EnvironmentCreated, NodeEnrolled, WorkloadHealth, WorkloadPlaced},
};
use sextant_store::{FirstEvent, Loaded, StoreError, Unit, placements::Placement};

use uuid::Uuid;

use crate::app::App;

/// Nodes that are held, so that they do not leave before the transaction ends.
#[derive(Clone, Debug, Default)]
pub struct HeldNodes(BTreeMap<NodeId, NodeEnrolled>);

/// Where new workloads belong, and who places them.
#[derive(Clone, Copy, Debug)]
pub struct Home<'e> {
    /// Which environment.
    pub environment_id: EnvironmentId,
    /// What it is.
    pub environment: &'e EnvironmentCreated,
    /// The release that places them, with its number; none if they are registered by themselves.
    pub release: Option<(ReleaseId, i32)>,
    /// The nodes they go to.
    pub nodes: &'e HeldNodes,
    /// Who places them.
    pub actor: ActorId,
}

/// What was placed.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The workloads.
    pub workloads: Vec<Loaded<WorkloadState>>,
    /// Id of the first event.
    pub first_event_id: i64,
    /// When it happened.
    pub at: Timestamp,
}

impl HeldNodes {
    /// Holds `nodes`. One that has begun to leave is a change made at the same time.
    pub async fn hold(
        unit: &mut Unit,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, StoreError> {
        let mut held = BTreeMap::new();
        let ids: std::collections::BTreeSet<NodeId> = nodes.into_iter().collect();
        for id in ids {
            if !unit.hold(id.0).await? {
                return Err(StoreError::VersionConflict);
            }
            let node = unit.load::<NodeState>(id.0).await?;
            let enrolled = node.state.active().map_err(|_| StoreError::VersionConflict)?;
            held.insert(id, enrolled.clone());
        }
        Ok(Self(held))
    }

    fn get(&self, id: NodeId) -> Result<&NodeEnrolled, StoreError> {
        self.0.get(&id).ok_or(StoreError::VersionConflict)
    }

    /// The node's name.
    pub fn name(&self, id: NodeId) -> Result<&DnsLabel, StoreError> {
        Ok(&self.get(id)?.name)
    }
}

/// Gives new workloads their addresses on nodes that are held. `before` happens first.
///
/// Addresses come first and the events last, in one statement: from its first event on a
/// transaction holds back everybody who follows the log.
pub async fn place(
    app: &App,
    unit: &mut Unit,
    home: Home<'_>,
    spots: Vec<(DnsLabel, NodeId)>,
    before: Option<FirstEvent>,
) -> Result<Placed, StoreError> {
    let mut batch: Vec<FirstEvent> = before.into_iter().collect();
    let ahead = batch.len();
    let mut placements = Vec::with_capacity(spots.len());
    // A statement for each node, whatever number of workloads it takes.
    let mut by_node = BTreeMap::<NodeId, Vec<(usize, DnsLabel, Uuid)>>::new();
    for (position, (process_type, node_id)) in spots.into_iter().enumerate() {
        by_node.entry(node_id).or_default().push((position, process_type, app.id()));
    }
    let mut made = BTreeMap::new();
    for (node_id, spots) in by_node {
        let node = home.nodes.get(node_id)?;
        let block = node.prefix.v6().ok_or(TenancyRefusal::NoWorker).map_err(refused)?;
        let ids: Vec<_> = spots.iter().map(|(_, _, id)| *id).collect();
        let addresses = unit.ipam().await?.allocate_addresses(block, &ids).await?;
        for (position, process_type, id) in spots {
            let address = *addresses.get(&id).ok_or(StoreError::VersionConflict)?;
            made.insert(position, (id, process_type, node_id, node.network_id, address));
        }
    }
    for (id, process_type, node_id, network_id, address) in made.into_values() {
        let body = WorkloadState::place(WorkloadPlaced {
            org_id: home.environment.org_id,
            environment_id: home.environment_id,
            release_id: home.release.map(|(id, _)| id),
            process_type: process_type.clone(),
            network_id,
            node_id,
            address,
        });
        batch.push(FirstEvent { aggregate_id: id, actor: home.actor, body });
        placements.push(Placement {
            workload_id: WorkloadId(id),
            environment_id: home.environment_id,
            release: home.release,
            process_type,
            network_id,
            node_id,
            health: WorkloadHealth::Starting,
        });
    }
    unit.add_placements(&placements).await?;
    let (ids, at) = unit.append_first(&batch).await?;
    let placed = batch.into_iter().zip(&ids).skip(ahead).map(|(event, id)| {
        let mut workload = Loaded::<WorkloadState>::fresh(event.aggregate_id);
        workload.fold(&[event.body], *id, at);
        workload
    });
    let first_event_id = ids.first().copied().unwrap_or_default();
    Ok(Placed { workloads: placed.collect(), first_event_id, at })
}

fn refused(refusal: TenancyRefusal) -> StoreError {
    StoreError::Refused(refusal.into())
}

/// Starts the leave of workloads; nothing happens to one that is leaving or gone. Reads all of them
/// first and then writes all at once, because writing holds back everybody who follows the log.
pub async fn withdraw(
    unit: &mut Unit,
    ids: &[WorkloadId],
    actor: ActorId,
) -> Result<Vec<Loaded<WorkloadState>>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let (mut leaving, mut withdrawn) = (vec![], vec![]);
    for workload in unit.load_all::<WorkloadState>(&ids).await? {
        match workload.state.withdraw()? {
            Some(event) => leaving.push((workload, event)),
            None => withdrawn.push(workload),
        }
    }
    let left: Vec<_> = leaving.iter().map(|(workload, _)| workload.id).collect();
    unit.remove_placements(&left).await?;
    unit.append_next(&mut leaving, actor).await?;
    withdrawn.extend(leaving.into_iter().map(|(workload, _)| workload));
    Ok(withdrawn)
}

/// Starts the leave of every workload on a node that the caller has seized.
pub async fn withdraw_from(
    unit: &mut Unit,
    node: NodeId,
    actor: ActorId,
) -> Result<(), StoreError> {
    let ids = unit.placements_on(node).await?;
    withdraw(unit, &ids, actor).await.map(drop)
}

/// Keeps how a workload is, in an environment that the caller has seized and whose release may now
/// be complete.
pub async fn take_health(
    unit: &mut Unit,
    workload: &mut Loaded<WorkloadState>,
    event: EventBody,
    actor: ActorId,
) -> Result<(), StoreError> {
    let EventBody::WorkloadHealthChanged(changed) = &event else { return Ok(()) };
    unit.set_placement_health(&[WorkloadId(workload.id)], changed.health).await?;
    unit.append(workload, &[event], actor).await
}

/// Lets the newest release that stands complete go live, in an environment that the caller has
/// seized. Older releases give way with their workloads; what was registered by itself is left
/// alone.
pub async fn complete_release(
    unit: &mut Unit,
    environment: EnvironmentId,
    actor: ActorId,
) -> Result<(), StoreError> {
    let open = unit.open_releases(environment).await?;
    let placements = unit.placements_in(environment).await?;
    for (position, candidate) in open.iter().enumerate().rev() {
        let of_candidate = |placement: &&Placement| {
            placement.release.is_some_and(|(id, _)| id == candidate.release_id)
        };
        let own: Vec<_> = placements.iter().filter(of_candidate).collect();
        let healthy = own.iter().filter(|own| own.health == WorkloadHealth::Healthy).count();
        let mut release = unit.load::<ReleaseState>(candidate.release_id.0).await?;
        if release.state.phase() != Phase::Pending {
            return Ok(());
        }
        let processes = &release.state.created()?.processes;
        if Standing::of(processes, own.len(), healthy) != Standing::Complete {
            continue;
        }
        let activated: Vec<_> = release.state.activate()?.into_iter().collect();
        let older: Vec<_> = open[..position].iter().map(|older| older.release_id.0).collect();
        let mut superseded = vec![];
        for older in unit.load_all::<ReleaseState>(&older).await? {
            if let Some(event) = older.state.supersede(candidate.release_id)? {
                superseded.push((older, event));
            }
        }
        unit.close_releases_before(environment, candidate.number).await?;
        unit.append(&mut release, &activated, actor).await?;
        unit.append_next(&mut superseded, actor).await?;
        let outdated = |placement: &&Placement| {
            placement.release.is_some_and(|(_, number)| number < candidate.number)
        };
        let outdated = placements.iter().filter(outdated).map(|placement| placement.workload_id);
        let outdated: Vec<_> = outdated.collect();
        return withdraw(unit, &outdated, actor).await.map(drop);
    }
    Ok(())
}

/// Takes in that the addresses of these workloads are live on `node`: those that were starting are
/// healthy. Returns the last event that was appended; 0 if none.
pub async fn confirm(app: &App, node: NodeId, live: &[WorkloadId]) -> Result<i64, StoreError> {
    let mut last = 0;
    if live.is_empty() {
        return Ok(last);
    }
    let store = app.store.of_nodes();
    for (environment, starting) in store.starting_workloads(node).await? {
        let confirmed: Vec<_> = starting.into_iter().filter(|id| live.contains(id)).collect();
        if confirmed.is_empty() {
            continue;
        }
        let mut unit = store.begin();
        // Its owner may keep an environment busy for long. Other nodes wait for their turn to report
        // meanwhile, so this node says it again with its next report.
        if unit.seize_soon(environment.0).await?.is_none() {
            break;
        }
        let confirmed: Vec<_> = confirmed.into_iter().map(|id| id.0).collect();
        let mut healthy = vec![];
        for workload in unit.load_all::<WorkloadState>(&confirmed).await? {
            if let Some(event) = workload.state.confirm()? {
                healthy.push((workload, event));
            }
        }
        let ids: Vec<_> = healthy.iter().map(|(workload, _)| WorkloadId(workload.id)).collect();
        unit.set_placement_health(&ids, WorkloadHealth::Healthy).await?;
        unit.append_next(&mut healthy, node.into()).await?;
        complete_release(&mut unit, environment, node.into()).await?;
        let event_id = unit.commit().await?;
        if event_id > 0 {
            app.tail.committed();
            last = event_id;
        }
    }
    Ok(last)
}
