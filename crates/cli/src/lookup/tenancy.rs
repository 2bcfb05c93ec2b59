//! Orgs, apps, environments and what runs in them.

use sextant_api::{
    Client,
    client::{EnvironmentQuery, WorkloadQuery},
    resource::{
        app::App, environment::Environment, org::Org, release::Release, workload::Workload,
    },
};
use sextant_model::{AppId, EnvironmentId, OrgId, WorkloadId};

use super::{Candidate, Kind, all, find, id, page};
use crate::{
    exit::Failure,
    named::Named,
    path::{AppPath, AppRef, EnvironmentRef, OrgRef},
};

/// Every org that may be seen.
pub async fn orgs(client: &Client) -> Result<Vec<Org>, Failure> {
    all(async |after| client.orgs(&page(after)).await).await
}

/// Every app, or those of one org.
pub async fn apps(client: &Client, org: Option<OrgId>) -> Result<Vec<App>, Failure> {
    all(async |after| client.apps(org, &page(after)).await).await
}

/// Every environment, or those of one org or app.
pub async fn environments(
    client: &Client,
    org_id: Option<OrgId>,
    app_id: Option<AppId>,
) -> Result<Vec<Environment>, Failure> {
    let query = |after| EnvironmentQuery { org_id, app_id, page: page(after) };
    all(async |after| client.environments(&query(after)).await).await
}

/// Every workload that has not been released, as `query` filters them.
pub async fn workloads(client: &Client, query: WorkloadQuery) -> Result<Vec<Workload>, Failure> {
    let query = |after| WorkloadQuery { page: page(after), ..query.clone() };
    all(async |after| client.workloads(&query(after)).await).await
}

/// The releases of an environment, oldest first.
pub async fn releases(client: &Client, id: EnvironmentId) -> Result<Vec<Release>, Failure> {
    all(async |after| client.releases(id, &page(after)).await).await
}

const ORG: Kind = Kind { noun: "org", given: "its name or id", list: "sextant org list" };
const APP: Kind = Kind { noun: "app", given: "ORG/APP or its id", list: "sextant app list" };
const ENVIRONMENT: Kind = Kind {
    noun: "environment",
    given: "ORG/APP/ENVIRONMENT or its id",
    list: "sextant environment list",
};
const WORKLOAD: Kind = Kind { noun: "workload", given: "its id", list: "sextant workload list" };

/// The org with this name or id.
pub async fn org_id(client: &Client, wanted: &OrgRef) -> Result<OrgId, Failure> {
    let name = match wanted {
        OrgRef::Id(id) => return Ok(*id),
        OrgRef::Name(name) => name,
    };
    let orgs = orgs(client).await?;
    let candidates =
        orgs.iter().map(|org| Candidate::new(org.id, org.id.0, org.name == *name, &org.name));
    find(ORG, name.as_str(), candidates)
}

/// The app at this path.
pub async fn app_at(client: &Client, path: &AppPath) -> Result<AppId, Failure> {
    let org = org_id(client, &OrgRef::Name(path.org.clone())).await?;
    let apps = apps(client, Some(org)).await?;
    let candidates =
        apps.iter().map(|app| Candidate::new(app.id, app.id.0, app.name == path.app, path));
    find(APP, &path.to_string(), candidates)
}

/// The app with this path or id.
pub async fn app_id(client: &Client, wanted: &AppRef) -> Result<AppId, Failure> {
    match wanted {
        AppRef::Id(id) => Ok(*id),
        AppRef::Path(path) => app_at(client, path).await,
        AppRef::IdBeginning(text) => {
            let apps = apps(client, None).await?;
            find(
                APP,
                text,
                apps.iter().map(|app| Candidate::new(app.id, app.id.0, false, app.name())),
            )
        }
    }
}

/// The environment with this path or id.
pub async fn environment_id(
    client: &Client,
    wanted: &EnvironmentRef,
) -> Result<EnvironmentId, Failure> {
    match wanted {
        EnvironmentRef::Id(id) => Ok(*id),
        EnvironmentRef::Path(path) => {
            let app = app_at(client, &path.app).await?;
            let found = environments(client, None, Some(app)).await?;
            let candidates = found.iter().map(|found| {
                Candidate::new(found.id, found.id.0, found.name == path.environment, path)
            });
            find(ENVIRONMENT, &path.to_string(), candidates)
        }
        EnvironmentRef::IdBeginning(text) => {
            let found = environments(client, None, None).await?;
            let candidates =
                found.iter().map(|found| Candidate::new(found.id, found.id.0, false, found.path()));
            find(ENVIRONMENT, text, candidates)
        }
    }
}

/// The workload with this id.
pub async fn workload_id(client: &Client, wanted: &str) -> Result<WorkloadId, Failure> {
    if let Some(id) = id(wanted) {
        return Ok(WorkloadId(id));
    }
    let found = workloads(client, WorkloadQuery::default()).await?;
    let candidates = found.iter().map(|one| {
        let shown = format!("{} of {} on {}", one.process_type, one.environment, one.node_name);
        Candidate::new(one.id, one.id.0, false, shown)
    });
    find(WORKLOAD, wanted, candidates)
}
