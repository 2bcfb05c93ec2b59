//! Requests that carry an Idempotency-Key: done once, answered alike every time.

use std::time::Duration;

use sextant_model::ActorId;

use crate::{Store, error::StoreError, unit::Unit};

/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_hours(24);

/// Answers that one statement forgets at most.
pub const FORGOTTEN_AT_ONCE: u64 = 1000;

/// An answer as it was first given.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// `ETag`, if there was one.
    pub etag: Option<String>,
    /// Last event the request appended; 0 if none.
    pub event_id: i64,
    /// JSON body.
    pub body: serde_json::Value,
}

impl Unit {
    /// Reserves the key, or returns the answer it already has. A request in flight with the same
    /// key is waited for.
    pub async fn reserve_key(
        &mut self,
        principal: ActorId,
        key: &str,
        request_hash: &str,
    ) -> Result<Option<StoredAnswer>, StoreError> {
        let reserved = sqlx::query!(
            "INSERT INTO idempotency_keys (principal, key, request_hash, status, body)
             VALUES ($1, $2, $3, 0, 'null') ON CONFLICT DO NOTHING",
            principal.0,
            key,
            request_hash
        )
        .execute(self.open().await?)
        .await?;
        if reserved.rows_affected() == 1 {
            return Ok(None);
        }
        let row = sqlx::query!(
            "SELECT request_hash, status, etag, event_id, body FROM idempotency_keys
             WHERE principal = $1 AND key = $2",
            principal.0,
            key
        )
        .fetch_one(self.open().await?)
        .await?;
        if row.request_hash != request_hash {
            return Err(StoreError::IdempotencyMismatch);
        }
        let status = u16::try_from(row.status).unwrap_or(500);
        let (etag, event_id, body) = (row.etag, row.event_id, row.body);
        Ok(Some(StoredAnswer { status, etag, event_id, body }))
    }

    /// Keeps the answer for the key that was reserved. The body must hold no secret.
    pub async fn keep_answer(
        &mut self,
        principal: ActorId,
        key: &str,
        answer: &StoredAnswer,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE idempotency_keys SET status = $3, etag = $4, body = $5, event_id = $6
             WHERE principal = $1 AND key = $2",
            principal.0,
            key,
            i16::try_from(answer.status).unwrap_or(500),
            answer.etag,
            answer.body,
            answer.event_id
        )
        .execute(self.open().await?)
        .await?;
        Ok(())
    }
}

impl Store {
    /// Forgets answers older than [`KEPT_FOR`], a bounded number at a time so that no statement runs
    /// into its time limit; returns how many, fewer than [`FORGOTTEN_AT_ONCE`] when none is left.
    pub async fn forget_old_answers(&self) -> Result<u64, StoreError> {
        let forgotten = sqlx::query!(
            "DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM idempotency_keys
                 WHERE created_at < now() - make_interval(secs => $1)
                 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
            KEPT_FOR.as_secs_f64(),
            FORGOTTEN_AT_ONCE.cast_signed()
        )
        .execute(&self.pool)
        .await?;
        Ok(forgotten.rows_affected())
    }
}
