//! Loading aggregates. Where the history is long, a fold is kept, and only what came after it is
//! read: what a command costs follows from what is there, not from what has been (ADR 0013).
//!
//! A checkpoint is a function of the aggregate and its version, made from the log alone. Losing one
//! costs time only; one of another format, or one that cannot be read, is passed over.

use std::{collections::BTreeMap, time::Duration};

use sextant_model::{
    AggregateKind, EventBody, Timestamp, aggregate::Aggregate, event::UnknownEvent,
};
use uuid::Uuid;

use crate::{
    error::StoreError,
    session::Pool,
    unit::{Loaded, Unit},
};

/// A fold is kept when so many events were read on top of the last one.
const EVERY: usize = 64;
/// How long a fold may wait for a connection before it is not kept.
const PATIENCE: Duration = Duration::from_millis(100);
/// The format of no fold: everything is read from the log.
const NONE: i32 = 0;

/// An event, or the fold of those before (`state` is set).
struct HistoryRow {
    event_id: i64,
    occurred_at: time::OffsetDateTime,
    aggregate_id: Uuid,
    aggregate_seq: i32,
    event_type: String,
    payload: serde_json::Value,
    state: Option<serde_json::Value>,
}

impl Unit {
    /// Folds the events of one aggregate.
    pub async fn load<A: Aggregate>(&mut self, id: Uuid) -> Result<Loaded<A>, StoreError> {
        let mut loaded = self.load_all::<A>(&[id]).await?;
        Ok(loaded.pop().unwrap_or_else(|| Loaded::fresh(id)))
    }

    /// Folds the events of several aggregates, each named once; returns them in the order given.
    pub async fn load_all<A: Aggregate>(
        &mut self,
        ids: &[Uuid],
    ) -> Result<Vec<Loaded<A>>, StoreError> {
        let rows = self.history(A::KIND, ids, A::FORMAT).await?;
        let Folded { mut all, unreadable, mut unknown } = fold::<A>(rows);
        if !unreadable.is_empty() {
            let again = fold::<A>(self.history(A::KIND, &unreadable, NONE).await?);
            all.extend(again.all);
            unknown.extend(again.unknown);
        }
        let mut loaded = Vec::with_capacity(ids.len());
        for id in ids {
            let one = all.remove(id).unwrap_or_else(|| Loaded::fresh(*id));
            if let Some(event) = unknown.get(id) {
                self.newer.get_or_insert_with(|| (A::KIND, event.clone()));
            } else if one.events_read >= EVERY && self.last_event_id() == 0 {
                // Not what this transaction has appended itself: it may still come to nothing.
                keep(&self.carver, &one).await;
            }
            loaded.push(one);
        }
        Ok(loaded)
    }

    async fn history(
        &mut self,
        kind: AggregateKind,
        ids: &[Uuid],
        format: i32,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let query = sqlx::query_as!(
            HistoryRow,
            r#"WITH kept AS (
                   SELECT c.* FROM aggregate_checkpoints c
                   WHERE c.aggregate_type = $1 AND c.aggregate_id = ANY($2) AND c.format = $3
               )
               SELECT k.first_event_id AS "event_id!", k.created_at AS "occurred_at!",
                      k.aggregate_id AS "aggregate_id!", k.version AS "aggregate_seq!",
                      '' AS "event_type!", 'null'::jsonb AS "payload!", k.state AS "state?"
               FROM kept k
               UNION ALL
               SELECT e.event_id, e.occurred_at, e.aggregate_id, e.aggregate_seq, e.event_type,
                      e.payload, NULL
               FROM unnest($2::uuid[]) AS wanted (id) LEFT JOIN kept k ON k.aggregate_id = wanted.id,
                    -- OFFSET 0: the version bounds the scan of the index instead of filtering a join.
                    LATERAL (SELECT e.* FROM events e
                             WHERE e.aggregate_type = $1 AND e.aggregate_id = wanted.id
                               AND e.aggregate_seq > coalesce(k.version, 0) OFFSET 0) e
               ORDER BY 3, 4"#,
            kind.as_str(),
            ids,
            format
        );
        Ok(match &mut self.transaction {
            Some(transaction) => query.fetch_all(&mut **transaction).await?,
            None => query.fetch_all(&self.pool).await?,
        })
    }
}

/// Keeps a fold, on a connection of its own: the caller may give up what it is doing. Nobody waits for
/// it, and nothing fails without it.
async fn keep<A: Aggregate>(carver: &Pool, loaded: &Loaded<A>) {
    let Ok(state) = serde_json::to_value(&loaded.state) else { return };
    let (Some(first), Some(created_at)) = (loaded.first_event_id, loaded.created_at) else {
        return;
    };
    let Ok(Ok(mut connection)) = tokio::time::timeout(PATIENCE, carver.acquire()).await else {
        return;
    };
    let kept = sqlx::query!(
        "INSERT INTO aggregate_checkpoints AS c (aggregate_type, aggregate_id, format, version,
                                                     state, first_event_id, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (aggregate_type, aggregate_id, format) DO UPDATE
             SET version = excluded.version, state = excluded.state
             WHERE c.version < excluded.version",
        A::KIND.as_str(),
        loaded.id,
        A::FORMAT,
        loaded.version,
        state,
        first,
        created_at.0
    )
    .execute(&mut *connection)
    .await;
    if let Err(error) = kept {
        tracing::debug!(aggregate_id = %loaded.id, %error, "a checkpoint was not kept");
    }
}

/// What rows of the log and of checkpoints give.
struct Folded<A> {
    all: BTreeMap<Uuid, Loaded<A>>,
    /// Those whose kept fold cannot be read.
    unreadable: Vec<Uuid>,
    /// The first event of each that this version does not know.
    unknown: BTreeMap<Uuid, UnknownEvent>,
}

/// Folds rows in the order of aggregates and versions.
fn fold<A: Aggregate>(rows: Vec<HistoryRow>) -> Folded<A> {
    let (mut all, mut unreadable, mut unknown) = (BTreeMap::new(), vec![], BTreeMap::new());
    for row in rows {
        let id = row.aggregate_id;
        if unreadable.contains(&id) {
            continue;
        }
        let loaded = all.entry(id).or_insert_with(|| Loaded::<A>::fresh(id));
        loaded.version = row.aggregate_seq;
        loaded.created_at.get_or_insert(Timestamp(row.occurred_at));
        loaded.first_event_id.get_or_insert(row.event_id);
        if let Some(state) = row.state {
            match serde_json::from_value(state) {
                Ok(state) => loaded.state = state,
                Err(error) => {
                    tracing::debug!(aggregate_id = %id, %error, "a checkpoint cannot be read");
                    all.remove(&id);
                    unreadable.push(id);
                }
            }
            continue;
        }
        let body = EventBody::from_columns(&row.event_type, row.payload);
        if let Some(event) = body.unknown() {
            unknown.entry(id).or_insert_with(|| event.clone());
        }
        loaded.state.apply(&body);
        loaded.events_read += 1;
    }
    Folded { all, unreadable, unknown }
}
