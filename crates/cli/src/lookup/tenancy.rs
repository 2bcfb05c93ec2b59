//! Orgs, apps, environments and what runs in them.

use sextant_api::{
    Client,
    client::{EnvironmentQuery, WorkloadQuery},
    resource::{
        app::App, environment::Environment, org::Org, release::Release, workload::Workload,
    },
};
use sextant_model::{AppId, EnvironmentId, OrgId};

use super::{all, one, page};
use crate::{
    exit::Failure,
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

/// The org with this id or name.
pub async fn org_id(client: &Client, wanted: &OrgRef) -> Result<OrgId, Failure> {
    let name = match wanted {
        OrgRef::Id(id) => return Ok(*id),
        OrgRef::Name(name) => name,
    };
    let orgs = orgs(client).await?;
    let named = orgs.iter().filter(|org| org.name == *name);
    one("org", name.as_str(), named.map(|org| (org.id, org.id.to_string())).collect())
}

/// The app at this path.
pub async fn app_at(client: &Client, path: &AppPath) -> Result<AppId, Failure> {
    let org = org_id(client, &OrgRef::Name(path.org.clone())).await?;
    let apps = apps(client, Some(org)).await?;
    let named = apps.iter().filter(|app| app.name == path.app);
    one("app", &path.to_string(), named.map(|app| (app.id, app.id.to_string())).collect())
}

/// The app with this id or path.
pub async fn app_id(client: &Client, wanted: &AppRef) -> Result<AppId, Failure> {
    match wanted {
        AppRef::Id(id) => Ok(*id),
        AppRef::Path(path) => app_at(client, path).await,
    }
}

/// The environment with this id or path.
pub async fn environment_id(
    client: &Client,
    wanted: &EnvironmentRef,
) -> Result<EnvironmentId, Failure> {
    let path = match wanted {
        EnvironmentRef::Id(id) => return Ok(*id),
        EnvironmentRef::Path(path) => path,
    };
    let app = app_at(client, &path.app).await?;
    let environments = environments(client, None, Some(app)).await?;
    let named = environments.iter().filter(|found| found.name == path.environment);
    let candidates = named.map(|found| (found.id, found.id.to_string())).collect();
    one("environment", &path.to_string(), candidates)
}
