//! How much of its share an org uses, counted where it must be exact: in what commands claim.

use std::collections::BTreeMap;

use sextant_model::{
    OrgId,
    aggregate::OrgState,
    quota::{Quota, Quotas, check},
};

use crate::{Store, error::StoreError, unit::Unit};

impl Store {
    /// With other limits than the built-in ones.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas.into();
        self
    }

    /// The platform's limits.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// What an org uses now of everything that is counted. At a quiet moment it is exact.
    pub async fn usage(&self, org: OrgId) -> Result<BTreeMap<Quota, u64>, StoreError> {
        let mut unit = self.begin();
        let mut usage = BTreeMap::new();
        for quota in Quota::ALL {
            if let Some(used) = unit.used(org, *quota).await? {
                usage.insert(*quota, used);
            }
        }
        Ok(usage)
    }
}

impl Unit {
    /// Makes sure that the org may have `more` of what `quota` limits. From the first call until the
    /// transaction ends no other command of the org that asks the same goes on, so that none of them
    /// decides by what another is about to change. Called before the first event is appended.
    pub async fn within_share(
        &mut self,
        org: OrgId,
        quota: Quota,
        more: u64,
    ) -> Result<(), StoreError> {
        self.take_turn(org.0).await?;
        let limit = self.limit(org, quota).await?;
        let used = self.used(org, quota).await?.unwrap_or_default();
        check(quota, limit, used, more).map_err(|exceeded| StoreError::Refused(exceeded.into()))
    }

    /// The org's limit: its own, or the platform's.
    pub async fn limit(&mut self, org: OrgId, quota: Quota) -> Result<u64, StoreError> {
        let own = self.load::<OrgState>(org.0).await?.state.limit(quota);
        Ok(own.unwrap_or_else(|| self.quotas.limit(quota)))
    }

    /// How much an org uses; `None` for what is not counted in the database. Pending hostnames are
    /// claimed nowhere, because they keep nobody out: they are counted a moment late.
    async fn used(&mut self, org: OrgId, quota: Quota) -> Result<Option<u64>, StoreError> {
        let used = sqlx::query_scalar!(
            r#"WITH home AS NOT MATERIALIZED (
                   SELECT e.owner_id AS environment_id FROM name_claims a
                   JOIN name_claims e ON e.scope = a.owner_id AND e.kind = 'environment'
                   WHERE a.scope = $1 AND a.kind = 'app'
               )
               SELECT CASE $2::text
                   WHEN 'apps' THEN (
                       SELECT count(*) FROM name_claims WHERE scope = $1 AND kind = 'app')
                   WHEN 'environments' THEN (SELECT count(*) FROM home)
                   WHEN 'workloads' THEN (
                       SELECT count(*) FROM home JOIN placements USING (environment_id))
                   WHEN 'releases' THEN (
                       SELECT count(*) FROM home JOIN release_numbers r USING (environment_id)
                       WHERE NOT r.superseded)
                   WHEN 'routes' THEN (
                       SELECT count(*) FROM home JOIN listener_claims USING (environment_id))
                   WHEN 'hostnames' THEN (
                       SELECT count(*) FROM home JOIN hostname_claims USING (environment_id)) + (
                       SELECT count(*) FROM home JOIN hostnames h USING (environment_id)
                       WHERE NOT h.owned)
                   WHEN 'api_tokens' THEN (
                       SELECT count(*) FROM name_claims c
                       LEFT JOIN api_tokens t ON t.token_id = c.owner_id
                       WHERE c.scope = $1 AND c.kind = 'api-token'
                         AND coalesce(t.expires_at > now(), true))
               END"#,
            org.0,
            quota.as_str()
        )
        .fetch_one(self.open().await?)
        .await?;
        Ok(used.map(i64::unsigned_abs))
    }
}
