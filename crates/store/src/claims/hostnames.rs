//! Hostnames that are owned: one environment each, and neighbours in one org. Pending claims take
//! nothing here.

use std::collections::BTreeSet;

use sextant_model::{EnvironmentId, HostPattern, OrgId, RouteId, aggregate::IngressRefusal};
use uuid::Uuid;

use crate::{error::StoreError, unit::Unit};

/// A hostname, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct HostnameWish<'a> {
    /// Which one.
    pub hostname: &'a HostPattern,
    /// The environment that is to own it.
    pub environment: EnvironmentId,
    /// Whose environment it is.
    pub org: OrgId,
    /// What all the names of belong to one org (see [`sextant_model::neighbours::site`]).
    pub site: Option<&'a str>,
}

/// Who owns a hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostnameHolder {
    /// Which environment.
    pub environment_id: EnvironmentId,
    /// Whose environment it is.
    pub org_id: OrgId,
}

/// Whether a hostname could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostnameTaking {
    /// It was free, or the environment's already.
    Taken,
    /// Another environment owns it.
    Held(HostnameHolder),
    /// It covers, or is covered by, a hostname of another org.
    Overlaps,
    /// Another org has names of the same site.
    SiteHeld,
}

/// Neighbours that are not among those that move.
fn left_behind(error: sqlx::Error, hostname: &str) -> StoreError {
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    if let Some("hostname_claims_one_org" | "hostname_claims_one_site") = constraint
        && let Ok(hostname) = HostPattern::new(hostname)
    {
        return StoreError::Refused(IngressRefusal::HostnamesApart(hostname).into());
    }
    error.into()
}

fn is_wildcard(hostname: &HostPattern) -> i32 {
    i32::from(hostname.is_wildcard())
}

impl Unit {
    /// Takes a hostname for an environment.
    pub async fn take_hostname(
        &mut self,
        wish: HostnameWish<'_>,
    ) -> Result<HostnameTaking, StoreError> {
        // Waits for whoever is taking the same name, or a neighbour of it, at this moment.
        let taken = sqlx::query!(
            "INSERT INTO hostname_claims (hostname, environment_id, org_id, parent, is_wildcard, site)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            wish.hostname.to_string(),
            wish.environment.0,
            wish.org.0,
            wish.hostname.parent(),
            is_wildcard(wish.hostname),
            wish.site
        )
        .execute(self.open().await?)
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(HostnameTaking::Taken);
        }
        self.hostname_obstacle(wish).await?.ok_or(StoreError::VersionConflict)
    }

    /// What stands in the way of taking a hostname, as it is now; `None` if nothing does.
    pub async fn hostname_obstacle(
        &mut self,
        wish: HostnameWish<'_>,
    ) -> Result<Option<HostnameTaking>, StoreError> {
        if let Some(holder) = self.hostname_holder(wish.hostname).await? {
            let own = holder.environment_id == wish.environment;
            return Ok(Some(if own {
                HostnameTaking::Taken
            } else {
                HostnameTaking::Held(holder)
            }));
        }
        let others = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM hostname_claims
                              WHERE parent = $1 AND org_id <> $2 AND is_wildcard <> $3) AS "overlap!",
                      EXISTS (SELECT FROM hostname_claims
                              WHERE site = $4 AND org_id <> $2) AS "site!""#,
            wish.hostname.parent(),
            wish.org.0,
            is_wildcard(wish.hostname),
            wish.site
        )
        .fetch_one(self.open().await?)
        .await?;
        Ok(match (others.overlap, others.site) {
            (true, _) => Some(HostnameTaking::Overlaps),
            (false, true) => Some(HostnameTaking::SiteHeld),
            (false, false) => None,
        })
    }

    /// Who owns a hostname, if anybody does.
    pub async fn hostname_holder(
        &mut self,
        hostname: &HostPattern,
    ) -> Result<Option<HostnameHolder>, StoreError> {
        let row = sqlx::query!(
            "SELECT environment_id, org_id FROM hostname_claims WHERE hostname = $1",
            hostname.to_string()
        )
        .fetch_optional(self.open().await?)
        .await?;
        Ok(row.map(|row| HostnameHolder {
            environment_id: EnvironmentId(row.environment_id),
            org_id: OrgId(row.org_id),
        }))
    }

    /// Gives owned hostnames to another environment; the listeners of their routes go with them.
    /// Neighbours that stay behind in another org make this fail.
    pub async fn hand_over_hostnames(
        &mut self,
        hostnames: &BTreeSet<HostPattern>,
        from: EnvironmentId,
        to: EnvironmentId,
        to_org: OrgId,
    ) -> Result<(), StoreError> {
        let names: Vec<_> = hostnames.iter().map(HostPattern::to_string).collect();
        let connection = self.open().await?;
        sqlx::query!("SET CONSTRAINTS listener_claims_hostname DEFERRED")
            .execute(&mut *connection)
            .await?;
        // Away and back again: in an update, the first of two neighbours would be in the way of the
        // second.
        let gone = sqlx::query!(
            "DELETE FROM hostname_claims WHERE hostname = ANY($1) AND environment_id = $2
             RETURNING hostname, parent, is_wildcard, site",
            &names,
            from.0
        )
        .fetch_all(&mut *connection)
        .await?;
        if gone.len() < names.len() {
            return Err(StoreError::VersionConflict);
        }
        for row in gone {
            let back = sqlx::query!(
                "INSERT INTO hostname_claims (hostname, environment_id, org_id, parent,
                                              is_wildcard, site)
                 VALUES ($1, $2, $3, $4, $5, $6)",
                row.hostname,
                to.0,
                to_org.0,
                row.parent,
                row.is_wildcard,
                row.site
            )
            .execute(&mut *connection)
            .await;
            back.map_err(|error| left_behind(error, &row.hostname))?;
        }
        sqlx::query!(
            "UPDATE listener_claims SET environment_id = $3
             WHERE hostname = ANY($1) AND environment_id = $2",
            &names,
            from.0,
            to.0
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!("SET CONSTRAINTS listener_claims_hostname IMMEDIATE")
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Gives a hostname back. A route that uses it makes this fail.
    pub async fn release_hostname(
        &mut self,
        hostname: &HostPattern,
        environment: EnvironmentId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM hostname_claims WHERE hostname = $1 AND environment_id = $2",
            hostname.to_string(),
            environment.0
        )
        .execute(self.open().await?)
        .await?;
        Ok(())
    }

    /// Gives back every hostname of an environment that is deleted.
    pub async fn release_hostnames(
        &mut self,
        environment: EnvironmentId,
    ) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM hostname_claims WHERE environment_id = $1", environment.0)
            .execute(self.open().await?)
            .await?;
        Ok(())
    }

    /// The routes of an environment that use a hostname, in order of creation.
    pub async fn routes_of_hostname(
        &mut self,
        hostname: &HostPattern,
        environment: EnvironmentId,
    ) -> Result<Vec<RouteId>, StoreError> {
        let ids: Vec<Uuid> = sqlx::query_scalar!(
            "SELECT route_id FROM listener_claims
             WHERE hostname = $1 AND environment_id = $2 ORDER BY route_id",
            hostname.to_string(),
            environment.0
        )
        .fetch_all(self.open().await?)
        .await?;
        Ok(ids.into_iter().map(RouteId).collect())
    }
}
