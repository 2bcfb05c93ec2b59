//! Which control planes run on this database, and how far their clocks are from its own.

use sextant_api::resource::status::ReplicaStatus;
use sextant_model::Timestamp;
use uuid::Uuid;

use crate::{Store, error::StoreError};

/// What a replica says of itself every few seconds.
#[derive(Clone, Debug)]
pub struct Sign {
    /// The address at which others reach it, or the first of its names, and its port.
    pub name: String,
    /// Which process it is.
    pub process: Uuid,
    /// Its version.
    pub version: &'static str,
    /// Its clock minus the database's, in milliseconds.
    pub clock_ahead_ms: i64,
}

impl Store {
    /// The database's clock.
    pub async fn clock(&self) -> Result<Timestamp, StoreError> {
        let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#);
        Ok(Timestamp(now.fetch_one(&self.pool).await?))
    }

    /// Keeps that a replica runs; forgets those that were last heard of a day ago.
    pub async fn keep_sign(&self, sign: &Sign) -> Result<(), StoreError> {
        sqlx::query!(
            "WITH gone AS (DELETE FROM replicas
                           WHERE seen_at < clock_timestamp() - interval '1 day' AND name <> $1)
             INSERT INTO replicas (name, process, version, seen_at, clock_ahead_ms)
             VALUES ($1, $2, $3, clock_timestamp(), $4)
             ON CONFLICT (name) DO UPDATE SET
                 process = excluded.process, version = excluded.version,
                 seen_at = excluded.seen_at, clock_ahead_ms = excluded.clock_ahead_ms",
            sign.name,
            sign.process,
            sign.version,
            sign.clock_ahead_ms
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A replica that is told to stop is not missing; one that has taken its name stays.
    pub async fn forget_sign(&self, sign: &Sign) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM replicas WHERE name = $1 AND process = $2",
            sign.name,
            sign.process
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The replicas that were heard of within a day, by name.
    pub async fn replicas(&self) -> Result<Vec<ReplicaStatus>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT name, version, clock_ahead_ms,
                      greatest(extract(epoch FROM clock_timestamp() - seen_at), 0)::bigint AS "age_s!"
               FROM replicas ORDER BY name"#
        )
        .fetch_all(&self.pool)
        .await?;
        let status = rows.into_iter().map(|row| ReplicaStatus {
            name: row.name,
            version: row.version,
            seen_age_s: u64::try_from(row.age_s).unwrap_or_default(),
            clock_ahead_ms: row.clock_ahead_ms,
        });
        Ok(status.collect())
    }
}
