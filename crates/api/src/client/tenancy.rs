//! Orgs, apps, environments, releases and workloads.

use sextant_model::{AppId, EnvironmentId, NodeId, OrgId, ReleaseId, WorkloadId};

use super::{Call, Client, ClientError, PageQuery, Tagged};
use crate::{
    page::Page,
    resource::{
        app::{App, NewApp},
        environment::{Environment, NewEnvironment},
        org::{NewOrg, NewOrgQuotas, Org, OrgQuotas},
        release::{NewRelease, Release},
        workload::{HealthReport, NewWorkload, Workload},
    },
};

type Answer<T> = Result<T, ClientError>;

/// Which environments to list.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentQuery {
    /// Those of this org.
    pub org_id: Option<OrgId>,
    /// Those of this app.
    pub app_id: Option<AppId>,
    /// Which part of the list.
    pub page: PageQuery,
}

/// Which workloads to list.
#[derive(Clone, Debug, Default)]
pub struct WorkloadQuery {
    /// Those of this org.
    pub org_id: Option<OrgId>,
    /// Those in this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Those on this node.
    pub node_id: Option<NodeId>,
    /// Which part of the list.
    pub page: PageQuery,
}

/// `path` with the filters that are set, and the part of the list.
fn filtered(path: &str, filters: &[(&str, Option<uuid::Uuid>)], page: &PageQuery) -> String {
    let mut path = page.path(path);
    for (name, value) in filters {
        if let Some(value) = value {
            let separator = if path.ends_with('?') { "" } else { "&" };
            path = format!("{path}{separator}{name}={value}");
        }
    }
    path
}

impl Client {
    /// `POST /v1/orgs`.
    pub async fn create_org(&self, new: &NewOrg, key: Option<&str>) -> Answer<Tagged<Org>> {
        let call = Call::new(http::Method::POST, "/v1/orgs");
        self.send(call.body(new).idempotency_key(key)).await
    }

    /// `GET /v1/orgs`.
    pub async fn orgs(&self, query: &PageQuery) -> Answer<Page<Org>> {
        Ok(self.send(Call::get(query.path("/v1/orgs"))).await?.value)
    }

    /// `GET /v1/orgs/{id}`.
    pub async fn org(&self, id: OrgId) -> Answer<Tagged<Org>> {
        self.send(Call::get(format!("/v1/orgs/{id}"))).await
    }

    /// `GET /v1/orgs/{id}/quotas`.
    pub async fn org_quotas(&self, id: OrgId) -> Answer<OrgQuotas> {
        Ok(self.send(Call::get(format!("/v1/orgs/{id}/quotas"))).await?.value)
    }

    /// `PUT /v1/orgs/{id}/quotas`.
    pub async fn set_org_quotas(&self, id: OrgId, new: &NewOrgQuotas) -> Answer<OrgQuotas> {
        let call = Call::new(http::Method::PUT, format!("/v1/orgs/{id}/quotas"));
        Ok(self.send(call.body(new)).await?.value)
    }

    /// `DELETE /v1/orgs/{id}`.
    pub async fn delete_org(&self, id: OrgId, etag: Option<&str>) -> Answer<()> {
        let call = Call::new(http::Method::DELETE, format!("/v1/orgs/{id}"));
        self.send_empty(call.if_match(etag)).await
    }

    /// `POST /v1/apps`.
    pub async fn create_app(&self, new: &NewApp, key: Option<&str>) -> Answer<Tagged<App>> {
        let call = Call::new(http::Method::POST, "/v1/apps");
        self.send(call.body(new).idempotency_key(key)).await
    }

    /// `GET /v1/apps`: all, or those of one org.
    pub async fn apps(&self, org: Option<OrgId>, query: &PageQuery) -> Answer<Page<App>> {
        let path = filtered("/v1/apps", &[("org_id", org.map(Into::into))], query);
        Ok(self.send(Call::get(path)).await?.value)
    }

    /// `GET /v1/apps/{id}`.
    pub async fn app(&self, id: AppId) -> Answer<Tagged<App>> {
        self.send(Call::get(format!("/v1/apps/{id}"))).await
    }

    /// `DELETE /v1/apps/{id}`.
    pub async fn delete_app(&self, id: AppId, etag: Option<&str>) -> Answer<()> {
        let call = Call::new(http::Method::DELETE, format!("/v1/apps/{id}"));
        self.send_empty(call.if_match(etag)).await
    }

    /// `POST /v1/environments`.
    pub async fn create_environment(
        &self,
        new: &NewEnvironment,
        key: Option<&str>,
    ) -> Answer<Tagged<Environment>> {
        let call = Call::new(http::Method::POST, "/v1/environments");
        self.send(call.body(new).idempotency_key(key)).await
    }

    /// `GET /v1/environments`.
    pub async fn environments(&self, query: &EnvironmentQuery) -> Answer<Page<Environment>> {
        let filters =
            [("org_id", query.org_id.map(Into::into)), ("app_id", query.app_id.map(Into::into))];
        let path = filtered("/v1/environments", &filters, &query.page);
        Ok(self.send(Call::get(path)).await?.value)
    }

    /// `GET /v1/environments/{id}`.
    pub async fn environment(&self, id: EnvironmentId) -> Answer<Tagged<Environment>> {
        self.send(Call::get(format!("/v1/environments/{id}"))).await
    }

    /// `DELETE /v1/environments/{id}`.
    pub async fn delete_environment(&self, id: EnvironmentId, etag: Option<&str>) -> Answer<()> {
        let call = Call::new(http::Method::DELETE, format!("/v1/environments/{id}"));
        self.send_empty(call.if_match(etag)).await
    }

    /// `POST /v1/environments/{id}/releases`: deploys; answers the release with its workloads.
    pub async fn deploy(
        &self,
        environment: EnvironmentId,
        new: &NewRelease,
        key: Option<&str>,
    ) -> Answer<Release> {
        let path = format!("/v1/environments/{environment}/releases");
        let call = Call::new(http::Method::POST, path);
        Ok(self.send(call.body(new).idempotency_key(key)).await?.value)
    }

    /// `GET /v1/environments/{id}/releases`: oldest first, without their workloads.
    pub async fn releases(
        &self,
        environment: EnvironmentId,
        query: &PageQuery,
    ) -> Answer<Page<Release>> {
        let path = query.path(&format!("/v1/environments/{environment}/releases"));
        Ok(self.send(Call::get(path)).await?.value)
    }

    /// `GET /v1/releases/{id}`: with its workloads.
    pub async fn release(&self, id: ReleaseId) -> Answer<Release> {
        Ok(self.send(Call::get(format!("/v1/releases/{id}"))).await?.value)
    }

    /// `POST /v1/environments/{id}/workloads`: registers one by itself.
    pub async fn register_workload(
        &self,
        environment: EnvironmentId,
        new: &NewWorkload,
        key: Option<&str>,
    ) -> Answer<Tagged<Workload>> {
        let path = format!("/v1/environments/{environment}/workloads");
        let call = Call::new(http::Method::POST, path);
        self.send(call.body(new).idempotency_key(key)).await
    }

    /// `GET /v1/workloads`: those that have not been released.
    pub async fn workloads(&self, query: &WorkloadQuery) -> Answer<Page<Workload>> {
        let filters = [
            ("org_id", query.org_id.map(Into::into)),
            ("environment_id", query.environment_id.map(Into::into)),
            ("node_id", query.node_id.map(Into::into)),
        ];
        let path = filtered("/v1/workloads", &filters, &query.page);
        Ok(self.send(Call::get(path)).await?.value)
    }

    /// `GET /v1/workloads/{id}`.
    pub async fn workload(&self, id: WorkloadId) -> Answer<Tagged<Workload>> {
        self.send(Call::get(format!("/v1/workloads/{id}"))).await
    }

    /// `DELETE /v1/workloads/{id}`: starts its leave; answers the workload, withdrawn.
    pub async fn remove_workload(&self, id: WorkloadId, etag: Option<&str>) -> Answer<Workload> {
        let call = Call::new(http::Method::DELETE, format!("/v1/workloads/{id}"));
        Ok(self.send(call.if_match(etag)).await?.value)
    }

    /// `PUT /v1/workloads/{id}/health`.
    pub async fn set_workload_health(
        &self,
        id: WorkloadId,
        report: HealthReport,
    ) -> Answer<Workload> {
        let path = format!("/v1/workloads/{id}/health");
        let call = Call::new(http::Method::PUT, path).repeatable();
        Ok(self.send(call.body(&report)).await?.value)
    }
}
