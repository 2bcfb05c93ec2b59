//! Reading the log.

use sextant_model::{ActorId, AggregateKind, Epoch, Event, EventBody, Timestamp};
use uuid::Uuid;

use crate::{Store, error::StoreError};

pub(crate) struct EventRow {
    pub event_id: i64,
    pub occurred_at: time::OffsetDateTime,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_seq: i32,
    pub event_type: String,
    pub actor_id: Uuid,
    pub payload: serde_json::Value,
}

impl TryFrom<EventRow> for Event {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.event_id,
            occurred_at: Timestamp(row.occurred_at),
            aggregate_type: kind(&row.aggregate_type)?,
            aggregate_id: row.aggregate_id,
            aggregate_seq: row.aggregate_seq,
            actor_id: ActorId(row.actor_id),
            body: EventBody::from_columns(&row.event_type, row.payload)?,
        })
    }
}

fn kind(word: &str) -> Result<AggregateKind, StoreError> {
    serde_json::from_value(word.into()).map_err(|_| StoreError::Inconsistent {
        table: "events",
        reason: format!("aggregate_type \"{word}\" is not known to this version"),
    })
}

impl Store {
    /// The present life of the log.
    pub async fn epoch(&self) -> Result<Epoch, StoreError> {
        let epoch =
            sqlx::query_scalar!("SELECT epoch FROM stream_epoch").fetch_one(&self.pool).await?;
        Ok(Epoch(epoch))
    }

    /// At most `limit` events with `after < event_id <= up_to`, in order. `up_to` must be settled.
    pub async fn events(
        &self,
        after: i64,
        up_to: i64,
        limit: i64,
    ) -> Result<Vec<Event>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        read_events(&mut connection, after, up_to, limit).await
    }

    /// The newest `limit` events up to `up_to`, in order.
    pub async fn newest_events(&self, up_to: i64, limit: i64) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query_as!(
            EventRow,
            "SELECT event_id, occurred_at, aggregate_type, aggregate_id, aggregate_seq, event_type,
                    actor_id, payload
             FROM events WHERE event_id <= $1 ORDER BY event_id DESC LIMIT $2",
            up_to,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().rev().map(Event::try_from).collect()
    }
}

pub(crate) async fn read_events(
    connection: &mut sqlx::PgConnection,
    after: i64,
    up_to: i64,
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let rows = sqlx::query_as!(
        EventRow,
        "SELECT event_id, occurred_at, aggregate_type, aggregate_id, aggregate_seq, event_type,
                actor_id, payload
         FROM events WHERE event_id > $1 AND event_id <= $2 ORDER BY event_id LIMIT $3",
        after,
        up_to,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Event::try_from).collect()
}
