//! The tables that lists and views read, kept up with the log.
//!
//! All projections advance in one transaction with their checkpoints, so a crash at any point
//! leaves each of them at some event, never between two. Rebuilding from the log gives identical
//! rows, because nothing but events goes in.

mod api_tokens;
mod apps;
mod enrolment_tokens;
mod environments;
mod hostnames;
mod networks;
mod nodes;
mod orgs;
mod port_grants;
mod releases;
mod routes;
mod workloads;

use sextant_model::Event;
use sqlx::PgConnection;

use crate::{Store, error::StoreError, log::read_events};

/// Every projection, by name.
pub const ALL: [&str; 12] = [
    "api-tokens",
    "apps",
    "enrolment-tokens",
    "environments",
    "hostnames",
    "networks",
    "nodes",
    "orgs",
    "port-grants",
    "releases",
    "routes",
    "workloads",
];

/// Events per transaction.
const BATCH: u32 = 500;

async fn apply(
    name: &str,
    connection: &mut PgConnection,
    events: &[Event],
) -> Result<(), StoreError> {
    match name {
        "api-tokens" => api_tokens::apply(connection, events).await,
        "apps" => apps::apply(connection, events).await,
        "enrolment-tokens" => enrolment_tokens::apply(connection, events).await,
        "environments" => environments::apply(connection, events).await,
        "hostnames" => hostnames::apply(connection, events).await,
        "networks" => networks::apply(connection, events).await,
        "nodes" => nodes::apply(connection, events).await,
        "orgs" => orgs::apply(connection, events).await,
        "port-grants" => port_grants::apply(connection, events).await,
        "releases" => releases::apply(connection, events).await,
        "routes" => routes::apply(connection, events).await,
        "workloads" => workloads::apply(connection, events).await,
        _ => Err(StoreError::Inconsistent {
            table: "projection_checkpoints",
            reason: format!("projection \"{name}\" is not known to this version"),
        }),
    }
}

impl Store {
    /// Advances every projection up to `settled`; returns how far all of them are. Replicas may
    /// call this at the same time: one works, the others wait and find it done.
    pub async fn project(&self, settled: i64) -> Result<i64, StoreError> {
        loop {
            let mut transaction = self.pool.begin().await?;
            let reached = advance(&mut transaction, settled).await?;
            transaction.commit().await?;
            if reached >= settled {
                return Ok(reached);
            }
        }
    }

    /// How far every projection is: the least of their checkpoints.
    pub async fn projected(&self) -> Result<i64, StoreError> {
        let least = sqlx::query_scalar!(
            r#"SELECT CASE WHEN count(*) = cardinality($1::text[])
                           THEN coalesce(min(last_applied_event_id), 0) ELSE 0 END AS "least!"
               FROM projection_checkpoints WHERE projection = ANY($1)"#,
            &ALL.map(String::from)
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(least)
    }

    /// Makes every projection anew from the log, in one transaction: readers see the old rows
    /// until the new ones are complete. Returns the number of the last event.
    pub async fn rebuild(&self) -> Result<i64, StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
        sqlx::query!("SET LOCAL idle_in_transaction_session_timeout = 0")
            .execute(&mut *transaction)
            .await?;
        lock_checkpoints(&mut transaction).await?;
        // Under the lock, so that no other replica has projected further than this goes.
        let settled = self.settle().await?;
        for delete in [
            sqlx::query!("DELETE FROM api_tokens"),
            sqlx::query!("DELETE FROM apps"),
            sqlx::query!("DELETE FROM enrolment_tokens"),
            sqlx::query!("DELETE FROM environments"),
            sqlx::query!("DELETE FROM networks"),
            sqlx::query!("DELETE FROM nodes"),
            sqlx::query!("DELETE FROM orgs"),
            sqlx::query!("DELETE FROM releases"),
            sqlx::query!("DELETE FROM workloads"),
            sqlx::query!("DELETE FROM hostnames"),
            sqlx::query!("DELETE FROM port_grants"),
            sqlx::query!("DELETE FROM routes"),
            sqlx::query!("DELETE FROM routing_heads"),
        ] {
            delete.execute(&mut *transaction).await?;
        }
        sqlx::query!("UPDATE projection_checkpoints SET last_applied_event_id = 0")
            .execute(&mut *transaction)
            .await?;
        while advance(&mut transaction, settled).await? < settled {}
        transaction.commit().await?;
        Ok(settled)
    }
}

/// The checkpoints, locked: whoever holds them is the one that projects.
async fn lock_checkpoints(connection: &mut PgConnection) -> Result<Vec<(String, i64)>, StoreError> {
    let select = || {
        sqlx::query!(
            "SELECT projection, last_applied_event_id FROM projection_checkpoints
             WHERE projection = ANY($1) ORDER BY projection FOR UPDATE",
            &ALL.map(String::from)
        )
    };
    let mut rows = select().fetch_all(&mut *connection).await?;
    if rows.len() < ALL.len() {
        sqlx::query!(
            "INSERT INTO projection_checkpoints (projection, last_applied_event_id)
             SELECT unnest($1::text[]), 0 ON CONFLICT DO NOTHING",
            &ALL.map(String::from)
        )
        .execute(&mut *connection)
        .await?;
        rows = select().fetch_all(&mut *connection).await?;
    }
    Ok(rows.into_iter().map(|row| (row.projection, row.last_applied_event_id)).collect())
}

/// One batch; returns how far all projections are after it.
async fn advance(connection: &mut PgConnection, settled: i64) -> Result<i64, StoreError> {
    let checkpoints = lock_checkpoints(connection).await?;
    let least = checkpoints.iter().map(|(_, at)| *at).min().unwrap_or(0);
    if least >= settled {
        return Ok(least);
    }
    let events = read_events(connection, least, settled, i64::from(BATCH)).await?;
    for (name, at) in &checkpoints {
        let new = events.partition_point(|event| event.event_id <= *at);
        apply(name, connection, &events[new..]).await?;
    }
    // A batch that was not full has reached the end, ids without events included.
    let full = events.len() == BATCH as usize;
    let reached =
        if full { events.last().map_or(settled, |event| event.event_id) } else { settled };
    sqlx::query!(
        "UPDATE projection_checkpoints SET last_applied_event_id = $1
         WHERE last_applied_event_id < $1 AND projection = ANY($2)",
        reached,
        &ALL.map(String::from)
    )
    .execute(connection)
    .await?;
    Ok(reached)
}
