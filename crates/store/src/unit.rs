//! One transaction: what a command reads and writes happens together or not at all.

use sextant_model::{ActorId, AggregateKind, Event, EventBody, Timestamp, aggregate::Aggregate};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::{Store, error::StoreError, ipam::PgIpam, log::EventRow};

/// A transaction in progress; dropped without [`Unit::commit`], nothing happened.
#[derive(Debug)]
pub struct Unit {
    pub(crate) transaction: Transaction<'static, Postgres>,
    carver: PgPool,
    last_event_id: i64,
}

/// An aggregate as its events tell it.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    /// Which one.
    pub id: Uuid,
    /// The fold of its events.
    pub state: A,
    /// Number of its last event; 0 if it has none.
    pub version: i32,
    /// When its first event occurred.
    pub created_at: Option<Timestamp>,
    /// Id of its first event.
    pub first_event_id: Option<i64>,
}

impl Store {
    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Unit, StoreError> {
        let transaction = self.pool.begin().await?;
        Ok(Unit { transaction, carver: self.carver.clone(), last_event_id: 0 })
    }
}

impl Unit {
    /// Folds the events of one aggregate.
    pub async fn load<A: Aggregate>(&mut self, id: Uuid) -> Result<Loaded<A>, StoreError> {
        let rows = sqlx::query_as!(
            EventRow,
            "SELECT event_id, occurred_at, aggregate_type, aggregate_id, aggregate_seq, event_type,
                    actor_id, payload
             FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY aggregate_seq",
            A::KIND.as_str(),
            id
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        let mut loaded =
            Loaded { id, state: A::default(), version: 0, created_at: None, first_event_id: None };
        for row in rows {
            let event = Event::try_from(row)?;
            loaded.state.apply(&event.body);
            loaded.version = event.aggregate_seq;
            loaded.created_at.get_or_insert(event.occurred_at);
            loaded.first_event_id.get_or_insert(event.event_id);
        }
        Ok(loaded)
    }

    /// Appends `events` after the version that was read, and folds them in.
    pub async fn append<A: Aggregate>(
        &mut self,
        loaded: &mut Loaded<A>,
        events: &[EventBody],
        actor: ActorId,
    ) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        debug_assert!(events.iter().all(|event| event.kind() == A::KIND));
        let (id, now) = self.append_raw(A::KIND, loaded.id, loaded.version, events, actor).await?;
        let count = i32::try_from(events.len()).unwrap_or(i32::MAX);
        for event in events {
            loaded.state.apply(event);
        }
        if loaded.version == 0 {
            loaded.created_at = Some(now);
            loaded.first_event_id = Some(id - i64::from(count) + 1);
        }
        loaded.version += count;
        Ok(())
    }

    async fn append_raw(
        &mut self,
        kind: AggregateKind,
        id: Uuid,
        version: i32,
        events: &[EventBody],
        actor: ActorId,
    ) -> Result<(i64, Timestamp), StoreError> {
        let mut types = Vec::with_capacity(events.len());
        let mut payloads = Vec::with_capacity(events.len());
        for event in events {
            let (event_type, payload) = event.to_columns().map_err(|error| {
                StoreError::Inconsistent { table: "events", reason: error.to_string() }
            })?;
            types.push(event_type);
            payloads.push(payload);
        }
        let appended = sqlx::query!(
            r#"SELECT append_events($1, $2, $3, $4, $5, $6) AS "id!", now() AS "now!""#,
            kind.as_str(),
            id,
            version,
            actor.0,
            &types,
            &payloads
        )
        .fetch_one(&mut *self.transaction)
        .await?;
        self.last_event_id = appended.id;
        Ok((appended.id, Timestamp(appended.now)))
    }

    /// Prefixes and addresses, within this transaction.
    pub fn ipam(&mut self) -> PgIpam<'_> {
        PgIpam { connection: &mut self.transaction, carver: &self.carver }
    }

    /// Makes it all true. Returns the last event id; 0 if nothing was appended.
    pub async fn commit(self) -> Result<i64, StoreError> {
        self.transaction.commit().await?;
        Ok(self.last_event_id)
    }
}
