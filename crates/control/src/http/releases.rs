//! Releases: `/v1/environments/{environment_id}/releases` and `/v1/releases`.

use axum::{Json as Answered, extract::State, response::Response};
use sextant_api::{
    Problem,
    page::Page,
    resource::{
        release::{NewRelease, Release, ReleaseStatus},
        workload::Workload,
    },
};
use sextant_model::{
    AggregateKind, EnvironmentId, Refusal, ReleaseId,
    aggregate::{ReleaseState, TenancyRefusal, release::Phase},
    event::ReleaseCreated,
    placement::Workers,
    quota::{self, Quota},
};
use sextant_store::{FirstEvent, Loaded};

use super::{environments, tagged, workloads};
use crate::{
    app::App,
    auth::{OrgAdmin, OrgReader},
    command::{Answer, Begun, Command},
    error::ApiError,
    extract::{IdempotencyKey, Json, ListQuery, Path, Query},
    workloads::{HeldNodes, Home, place},
};

/// Deploys: places a workload for every instance of every process type. The release goes live when
/// all of them are healthy; then older releases give way with their workloads.
#[utoipa::path(post, path = "/v1/environments/{environment_id}/releases", tag = "workloads",
    request_body = NewRelease,
    params(("environment_id" = EnvironmentId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "makes a repeat harmless")),
    responses((status = 201, body = Release), (status = 202, body = Release),
        (status = "4XX", body = Problem), (status = 503, body = Problem),
        (status = 507, body = Problem, description = "a node's prefix has no free address")))]
pub async fn deploy(
    State(app): State<App>,
    OrgAdmin(who, scope): OrgAdmin,
    Path(environment_id): Path<EnvironmentId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewRelease>,
) -> Result<Response, ApiError> {
    let wanted: u64 = new.processes.iter().map(|process| u64::from(process.instances)).sum();
    app.count_events(scope, wanted).await?;
    let operation = format!("POST /v1/environments/{environment_id}/releases");
    let mut command = match Command::begin(&app, who.actor(), key, &operation, &new).await? {
        Begun::Fresh(command) => command,
        Begun::Replayed(response) => return Ok(response),
    };
    let environment = environments::owned(&mut command.unit, scope, environment_id).await?;
    let created = environment.state.live()?;
    if !command.unit.seize(environment_id.0).await? {
        return Err(Refusal::NotFound(AggregateKind::Environment).into());
    }
    let unit = &mut command.unit;
    let most = unit.limit(created.org_id, Quota::WorkloadsPerDeploy).await?;
    quota::check(Quota::WorkloadsPerDeploy, most, 0, wanted).map_err(Refusal::from)?;
    unit.within_share(created.org_id, Quota::Releases, 1).await?;
    unit.within_share(created.org_id, Quota::Workloads, wanted).await?;
    let id = ReleaseId(app.id());
    let number = unit.number_release(environment_id, id).await?;
    let event = ReleaseState::create(ReleaseCreated {
        org_id: created.org_id,
        environment_id,
        number,
        processes: new.processes.clone(),
    })?;
    let workers = command.unit.workers(created.network_id, environment_id, true).await?;
    let placed = Workers::new(workers, app.now()).place_all(&new.processes);
    let placed = placed.ok_or(Refusal::Tenancy(TenancyRefusal::NoWorker))?;
    let nodes = HeldNodes::hold(&mut command.unit, placed.iter().map(|(_, node)| *node)).await?;
    let path = environments::path(&mut command.unit, created).await?;
    let home = Home {
        environment_id,
        environment: created,
        release: Some((id, number)),
        nodes: &nodes,
        actor: who.actor(),
    };
    let before = FirstEvent { aggregate_id: id.0, actor: who.actor(), body: event.clone() };
    let placed = place(&app, &mut command.unit, home, placed, Some(before)).await?;
    let mut release = Loaded::<ReleaseState>::fresh(id.0);
    release.fold(&[event], placed.first_event_id, placed.at);
    let shown = placed.workloads.iter().map(|placed| workloads::resource(placed, &path, &nodes));
    let shown = shown.collect::<Result<Vec<_>, _>>()?;
    let answer = Answer::created(&resource(&release, path, shown)?)?.version(release.version);
    command.finish(answer).await
}

/// Lists the releases of an environment, oldest first, without their workloads.
#[utoipa::path(get, path = "/v1/environments/{environment_id}/releases", tag = "workloads",
    params(("environment_id" = EnvironmentId, Path), ListQuery),
    responses((status = 200, body = Page<Release>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(environment_id): Path<EnvironmentId>,
    Query(query): Query<ListQuery>,
) -> Result<Answered<Page<Release>>, ApiError> {
    environments::known(&app, scope, environment_id).await?;
    Ok(Answered(app.store.releases(environment_id, query.page()?).await?))
}

/// Reads a release with its workloads.
#[utoipa::path(get, path = "/v1/releases/{release_id}", tag = "workloads",
    params(("release_id" = ReleaseId, Path)),
    responses((status = 200, body = Release), (status = "4XX", body = Problem)))]
pub async fn read(
    State(app): State<App>,
    OrgReader(_, scope): OrgReader,
    Path(id): Path<ReleaseId>,
) -> Result<Response, ApiError> {
    let release = app.store.release(id).await?.ok_or(Refusal::NotFound(AggregateKind::Release))?;
    scope.check(release.org_id, AggregateKind::Release)?;
    Ok(tagged(release.version, release))
}

fn resource(
    release: &Loaded<ReleaseState>,
    environment: String,
    workloads: Vec<Workload>,
) -> Result<Release, ApiError> {
    let created = release.state.created()?;
    Ok(Release {
        id: ReleaseId(release.id),
        org_id: created.org_id,
        environment_id: created.environment_id,
        environment,
        number: created.number,
        processes: created.processes.clone(),
        status: match release.state.phase() {
            Phase::Pending => ReleaseStatus::Pending,
            Phase::Live => ReleaseStatus::Live,
            Phase::Superseded => ReleaseStatus::Superseded,
        },
        superseded_by: release.state.superseded_by(),
        healthy: 0,
        workloads,
        version: release.version,
        created_at: release.created_at.ok_or(Refusal::NotFound(AggregateKind::Release))?,
    })
}
