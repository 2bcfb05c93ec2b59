//! Orgs, apps and environments that were not deleted.

use sextant_api::{
    page::Page,
    resource::{app::App, environment::Environment, org::Org},
};
use sextant_model::{AppId, EnvironmentId, NetworkId, OrgId, Timestamp};
use uuid::Uuid;

use super::{PageRequest, column};
use crate::{Store, error::StoreError, session::PgConnection};

struct OrgRow {
    org_id: Uuid,
    name: String,
    version: i32,
    created_at: time::OffsetDateTime,
}

struct AppRow {
    app_id: Uuid,
    org_id: Uuid,
    org_name: String,
    name: String,
    version: i32,
    created_at: time::OffsetDateTime,
}

struct EnvironmentRow {
    environment_id: Uuid,
    org_id: Uuid,
    org_name: String,
    app_id: Uuid,
    app_name: String,
    network_id: Uuid,
    name: String,
    version: i32,
    created_at: time::OffsetDateTime,
}

impl TryFrom<OrgRow> for Org {
    type Error = StoreError;

    fn try_from(row: OrgRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: OrgId(row.org_id),
            name: column("orgs", row.name)?,
            version: row.version,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl TryFrom<AppRow> for App {
    type Error = StoreError;

    fn try_from(row: AppRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: AppId(row.app_id),
            org_id: OrgId(row.org_id),
            org_name: column("orgs", row.org_name)?,
            name: column("apps", row.name)?,
            version: row.version,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl TryFrom<EnvironmentRow> for Environment {
    type Error = StoreError;

    fn try_from(row: EnvironmentRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: EnvironmentId(row.environment_id),
            org_id: OrgId(row.org_id),
            org_name: column("orgs", row.org_name)?,
            app_id: AppId(row.app_id),
            app_name: column("apps", row.app_name)?,
            network_id: NetworkId(row.network_id),
            name: column("environments", row.name)?,
            version: row.version,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl Store {
    /// A page of orgs: all, or the one.
    pub async fn orgs(
        &self,
        only: Option<OrgId>,
        page: PageRequest,
    ) -> Result<Page<Org>, StoreError> {
        let rows = sqlx::query_as!(
            OrgRow,
            "SELECT org_id, name, version, created_at FROM orgs
             WHERE org_id > $1 AND NOT deleted AND ($2::uuid IS NULL OR org_id = $2)
             ORDER BY org_id LIMIT $3",
            page.after(),
            only.map(|org| org.0),
            page.fetch()
        )
        .fetch_all(&self.pool)
        .await?;
        let orgs: Result<Vec<_>, _> = rows.into_iter().map(Org::try_from).collect();
        Ok(page.page(orgs?, |org| org.id.0))
    }

    /// One org.
    pub async fn org(&self, id: OrgId) -> Result<Option<Org>, StoreError> {
        org(&mut *self.pool.acquire().await?, id).await
    }

    /// A page of apps: all, or those of one org.
    pub async fn apps(
        &self,
        org: Option<OrgId>,
        page: PageRequest,
    ) -> Result<Page<App>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let apps = apps(&mut connection, org, page.after(), page.fetch()).await?;
        Ok(page.page(apps, |app| app.id.0))
    }

    /// One app.
    pub async fn app(&self, id: AppId) -> Result<Option<App>, StoreError> {
        let row = sqlx::query_as!(
            AppRow,
            "SELECT a.app_id, a.org_id, o.name AS org_name, a.name, a.version, a.created_at
             FROM apps a JOIN orgs o USING (org_id) WHERE a.app_id = $1 AND NOT a.deleted",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(App::try_from).transpose()
    }

    /// A page of environments: all, those of one org, those of one app.
    pub async fn environments(
        &self,
        org: Option<OrgId>,
        app: Option<AppId>,
        page: PageRequest,
    ) -> Result<Page<Environment>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let found = environments(&mut connection, org, app, page.after(), page.fetch()).await?;
        Ok(page.page(found, |environment| environment.id.0))
    }

    /// One environment.
    pub async fn environment(&self, id: EnvironmentId) -> Result<Option<Environment>, StoreError> {
        let row = sqlx::query_as!(
            EnvironmentRow,
            "SELECT e.environment_id, e.org_id, o.name AS org_name, e.app_id, a.name AS app_name,
                    e.network_id, e.name, e.version, e.created_at
             FROM environments e JOIN apps a USING (app_id) JOIN orgs o ON o.org_id = e.org_id
             WHERE e.environment_id = $1 AND NOT e.deleted",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Environment::try_from).transpose()
    }

    /// How people name an environment, deleted or not: `ORG/APP/ENVIRONMENT`.
    pub async fn environment_path(&self, id: EnvironmentId) -> Result<Option<String>, StoreError> {
        let path = sqlx::query_scalar!(
            r#"SELECT path AS "path!" FROM environment_paths WHERE environment_id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(path)
    }
}

pub(super) async fn org(
    connection: &mut PgConnection,
    id: OrgId,
) -> Result<Option<Org>, StoreError> {
    let row = sqlx::query_as!(
        OrgRow,
        "SELECT org_id, name, version, created_at FROM orgs WHERE org_id = $1 AND NOT deleted",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(Org::try_from).transpose()
}

pub(super) async fn apps(
    connection: &mut PgConnection,
    org: Option<OrgId>,
    after: Uuid,
    limit: i64,
) -> Result<Vec<App>, StoreError> {
    let rows = sqlx::query_as!(
        AppRow,
        "SELECT a.app_id, a.org_id, o.name AS org_name, a.name, a.version, a.created_at
         FROM apps a JOIN orgs o USING (org_id)
         WHERE a.app_id > $1 AND NOT a.deleted AND ($2::uuid IS NULL OR a.org_id = $2)
         ORDER BY a.app_id LIMIT $3",
        after,
        org.map(|org| org.0),
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(App::try_from).collect()
}

pub(super) async fn environments(
    connection: &mut PgConnection,
    org: Option<OrgId>,
    app: Option<AppId>,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Environment>, StoreError> {
    let rows = sqlx::query_as!(
        EnvironmentRow,
        "SELECT e.environment_id, e.org_id, o.name AS org_name, e.app_id, a.name AS app_name,
                e.network_id, e.name, e.version, e.created_at
         FROM environments e JOIN apps a USING (app_id) JOIN orgs o ON o.org_id = e.org_id
         WHERE e.environment_id > $1 AND NOT e.deleted
           AND ($2::uuid IS NULL OR e.org_id = $2) AND ($3::uuid IS NULL OR e.app_id = $3)
         ORDER BY e.environment_id LIMIT $4",
        after,
        org.map(|org| org.0),
        app.map(|app| app.0),
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Environment::try_from).collect()
}
