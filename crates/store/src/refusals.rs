//! Who was refused: counts for operators, not facts. Bounded, and not in the log.

use std::{collections::BTreeMap, time::Duration};

use sextant_api::resource::refusal::{Refused, RefusedCode};
use sextant_model::Timestamp;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Store, error::StoreError};

/// Rows at most; the oldest go first.
const ROWS: i64 = 20_000;
/// Older ones are forgotten: as long as an enrolment token may live.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// Refusals of one kind from one source in a short time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalRow {
    /// When the time began, in seconds since 1970.
    pub bucket: i64,
    /// Where from.
    pub source: String,
    /// Why.
    pub code: String,
    /// The token or node; nil if it is none that exists.
    pub subject: Uuid,
    /// How often.
    pub count: i64,
    /// The last time.
    pub last_at: Timestamp,
    /// From where then.
    pub last_address: String,
}

impl Store {
    /// Adds to what is kept.
    pub async fn keep_refusals(&self, rows: &[RefusalRow]) -> Result<(), StoreError> {
        let column = |of: fn(&RefusalRow) -> String| rows.iter().map(of).collect::<Vec<_>>();
        let buckets: Vec<_> = rows.iter().map(|row| row.bucket).collect();
        let subjects: Vec<_> = rows.iter().map(|row| row.subject).collect();
        let counts: Vec<_> = rows.iter().map(|row| row.count).collect();
        let times: Vec<_> = rows.iter().map(|row| row.last_at.0).collect();
        sqlx::query!(
            "INSERT INTO refusals (bucket, source, code, subject, count, last_at, last_address)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::uuid[], $5::bigint[],
                                  $6::timestamptz[], $7::text[])
             ON CONFLICT (bucket, source, code, subject) DO UPDATE
             SET count = refusals.count + excluded.count,
                 last_at = greatest(refusals.last_at, excluded.last_at),
                 last_address = excluded.last_address",
            &buckets,
            &column(|row| row.source.clone()),
            &column(|row| row.code.clone()),
            &subjects,
            &counts,
            &times,
            &column(|row| row.last_address.clone())
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets what is old or too much.
    pub async fn forget_old_refusals(&self, now: Timestamp) -> Result<(), StoreError> {
        let oldest = now.0 - KEPT_FOR;
        sqlx::query!(
            "DELETE FROM refusals
             WHERE last_at < greatest($1, (SELECT last_at FROM refusals
                                           ORDER BY last_at DESC OFFSET $2 LIMIT 1))",
            oldest,
            ROWS
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What was refused since `since`, by code, the most frequent first.
    pub async fn refusals_since(&self, since: Timestamp) -> Result<Vec<RefusedCode>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT code, sum(count)::bigint AS "count!", count(DISTINCT source) AS "sources!",
                      max(last_at) AS "last_at!",
                      (array_agg(last_address ORDER BY last_at DESC))[1] AS "last_address!"
               FROM refusals WHERE last_at >= $1 GROUP BY code ORDER BY 2 DESC, code"#,
            since.0
        )
        .fetch_all(&self.pool)
        .await?;
        let code = |row: (String, i64, i64, OffsetDateTime, String)| RefusedCode {
            code: row.0,
            sources: u64::try_from(row.2).unwrap_or(0),
            refused: refused(row.1, row.3, row.4),
        };
        let rows = rows.into_iter();
        Ok(rows
            .map(|row| code((row.code, row.count, row.sources, row.last_at, row.last_address)))
            .collect())
    }

    /// How often each of these tokens or nodes was refused.
    pub async fn refusals_of(
        &self,
        subjects: &[Uuid],
    ) -> Result<BTreeMap<Uuid, Refused>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT subject, sum(count)::bigint AS "count!", max(last_at) AS "last_at!",
                      (array_agg(last_address ORDER BY last_at DESC))[1] AS "last_address!"
               FROM refusals WHERE subject = ANY($1) GROUP BY subject"#,
            subjects
        )
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.into_iter();
        Ok(rows
            .map(|row| (row.subject, refused(row.count, row.last_at, row.last_address)))
            .collect())
    }
}

fn refused(count: i64, last_at: OffsetDateTime, last_address: String) -> Refused {
    let times = u64::try_from(count).unwrap_or(0);
    Refused { times, last_at: Timestamp(last_at), last_address }
}
