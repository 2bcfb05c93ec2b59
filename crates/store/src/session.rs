//! Sessions with the database. Every wait for the database has a deadline on this side, because a
//! time limit that the server keeps is gone with the server, and a socket to a host that went away
//! without a word stays open for ever.
//!
//! Nothing in this crate queries through the driver's own pool or connection: [`PgConnection`] here
//! stands in for the driver's. When a deadline passes, the connection is closed hard instead of
//! being returned, and so are the idle ones beside it: they lead to the same host.

use std::{
    future::{Future, ready},
    io,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Execute, Executor, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::time::timeout;

use crate::host::NamedHost;

/// How long a connection that is given back may take to show that it is still good.
const RETURN_LIMIT: Duration = Duration::from_secs(5);
/// How long closing in good order may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

type Answer<T> = Result<T, sqlx::Error>;
type Row = Either<PgQueryResult, PgRow>;

/// Connections that are shared. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    raw: PgPool,
    limit: Duration,
    host: Option<Arc<NamedHost>>,
}

impl Pool {
    /// `limit`: the longest silence of the database within a query. `host`: whose addresses are
    /// looked up, if any.
    pub(crate) fn new(raw: PgPool, limit: Duration, host: Option<Arc<NamedHost>>) -> Self {
        Self { raw, limit, host }
    }

    /// The same connections, with another limit.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// A connection, within the pool's own time limit.
    pub(crate) async fn acquire(&self) -> Answer<Session> {
        if let Some(host) = &self.host {
            host.prepare(&self.raw).await?;
        }
        let raw = self.raw.acquire().await.inspect_err(|_| {
            if let Some(host) = &self.host {
                host.failed();
            }
        })?;
        let (pool, limit) = (self.raw.clone(), self.limit);
        Ok(Session(PgConnection { raw: Some(raw), pool, limit, lost: false, open: false }))
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self) -> Answer<Transaction> {
        let mut session = self.acquire().await?;
        // Before the answer: it may have begun although nobody heard of it.
        session.open = true;
        session.execute("BEGIN").await?;
        Ok(Transaction(session))
    }

    /// Closes every connection.
    pub(crate) async fn close(&self) {
        if timeout(CLOSE_LIMIT, self.raw.close()).await.is_err() {
            tracing::debug!("some connections to the database did not close in time");
        }
    }
}

/// A connection of a [`Pool`], returned when dropped.
#[derive(Debug)]
pub(crate) struct Session(PgConnection);

/// A transaction; undone when dropped without [`Transaction::commit`].
#[derive(Debug)]
pub(crate) struct Transaction(Session);

impl Transaction {
    /// Makes it true.
    pub(crate) async fn commit(mut self) -> Answer<()> {
        self.0.execute("COMMIT").await?;
        self.0.open = false;
        Ok(())
    }
}

/// One connection to the database, with a deadline for each answer.
#[derive(Debug)]
pub struct PgConnection {
    /// Absent only while it is dropped.
    raw: Option<PoolConnection<Postgres>>,
    pool: PgPool,
    limit: Duration,
    /// A deadline has passed: what comes next on this connection is the answer to something else.
    lost: bool,
    /// A transaction has begun.
    open: bool,
}

impl Drop for PgConnection {
    fn drop(&mut self) {
        let Some(raw) = self.raw.take() else { return };
        if self.lost {
            drop(raw.detach());
            // No answer here, so probably none there.
            while let Some(idle) = self.pool.try_acquire() {
                drop(idle.detach());
            }
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(give_back(raw, self.open));
        } else {
            drop(raw.detach());
        }
    }
}

/// Returns a connection to its pool, or closes it if it does not answer.
async fn give_back(mut raw: PoolConnection<Postgres>, open: bool) {
    if open {
        // What a dropped query has left unread is read first.
        let undone = timeout(RETURN_LIMIT, (&mut *raw).execute("ROLLBACK")).await;
        if !matches!(undone, Ok(Ok(_))) {
            drop(raw.detach());
            return;
        }
    }
    // Pings before it returns. Dropped at the deadline, it closes the connection and frees its place.
    if timeout(RETURN_LIMIT, raw.return_to_pool()).await.is_err() {
        tracing::debug!("a connection to the database did not answer when it was returned");
    }
}

fn no_answer(limit: Duration) -> sqlx::Error {
    let text = format!("the database did not answer within {} s", limit.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// Waits for `answer`; after `limit` the connection is `lost`.
async fn bounded<T>(
    limit: Duration,
    lost: &mut bool,
    answer: impl Future<Output = Answer<T>>,
) -> Answer<T> {
    timeout(limit, answer).await.unwrap_or_else(|_| {
        *lost = true;
        Err(no_answer(limit))
    })
}

impl<'c> Executor<'c> for &'c mut PgConnection {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Answer<Row>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let PgConnection { raw, limit, lost, .. } = self;
        let Some(raw) = raw.as_deref_mut() else {
            return stream::once(ready(Err(sqlx::Error::WorkerCrashed))).boxed();
        };
        let (rows, limit) = (raw.fetch_many(query), *limit);
        stream::try_unfold((rows, lost), move |(mut rows, lost)| async move {
            let row = bounded(limit, &mut *lost, rows.try_next()).await?;
            Ok(row.map(|row| (row, (rows, lost))))
        })
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Answer<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let PgConnection { raw, limit, lost, .. } = self;
        let Some(raw) = raw.as_deref_mut() else {
            return ready(Err(sqlx::Error::WorkerCrashed)).boxed();
        };
        bounded(*limit, lost, raw.fetch_optional(query)).boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Answer<PgStatement>>
    where
        'c: 'e,
    {
        let PgConnection { raw, limit, lost, .. } = self;
        let Some(raw) = raw.as_deref_mut() else {
            return ready(Err(sqlx::Error::WorkerCrashed)).boxed();
        };
        bounded(*limit, lost, raw.prepare_with(sql, parameters)).boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Answer<Describe<Postgres>>>
    where
        'c: 'e,
    {
        let PgConnection { raw, limit, lost, .. } = self;
        let Some(raw) = raw.as_deref_mut() else {
            return ready(Err(sqlx::Error::WorkerCrashed)).boxed();
        };
        bounded(*limit, lost, raw.describe(sql)).boxed()
    }
}

/// A connection for one query. Rows are collected before they are handed on.
impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Answer<Row>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let collected = async move {
            let mut session = self.acquire().await?;
            let rows: Vec<Row> = session.fetch_many(query).try_collect().await?;
            Ok::<_, sqlx::Error>(stream::iter(rows.into_iter().map(Ok)))
        };
        stream::once(collected).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Answer<Option<PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        async move { self.acquire().await?.fetch_optional(query).await }.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Answer<PgStatement>>
    where
        'p: 'e,
    {
        async move { self.acquire().await?.prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Answer<Describe<Postgres>>>
    where
        'p: 'e,
    {
        async move { self.acquire().await?.describe(sql).await }.boxed()
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0.0
    }
}
