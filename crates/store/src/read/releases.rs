//! Releases, whatever became of them.

use sextant_api::{
    page::Page,
    resource::release::{Release, ReleaseStatus},
};
use sextant_model::{
    EnvironmentId, OrgId, ReleaseId, Timestamp, aggregate::release::Standing, event::ProcessSpec,
};
use uuid::Uuid;

use super::{PageRequest, column};
use crate::{Store, error::StoreError, session::PgConnection};

struct Row {
    release_id: Uuid,
    org_id: Uuid,
    environment_id: Uuid,
    environment: String,
    number: i32,
    processes: serde_json::Value,
    phase: String,
    superseded_by: Option<Uuid>,
    healthy: i64,
    placed: i64,
    version: i32,
    created_at: time::OffsetDateTime,
}

impl TryFrom<Row> for Release {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let processes: Vec<ProcessSpec> =
            serde_json::from_value(row.processes).map_err(|error| StoreError::Inconsistent {
                table: "releases",
                reason: error.to_string(),
            })?;
        let count = |of: i64| usize::try_from(of).unwrap_or(usize::MAX);
        let status = match column("releases", row.phase)? {
            ReleaseStatus::Pending
                if Standing::of(&processes, count(row.placed), count(row.healthy))
                    == Standing::Incomplete =>
            {
                ReleaseStatus::Incomplete
            }
            status => status,
        };
        Ok(Self {
            id: ReleaseId(row.release_id),
            org_id: OrgId(row.org_id),
            environment_id: EnvironmentId(row.environment_id),
            environment: row.environment,
            number: row.number,
            processes,
            status,
            superseded_by: row.superseded_by.map(ReleaseId),
            healthy: u32::try_from(row.healthy).unwrap_or(u32::MAX),
            workloads: Vec::new(),
            version: row.version,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl Store {
    /// A page of the releases of an environment, oldest first, without their workloads.
    pub async fn releases(
        &self,
        environment: EnvironmentId,
        page: PageRequest,
    ) -> Result<Page<Release>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT r.release_id, r.org_id, r.environment_id, p.path AS "environment!", r.number,
                      r.processes, r.phase, r.superseded_by, r.version, r.created_at,
                      (SELECT count(*) FROM workloads w
                       WHERE w.release_id = r.release_id AND w.phase = 'healthy') AS "healthy!",
                      (SELECT count(*) FROM workloads w WHERE w.release_id = r.release_id
                       AND w.phase NOT IN ('withdrawn', 'released')) AS "placed!"
               FROM releases r JOIN environment_paths p USING (environment_id)
               WHERE r.environment_id = $1 AND r.release_id > $2 ORDER BY r.release_id LIMIT $3"#,
            environment.0,
            page.after(),
            page.fetch()
        )
        .fetch_all(&self.pool)
        .await?;
        let releases: Result<Vec<_>, _> = rows.into_iter().map(Release::try_from).collect();
        Ok(page.page(releases?, |release| release.id.0))
    }

    /// One release with its workloads.
    pub async fn release(&self, id: ReleaseId) -> Result<Option<Release>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT r.release_id, r.org_id, r.environment_id, p.path AS "environment!", r.number,
                      r.processes, r.phase, r.superseded_by, r.version, r.created_at,
                      (SELECT count(*) FROM workloads w
                       WHERE w.release_id = r.release_id AND w.phase = 'healthy') AS "healthy!",
                      (SELECT count(*) FROM workloads w WHERE w.release_id = r.release_id
                       AND w.phase NOT IN ('withdrawn', 'released')) AS "placed!"
               FROM releases r JOIN environment_paths p USING (environment_id)
               WHERE r.release_id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut release = Release::try_from(row)?;
        release.workloads = self.workloads_of_release(id).await?;
        Ok(Some(release))
    }
}

/// Releases of an org that no later one has replaced.
pub(super) async fn open(
    connection: &mut PgConnection,
    org: OrgId,
) -> Result<Vec<Release>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT r.release_id, r.org_id, r.environment_id, p.path AS "environment!", r.number,
                  r.processes, r.phase, r.superseded_by, r.version, r.created_at,
                  (SELECT count(*) FROM workloads w
                   WHERE w.release_id = r.release_id AND w.phase = 'healthy') AS "healthy!",
                  (SELECT count(*) FROM workloads w WHERE w.release_id = r.release_id
                   AND w.phase NOT IN ('withdrawn', 'released')) AS "placed!"
           FROM releases r JOIN environment_paths p USING (environment_id)
           JOIN environments e USING (environment_id)
           WHERE r.org_id = $1 AND r.phase <> 'superseded' AND NOT e.deleted
           ORDER BY r.release_id"#,
        org.0
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Release::try_from).collect()
}
