//! Workloads: `/v1/environments/{environment_id}/workloads` and `/v1/workloads`.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::workload::{HealthReport, NewWorkload, Workload, WorkloadStatus},
};
use sextant_model::{
    AggregateKind, EnvironmentId, NodeId, OrgId, Refusal, WorkloadId,
    aggregate::{EnvironmentState, NodeState, TenancyRefusal, WorkloadState, workload::Phase},
    event::WorkloadPlaced,
    placement::Workers,
    quota::Quota,
};
use sextant_store::{Loaded, Unit, read::WorkloadFilter};

use super::{environments, tagged};
use crate::{
    app::App,
    auth::{OrgAdmin, OrgAdminOrNode, OrgReader, Principal, Scope},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, IfMatch, Json, ListQuery, Path, Query},
    workloads::{HeldNodes, Home, complete_release, place, take_health, withdraw},
};

/// Which workloads, and which part of their list.
#[derive(Clone, Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WorkloadQuery {
    /// Those of this org.
    pub org_id: Option<OrgId>,
    /// Those in this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Those on this node.
    pub node_id: Option<NodeId>,
    /// `next_after` of the page before.
    #[param(max_length = 64)]
    pub after: Option<String>,
    /// Most items, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Registers one workload by itself: no release replaces it.
#[utoipa::path(post, path = "/v1/environments/{environment_id}/workloads", tag = "workloads",
    request_body = NewWorkload,
    params(("environment_id" = EnvironmentId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    responses((status = 201, body = Workload), (status = 202, body = Workload),
        (status = "4XX", body = Problem), (status = 503, body = Problem),
        (status = 507, body = Problem, description = "the node's prefix has no free address")))]
pub async fn register(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(environment_id): Path<EnvironmentId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewWorkload>,
) -> Result<Response, ApiError> {
    let operation = format!("POST /v1/environments/{environment_id}/workloads");
    let mut command = match Command::begin(&app, who.actor(), key, &operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    let environment = environments::owned(&mut command.unit, scope, environment_id).await?;
    let created = environment.state.live()?;
    if !command.unit.hold(environment_id.0).await? {
        return Err(Refusal::NotFound(AggregateKind::Environment).into());
    }
    command.unit.within_share(created.org_id, Quota::Workloads, 1).await?;
    let mut workers = command.unit.workers(created.network_id, environment_id, false).await?;
    let refusal = match new.node_id {
        None => TenancyRefusal::NoWorker,
        Some(wanted) => {
            workers.retain(|node, _| *node == wanted);
            TenancyRefusal::NodeUnfit
        }
    };
    let node = Workers::new(workers, app.now()).place(&new.process_type);
    let node = node.ok_or(Refusal::Tenancy(refusal))?;
    let nodes = HeldNodes::hold(&mut command.unit, [node]).await?;
    let path = environments::path(&mut command.unit, created).await?;
    let (actor, environment) = (who.actor(), created);
    let home = Home { environment_id, environment, release: None, nodes: &nodes, actor };
    let spots = vec![(new.process_type, node)];
    let placed = place(&app, &mut command.unit, home, spots, None).await?;
    let [workload] = placed.workloads.as_slice() else {
        return Err(ApiError::Internal("one workload was to be placed".into()));
    };
    let resource = resource(workload, &path, &nodes)?;
    command.finish(Answer::created(&resource)?.version(workload.version)).await
}

/// Lists workloads that have not been released.
#[utoipa::path(get, path = "/v1/workloads", tag = "workloads", params(WorkloadQuery),
    responses((status = 200, body = Page<Workload>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Query(query): Query<WorkloadQuery>,
) -> Result<Answered<Page<Workload>>, ApiError> {
    let filter = WorkloadFilter {
        org: scope.limit(query.org_id)?,
        environment: query.environment_id,
        node: query.node_id,
    };
    let page = ListQuery { after: query.after, limit: query.limit }.page()?;
    Ok(Answered(app.store.workloads(filter, page).await?))
}

/// Reads a workload, released or not.
#[utoipa::path(get, path = "/v1/workloads/{workload_id}", tag = "workloads",
    params(("workload_id" = WorkloadId, Path)),
    responses((status = 200, body = Workload), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<WorkloadId>,
) -> Result<Response, ApiError> {
    let workload = app.store.workload(id).await?;
    let workload = workload.ok_or(Refusal::NotFound(AggregateKind::Workload))?;
    scope.check(workload.org_id, AggregateKind::Workload)?;
    Ok(tagged(workload.version, workload))
}

/// Starts the workload's leave: edges send it nothing new, its node drops its address, which is
/// released when they have all acknowledged.
#[utoipa::path(delete, path = "/v1/workloads/{workload_id}", tag = "workloads",
    params(("workload_id" = WorkloadId, Path),
        ("If-Match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 200, body = Workload), (status = 202, body = Workload),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn remove(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(id): Path<WorkloadId>,
    if_match: IfMatch,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let found = command.unit.load::<WorkloadState>(id.0).await?;
    let placed = found.state.placed()?.clone();
    scope.check(placed.org_id, AggregateKind::Workload)?;
    command.unit.seize(placed.environment_id.0).await?;
    let current = command.unit.load::<WorkloadState>(id.0).await?;
    if_match.check(current.version)?;
    let withdrawn = withdraw(&mut command.unit, &[id], who.actor()).await?;
    let workload = withdrawn.first().unwrap_or(&current);
    let resource = read_resource(&mut command.unit, workload, &placed).await?;
    command.finish(Answer::ok(&resource)?.version(workload.version)).await
}

/// Says how a workload is: its owner, or the node it runs on. What is said stands until the
/// contrary is.
#[utoipa::path(put, path = "/v1/workloads/{workload_id}/health", tag = "workloads",
    params(("workload_id" = WorkloadId, Path)), request_body = HealthReport,
    responses((status = 200, body = Workload), (status = 202, body = Workload),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub async fn set_health(
    State(app): State<App>,
    OrgAdminOrNode(who): OrgAdminOrNode,
    Path(id): Path<WorkloadId>,
    Json(report): Json<HealthReport>,
) -> Result<Response, ApiError> {
    let mut command = Command::begin_plain(&app, who.actor());
    let found = command.unit.load::<WorkloadState>(id.0).await?;
    let placed = found.state.placed()?.clone();
    check_reporter(who, &placed)?;
    command.unit.seize(placed.environment_id.0).await?;
    let mut workload = command.unit.load::<WorkloadState>(id.0).await?;
    if let Some(event) = workload.state.report(report.health.into())? {
        take_health(&mut command.unit, &mut workload, event, who.actor()).await?;
        complete_release(&mut command.unit, placed.environment_id, who.actor()).await?;
    }
    let resource = read_resource(&mut command.unit, &workload, &placed).await?;
    command.finish(Answer::ok(&resource)?.version(workload.version)).await
}

/// To everybody else the workload does not exist.
fn check_reporter(who: Principal, placed: &WorkloadPlaced) -> Result<(), Refusal> {
    let missing = Err(Refusal::NotFound(AggregateKind::Workload));
    match who {
        Principal::Operator { org: None, .. } => Ok(()),
        Principal::Operator { org: Some(org), .. } => {
            Scope::Org(org).check(placed.org_id, AggregateKind::Workload)
        }
        Principal::Node { node_id, .. } if node_id == placed.node_id => Ok(()),
        Principal::Node { .. } => missing,
    }
}

async fn read_resource(
    unit: &mut Unit,
    workload: &Loaded<WorkloadState>,
    placed: &WorkloadPlaced,
) -> Result<Workload, ApiError> {
    let environment = unit.load::<EnvironmentState>(placed.environment_id.0).await?;
    let path = environments::path(unit, environment.state.created()?).await?;
    let node = unit.load::<NodeState>(placed.node_id.0).await?;
    assemble(workload, path, node.state.enrolled()?.name.clone())
}

/// A workload that was placed just now, as the API shows it.
pub(super) fn resource(
    workload: &Loaded<WorkloadState>,
    path: &str,
    nodes: &HeldNodes,
) -> Result<Workload, ApiError> {
    let node = workload.state.placed()?.node_id;
    assemble(workload, path.to_owned(), nodes.name(node)?.clone())
}

fn assemble(
    workload: &Loaded<WorkloadState>,
    environment: String,
    node_name: sextant_model::DnsLabel,
) -> Result<Workload, ApiError> {
    let placed = workload.state.placed()?;
    let missing = || Refusal::NotFound(AggregateKind::Workload);
    Ok(Workload {
        id: WorkloadId(workload.id),
        org_id: placed.org_id,
        environment_id: placed.environment_id,
        environment,
        release_id: placed.release_id,
        process_type: placed.process_type.clone(),
        network_id: placed.network_id,
        node_id: placed.node_id,
        node_name,
        address: placed.address,
        status: match workload.state.phase() {
            Phase::Placed(health) => health.into(),
            Phase::Withdrawn => WorkloadStatus::Withdrawn,
            Phase::Released | Phase::Unknown => WorkloadStatus::Released,
        },
        version: workload.version,
        placed_at: workload.created_at.ok_or_else(missing)?,
        placed_event_id: workload.first_event_id.ok_or_else(missing)?,
    })
}
