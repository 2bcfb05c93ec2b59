//! Reading the log.

use sextant_model::{ActorId, AggregateKind, Epoch, Event, EventBody, Timestamp};
use uuid::Uuid;

use crate::{Store, connect::LOG_ANSWER_LIMIT, error::StoreError, session::PgConnection};

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

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            event_id: row.event_id,
            occurred_at: Timestamp(row.occurred_at),
            aggregate_type: kind(&row.aggregate_type),
            aggregate_id: row.aggregate_id,
            aggregate_seq: row.aggregate_seq,
            actor_id: ActorId(row.actor_id),
            body: EventBody::from_columns(&row.event_type, row.payload),
        }
    }
}

fn kind(word: &str) -> AggregateKind {
    serde_json::from_value(word.into()).unwrap_or(AggregateKind::Unknown)
}

impl Store {
    /// The present life of the log. A database that was promoted, restored or copied begins a new
    /// one at the first look.
    pub async fn epoch(&self) -> Result<Epoch, StoreError> {
        let current = sqlx::query!(r#"SELECT epoch AS "epoch!", replaced FROM current_epoch()"#)
            .fetch_one(&self.pool.within(LOG_ANSWER_LIMIT))
            .await?;
        if let Some(changed) = current.replaced {
            tracing::warn!(
                %changed,
                "this is another database than before, so a new epoch has begun: every follower \
                 takes a new snapshot"
            );
        }
        Ok(Epoch(current.epoch))
    }

    /// At most `limit` events with `after < event_id <= up_to`, in order. `up_to` must be settled.
    pub async fn events(
        &self,
        after: i64,
        up_to: i64,
        limit: i64,
    ) -> Result<Vec<Event>, StoreError> {
        let mut connection = self.pool.within(LOG_ANSWER_LIMIT).acquire().await?;
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
        Ok(rows.into_iter().rev().map(Event::from).collect())
    }
}

pub(crate) async fn read_events(
    connection: &mut PgConnection,
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
    Ok(rows.into_iter().map(Event::from).collect())
}
