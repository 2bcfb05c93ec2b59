//! One transaction: what a command reads and writes happens together or not at all.

use std::time::Duration;

use sextant_model::{
    ActorId, AggregateKind, Event, EventBody, Timestamp, aggregate::Aggregate, event::UnknownEvent,
};
use uuid::Uuid;

use crate::{
    Store,
    error::StoreError,
    ipam::PgIpam,
    log::EventRow,
    projection::Projections,
    session::{PgConnection, Pool, Transaction},
};

/// A command's reads and writes. The transaction opens with the first write: at READ COMMITTED,
/// reads before it gain nothing from one. Dropped without [`Unit::commit`], nothing happened.
#[derive(Debug)]
pub struct Unit {
    pool: Pool,
    carver: Pool,
    transaction: Option<Transaction>,
    last_event_id: i64,
    last_event_at: Option<Timestamp>,
    /// What was read of something that a newer version wrote.
    newer: Option<(AggregateKind, UnknownEvent)>,
    touched: Projections,
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

impl<A: Aggregate> Loaded<A> {
    /// One that does not exist yet, under an id nobody else has.
    pub fn fresh(id: Uuid) -> Self {
        Self { id, state: A::default(), version: 0, created_at: None, first_event_id: None }
    }

    /// Folds in `events` that were appended, the last of them with the id `last_id`.
    pub fn fold(&mut self, events: &[EventBody], last_id: i64, occurred_at: Timestamp) {
        let count = i32::try_from(events.len()).unwrap_or(i32::MAX);
        for event in events {
            self.state.apply(event);
        }
        self.version += count;
        self.created_at.get_or_insert(occurred_at);
        self.first_event_id.get_or_insert(last_id - i64::from(count) + 1);
    }
}

/// The first event of an aggregate that does not exist yet.
#[derive(Clone, Debug)]
pub struct FirstEvent {
    /// The aggregate's id; nobody else has it.
    pub aggregate_id: Uuid,
    /// Who causes it.
    pub actor: ActorId,
    /// What happened.
    pub body: EventBody,
}

impl Store {
    /// Appends the first events of several aggregates in one commit: their ids, in order, and when
    /// it happened. All of them happen or none.
    pub async fn append_first(
        &self,
        batch: &[FirstEvent],
    ) -> Result<(Vec<i64>, Timestamp), StoreError> {
        // A connection first: one that cannot be had is no lost commit.
        let mut connection = self.pool.acquire().await?;
        let appended = append_first_on(&mut connection, batch).await?;
        appended.map_err(StoreError::of_commit)
    }

    /// Begins a command.
    pub fn begin(&self) -> Unit {
        let (pool, carver) = (self.pool.clone(), self.carver.clone());
        let (transaction, last_event_at, newer) = (None, None, None);
        let touched = Projections::default();
        Unit { pool, carver, transaction, last_event_id: 0, last_event_at, newer, touched }
    }
}

impl Unit {
    /// The transaction, opened if need be.
    pub(crate) async fn open(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.transaction.is_none() {
            self.transaction = Some(self.pool.begin().await?);
        }
        self.transaction.as_deref_mut().ok_or(StoreError::Unavailable(sqlx::Error::PoolClosed))
    }

    /// Folds the events of one aggregate.
    pub async fn load<A: Aggregate>(&mut self, id: Uuid) -> Result<Loaded<A>, StoreError> {
        let query = sqlx::query_as!(
            EventRow,
            "SELECT event_id, occurred_at, aggregate_type, aggregate_id, aggregate_seq, event_type,
                    actor_id, payload
             FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY aggregate_seq",
            A::KIND.as_str(),
            id
        );
        let rows = match &mut self.transaction {
            Some(transaction) => query.fetch_all(&mut **transaction).await?,
            None => query.fetch_all(&self.pool).await?,
        };
        let mut loaded = Loaded::<A>::fresh(id);
        for row in rows {
            let event = Event::from(row);
            if let Some(unknown) = event.body.unknown() {
                self.newer.get_or_insert_with(|| (A::KIND, unknown.clone()));
            }
            loaded.state.apply(&event.body);
            loaded.version = event.aggregate_seq;
            loaded.created_at.get_or_insert(event.occurred_at);
            loaded.first_event_id.get_or_insert(event.event_id);
        }
        Ok(loaded)
    }

    /// How many events of one type an aggregate has within the last `span`, by the database's clock.
    pub async fn events_within<A: Aggregate>(
        &self,
        id: Uuid,
        event_type: &str,
        span: Duration,
    ) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM events
               WHERE aggregate_type = $1 AND aggregate_id = $2 AND event_type = $3
                 AND occurred_at > now() - make_interval(secs => $4)"#,
            A::KIND.as_str(),
            id,
            event_type,
            span.as_secs_f64()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(count.unsigned_abs())
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
        self.check_known()?;
        let connection = self.open().await?;
        let (last, now) = append_on(connection, loaded, events, actor).await?;
        loaded.fold(events, last, now);
        self.touched = self.touched.and(Projections::of(A::KIND));
        (self.last_event_id, self.last_event_at) = (last, Some(now));
        Ok(())
    }

    /// Appends the first events of several aggregates in one statement, in their order: their ids,
    /// and when it happened. The writers' lock is held from here on, so what takes time goes first.
    pub async fn append_first(
        &mut self,
        batch: &[FirstEvent],
    ) -> Result<(Vec<i64>, Timestamp), StoreError> {
        self.check_known()?;
        let (ids, now) = append_first_on(self.open().await?, batch).await??;
        for event in batch {
            self.touched = self.touched.and(Projections::of(event.body.kind()));
        }
        self.last_event_id = ids.last().copied().unwrap_or(self.last_event_id);
        self.last_event_at = Some(now);
        Ok((ids, now))
    }

    /// Refuses to decide on what was loaded if a newer version wrote a part of it.
    pub fn check_known(&self) -> Result<(), StoreError> {
        match &self.newer {
            Some((kind, event)) => {
                Err(StoreError::WrittenByNewer { kind: *kind, event: event.clone() })
            }
            None => Ok(()),
        }
    }

    /// Prefixes and addresses, within this transaction.
    pub async fn ipam(&mut self) -> Result<PgIpam<'_>, StoreError> {
        self.open().await?;
        let transaction = self.transaction.as_deref_mut();
        let connection = transaction.ok_or(StoreError::Unavailable(sqlx::Error::PoolClosed))?;
        Ok(PgIpam { connection, carver: &self.carver })
    }

    /// Last event appended so far; 0 if none.
    pub fn last_event_id(&self) -> i64 {
        self.last_event_id
    }

    /// The projections that read what was appended so far.
    pub fn touched(&self) -> Projections {
        self.touched
    }

    /// When the events appended so far happen; `None` if there are none.
    pub fn last_event_at(&self) -> Option<Timestamp> {
        self.last_event_at
    }

    /// Makes it all true. Returns the last event id; 0 if nothing was appended.
    pub async fn commit(self) -> Result<i64, StoreError> {
        if let Some(transaction) = self.transaction {
            transaction.commit().await.map_err(StoreError::of_commit)?;
        }
        Ok(self.last_event_id)
    }
}

/// Calls `append_first_events`. The outer error is this program's, the inner one the database's.
async fn append_first_on(
    connection: &mut PgConnection,
    batch: &[FirstEvent],
) -> Result<Result<(Vec<i64>, Timestamp), sqlx::Error>, StoreError> {
    let kinds: Vec<_> = batch.iter().map(|event| event.body.kind().as_str().into()).collect();
    let ids: Vec<_> = batch.iter().map(|event| event.aggregate_id).collect();
    let actors: Vec<_> = batch.iter().map(|event| event.actor.0).collect();
    let (types, payloads) = columns(batch.iter().map(|event| &event.body))?;
    let appended = sqlx::query!(
        r#"SELECT append_first_events($1, $2, $3, $4, $5) AS "ids!", now() AS "now!""#,
        &kinds,
        &ids,
        &actors,
        &types,
        &payloads
    )
    .fetch_one(connection)
    .await;
    Ok(appended.map(|appended| (appended.ids, Timestamp(appended.now))))
}

/// Calls `append_events`; the last id, and the moment the transaction began.
async fn append_on<A: Aggregate>(
    connection: &mut PgConnection,
    loaded: &Loaded<A>,
    events: &[EventBody],
    actor: ActorId,
) -> Result<(i64, Timestamp), StoreError> {
    debug_assert!(events.iter().all(|event| event.kind() == A::KIND));
    let (types, payloads) = columns(events.iter())?;
    let appended = sqlx::query!(
        r#"SELECT append_events($1, $2, $3, $4, $5, $6) AS "id!", now() AS "now!""#,
        A::KIND.as_str(),
        loaded.id,
        loaded.version,
        actor.0,
        &types,
        &payloads
    )
    .fetch_one(connection)
    .await?;
    Ok((appended.id, Timestamp(appended.now)))
}

/// The columns `event_type` and `payload` of several events.
fn columns<'e>(
    events: impl ExactSizeIterator<Item = &'e EventBody>,
) -> Result<(Vec<String>, Vec<serde_json::Value>), StoreError> {
    let mut types = Vec::with_capacity(events.len());
    let mut payloads = Vec::with_capacity(events.len());
    for event in events {
        let (event_type, payload) = event.to_columns().map_err(|error| {
            StoreError::Inconsistent { table: "events", reason: error.to_string() }
        })?;
        types.push(event_type);
        payloads.push(payload);
    }
    Ok((types, payloads))
}
