//! Hostnames of environments.

use sextant_api::{
    page::Page,
    resource::hostname::{EnvironmentHostname, HostnameChallenge, HostnameState},
};
use sextant_model::{EnvironmentId, HostPattern, OrgId, Timestamp, hostname::challenge_name};
use uuid::Uuid;

use super::column;
use crate::{Store, error::StoreError, unit::Unit};

/// Which part of the hostnames of an environment, in the order of the names.
#[derive(Clone, Debug)]
pub struct HostnamePage {
    /// The last name of the page before.
    pub after: Option<HostPattern>,
    /// Most items.
    pub limit: u32,
}

struct Row {
    environment_id: Uuid,
    hostname: String,
    org_id: Uuid,
    challenge: Option<String>,
    owned: bool,
    since: time::OffsetDateTime,
}

impl TryFrom<Row> for EnvironmentHostname {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let hostname: HostPattern = column("hostnames", row.hostname)?;
        let name = challenge_name(&hostname);
        let state = if row.owned { HostnameState::Owned } else { HostnameState::Pending };
        Ok(Self {
            environment_id: EnvironmentId(row.environment_id),
            org_id: OrgId(row.org_id),
            hostname,
            state,
            challenge: row.challenge.map(|value| HostnameChallenge { name, value }),
            since: Timestamp(row.since),
        })
    }
}

impl Store {
    /// A page of an environment's hostnames, owned and pending.
    pub async fn hostnames(
        &self,
        environment: EnvironmentId,
        page: &HostnamePage,
    ) -> Result<Page<EnvironmentHostname>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT * FROM hostnames
               WHERE environment_id = $1 AND ($2::text IS NULL OR hostname > $2)
               ORDER BY hostname LIMIT $3"#,
            environment.0,
            page.after.as_ref().map(ToString::to_string),
            i64::from(page.limit) + 1
        )
        .fetch_all(&self.pool)
        .await?;
        let more = rows.len() > page.limit as usize;
        let items: Result<Vec<EnvironmentHostname>, _> =
            rows.into_iter().take(page.limit as usize).map(TryFrom::try_from).collect();
        let items = items?;
        let next_after = items.last().filter(|_| more).map(|last| last.hostname.to_string());
        Ok(Page { items, next_after })
    }

    /// Claims that have waited for their proof since before `since`, the oldest first.
    pub async fn stale_claims(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(EnvironmentId, HostPattern)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT environment_id, hostname FROM hostnames WHERE NOT owned AND since < $1
             ORDER BY since LIMIT 100",
            since.0
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| Ok((EnvironmentId(row.environment_id), column("hostnames", row.hostname)?)))
            .collect()
    }
}

impl Unit {
    /// When an environment claimed a hostname or got it by a move; `None` if lists do not show it.
    pub async fn hostname_since(
        &mut self,
        environment: EnvironmentId,
        hostname: &HostPattern,
    ) -> Result<Option<Timestamp>, StoreError> {
        let since = sqlx::query_scalar!(
            "SELECT since FROM hostnames WHERE environment_id = $1 AND hostname = $2",
            environment.0,
            hostname.to_string()
        )
        .fetch_optional(self.open().await?)
        .await?;
        Ok(since.map(Timestamp))
    }
}
