//! Hostnames that are owned: one environment each, and a wildcard with the names it covers in one
//! org. Pending claims take nothing here.

use sextant_model::{EnvironmentId, HostPattern, OrgId, RouteId, aggregate::IngressRefusal};
use uuid::Uuid;

use crate::{error::StoreError, unit::Unit};

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
}

fn is_wildcard(hostname: &HostPattern) -> i32 {
    i32::from(hostname.is_wildcard())
}

impl Unit {
    /// Takes a hostname for an environment.
    pub async fn take_hostname(
        &mut self,
        hostname: &HostPattern,
        environment: EnvironmentId,
        org: OrgId,
    ) -> Result<HostnameTaking, StoreError> {
        // Waits for whoever is taking the same name, or one that overlaps, at this moment.
        let taken = sqlx::query!(
            "INSERT INTO hostname_claims (hostname, environment_id, org_id, parent, is_wildcard)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            hostname.to_string(),
            environment.0,
            org.0,
            hostname.parent(),
            is_wildcard(hostname)
        )
        .execute(self.open().await?)
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(HostnameTaking::Taken);
        }
        self.hostname_obstacle(hostname, environment, org).await?.ok_or(StoreError::VersionConflict)
    }

    /// What stands in the way of taking a hostname, as it is now; `None` if nothing does.
    pub async fn hostname_obstacle(
        &mut self,
        hostname: &HostPattern,
        environment: EnvironmentId,
        org: OrgId,
    ) -> Result<Option<HostnameTaking>, StoreError> {
        if let Some(holder) = self.hostname_holder(hostname).await? {
            let own = holder.environment_id == environment;
            return Ok(Some(if own {
                HostnameTaking::Taken
            } else {
                HostnameTaking::Held(holder)
            }));
        }
        let overlaps = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM hostname_claims
                              WHERE parent = $1 AND org_id <> $2 AND is_wildcard <> $3) AS "is!""#,
            hostname.parent(),
            org.0,
            is_wildcard(hostname)
        )
        .fetch_one(self.open().await?)
        .await?;
        Ok(overlaps.then_some(HostnameTaking::Overlaps))
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

    /// Gives an owned hostname to another environment; the listeners of its routes go with it.
    pub async fn hand_over_hostname(
        &mut self,
        hostname: &HostPattern,
        from: EnvironmentId,
        to: EnvironmentId,
        to_org: OrgId,
    ) -> Result<(), StoreError> {
        let moved = sqlx::query!(
            "UPDATE hostname_claims SET environment_id = $3, org_id = $4
             WHERE hostname = $1 AND environment_id = $2",
            hostname.to_string(),
            from.0,
            to.0,
            to_org.0
        )
        .execute(self.open().await?)
        .await;
        match moved {
            Ok(moved) if moved.rows_affected() == 1 => Ok(()),
            Ok(_) => Err(StoreError::VersionConflict),
            Err(sqlx::Error::Database(error))
                if error.constraint() == Some("hostname_claims_one_org") =>
            {
                let overlaps = IngressRefusal::HostnameOverlaps(hostname.clone());
                Err(StoreError::Refused(overlaps.into()))
            }
            Err(error) => Err(error.into()),
        }
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
