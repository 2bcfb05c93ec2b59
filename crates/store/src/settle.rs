//! Up to which id the log is complete.
//!
//! Ids are handed out before commit, so an id below the highest may still appear. Writers hold a
//! shared advisory lock from before they draw an id until they have committed; a reader takes the
//! highest id, then waits until none of the holders it saw holds the lock any more. Every id up to
//! that highest is then visible, or will never be (rolled back). See ADR 0002.

use std::time::{Duration, Instant};

use crate::{Store, connect::LOG_ANSWER_LIMIT, error::StoreError};

const SHORTEST_WAIT: Duration = Duration::from_micros(500);
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Longer than the database lets a session of the daemon stay idle in a transaction.
const STALL_LIMIT: Duration = Duration::from_secs(10);

impl Store {
    /// The highest id such that every event up to it can be read now. Waits for the writers that
    /// are on their way; the database ends those that stall.
    pub async fn settle(&self) -> Result<i64, StoreError> {
        let mut connection = self.pool.within(LOG_ANSWER_LIMIT).acquire().await?;
        let horizon = sqlx::query!(
            r#"SELECT highest AS "highest!", writers AS "writers!" FROM event_horizon()"#
        )
        .fetch_one(&mut *connection)
        .await?;
        let mut seen = horizon.writers;
        let mut wait = SHORTEST_WAIT;
        let started = Instant::now();
        while !seen.is_empty() {
            if started.elapsed() > STALL_LIMIT {
                return Err(StoreError::WriterStalled(seen.join(", ")));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            let now = sqlx::query_scalar!(r#"SELECT event_writers() AS "writers!""#)
                .fetch_one(&mut *connection)
                .await?;
            seen.retain(|writer| now.contains(writer));
        }
        Ok(horizon.highest)
    }
}
