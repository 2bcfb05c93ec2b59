//! The tables that lists and views read, kept up with the log.
//!
//! Projections advance together in one transaction with their checkpoints, so a crash at any point
//! leaves each of them at some event, never between two. Rebuilding from the log gives identical
//! rows, because nothing but events goes in.
//!
//! A projection that a new version brings is *filled* first: by itself, batch by batch, while the
//! others go on. Until it has caught up nothing is read from it. Events that this version cannot
//! read are left out and written down, so that a version that can read them makes the projections
//! anew (ADR 0012).

mod api_tokens;
mod apps;
mod checkpoints;
mod enrolment_tokens;
mod environments;
mod hostnames;
mod networks;
mod nodes;
mod orgs;
mod port_grants;
mod releases;
mod routes;
mod skipped;
mod workloads;

use std::time::Duration;

use sextant_model::Event;

use checkpoints::{Checkpoint, Step, lock, next_step};

use crate::{Store, error::StoreError, log::read_events, session::PgConnection};

pub use checkpoints::{Checkpoints, Projections};

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
/// How long one statement of a rebuild may take: it goes over a whole table.
const REBUILD_LIMIT: Duration = Duration::from_hours(1);

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
        _ => Err(unknown_projection(name)),
    }
}

impl Store {
    /// Advances every projection up to `settled`, fills those that need it, and returns how far all
    /// of them are. Replicas may call this at the same time: one works, the others wait and find
    /// it done.
    pub async fn project(&self, settled: i64) -> Result<i64, StoreError> {
        loop {
            let filled = self.project_filled(settled).await?;
            if filled.least() >= settled {
                return Ok(filled.least());
            }
            self.fill(settled).await?;
        }
    }

    /// Advances the projections that are filled up to `settled`.
    pub async fn project_filled(&self, settled: i64) -> Result<Checkpoints, StoreError> {
        loop {
            let mut transaction = self.pool.begin().await?;
            let mut checkpoints = lock(&mut transaction, settled).await?;
            let step = next_step(&checkpoints, settled, true);
            if let Some(step) = &step {
                advance(&mut transaction, &mut checkpoints, step).await?;
            }
            transaction.commit().await?;
            if next_step(&checkpoints, settled, true).is_none() {
                return Ok(Checkpoints::from(&*checkpoints));
            }
        }
    }

    /// Goes one batch on with those that are not filled yet.
    pub async fn fill(&self, settled: i64) -> Result<Checkpoints, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let mut checkpoints = lock(&mut transaction, settled).await?;
        // Up to where the others are: it goes on with them from there.
        let filled = checkpoints.iter().filter(|checkpoint| checkpoint.filled);
        let goal = filled.map(|checkpoint| checkpoint.at).min().unwrap_or(settled);
        if let Some(step) = next_step(&checkpoints, goal, false) {
            advance(&mut transaction, &mut checkpoints, &step).await?;
        }
        let names: Vec<String> = checkpoints
            .iter_mut()
            .filter(|checkpoint| !checkpoint.filled && checkpoint.at >= goal)
            .map(|checkpoint| {
                checkpoint.filled = true;
                checkpoint.name.to_owned()
            })
            .collect();
        sqlx::query!(
            "UPDATE projection_checkpoints SET filled = true WHERE projection = ANY($1)",
            &names
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Checkpoints::from(&*checkpoints))
    }

    /// Makes every projection anew from the log, in one transaction: readers see the old rows
    /// until the new ones are complete. Returns the number of the last event.
    pub async fn rebuild(&self) -> Result<i64, StoreError> {
        let mut transaction = self.pool.within(REBUILD_LIMIT).begin().await?;
        sqlx::query!("SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
        sqlx::query!("SET LOCAL idle_in_transaction_session_timeout = 0")
            .execute(&mut *transaction)
            .await?;
        let mut checkpoints = lock(&mut transaction, 0).await?;
        // Under the lock, so that no other replica has projected further than this goes.
        let settled = self.settle().await?;
        skipped::forget(&mut transaction).await?;
        for checkpoint in &mut checkpoints {
            clear(checkpoint.name, &mut transaction).await?;
            (checkpoint.at, checkpoint.filled) = (0, true);
        }
        sqlx::query!("UPDATE projection_checkpoints SET last_applied_event_id = 0, filled = true")
            .execute(&mut *transaction)
            .await?;
        while let Some(step) = next_step(&checkpoints, settled, true) {
            advance(&mut transaction, &mut checkpoints, &step).await?;
        }
        transaction.commit().await?;
        Ok(settled)
    }
}

/// Removes the rows of a projection.
async fn clear(name: &str, connection: &mut PgConnection) -> Result<(), StoreError> {
    let deletes = match name {
        "api-tokens" => vec![sqlx::query!("DELETE FROM api_tokens")],
        "apps" => vec![sqlx::query!("DELETE FROM apps")],
        "enrolment-tokens" => vec![sqlx::query!("DELETE FROM enrolment_tokens")],
        "environments" => vec![sqlx::query!("DELETE FROM environments")],
        "hostnames" => vec![sqlx::query!("DELETE FROM hostnames")],
        "networks" => vec![sqlx::query!("DELETE FROM networks")],
        "nodes" => vec![sqlx::query!("DELETE FROM nodes")],
        "orgs" => vec![sqlx::query!("DELETE FROM orgs")],
        "port-grants" => vec![sqlx::query!("DELETE FROM port_grants")],
        "releases" => vec![sqlx::query!("DELETE FROM releases")],
        "routes" => {
            vec![sqlx::query!("DELETE FROM routes"), sqlx::query!("DELETE FROM routing_heads")]
        }
        "workloads" => vec![sqlx::query!("DELETE FROM workloads")],
        _ => return Err(unknown_projection(name)),
    };
    for delete in deletes {
        delete.execute(&mut *connection).await?;
    }
    Ok(())
}

fn unknown_projection(name: &str) -> StoreError {
    let reason = format!("projection \"{name}\" is not known to this version");
    StoreError::Inconsistent { table: "projection_checkpoints", reason }
}

/// One batch of one step.
async fn advance(
    connection: &mut PgConnection,
    checkpoints: &mut [Checkpoint],
    step: &Step,
) -> Result<(), StoreError> {
    let events = read_events(connection, step.after, step.up_to, i64::from(BATCH)).await?;
    skipped::note(connection, &events).await?;
    for name in &step.group {
        apply(name, connection, &events).await?;
    }
    // A batch that was not full has reached the end, ids without events included.
    let full = events.len() == BATCH as usize;
    let reached =
        if full { events.last().map_or(step.up_to, |event| event.event_id) } else { step.up_to };
    let names: Vec<String> = step.group.iter().map(|name| (*name).to_owned()).collect();
    sqlx::query!(
        "UPDATE projection_checkpoints SET last_applied_event_id = $1 WHERE projection = ANY($2)",
        reached,
        &names
    )
    .execute(connection)
    .await?;
    for checkpoint in checkpoints.iter_mut().filter(|one| step.group.contains(&one.name)) {
        checkpoint.at = reached;
    }
    Ok(())
}
