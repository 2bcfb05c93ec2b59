//! Connections, migrations and wake-ups.

use std::{str::FromStr, time::Duration};

use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use sextant_model::EventBody;

use crate::{
    error::StoreError,
    role::{self, PreparedRole},
};

/// A writer that stalls holds back every reader, so the database ends it.
const IDLE_IN_TRANSACTION_LIMIT: &str = "5s";
const STATEMENT_LIMIT: &str = "30s";
/// Longer than any honest wait for a row lock.
const LOCK_LIMIT: &str = "5s";
/// How long the owner's connection may take.
const OWNER_LIMIT: Duration = Duration::from_secs(10);
/// The channel replicas wake each other on. The payload is a hint at most.
const CHANNEL: &str = "sextant_events";

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `postgresql://…`; may hold a password, so it is never logged.
    pub url: String,
    /// Connections to keep at most.
    pub max_connections: u32,
    /// How long a caller waits for a free connection.
    pub acquire_timeout: Duration,
}

impl ConnectOptions {
    /// Defaults for a replica.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), max_connections: 16, acquire_timeout: Duration::from_secs(3) }
    }
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: PgPool,
    /// A second pool for the short transactions inside others, which must never wait for a
    /// connection that their own caller holds.
    pub(crate) carver: PgPool,
}

impl Store {
    /// Prepares the pools; connects when first used, so that a daemon can start before its database.
    pub fn connect(options: &ConnectOptions) -> Result<Self, StoreError> {
        let connect =
            PgConnectOptions::from_str(&options.url)?.application_name("sextant").options([
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_LIMIT),
                ("statement_timeout", STATEMENT_LIMIT),
                ("lock_timeout", LOCK_LIMIT),
            ]);
        let pool = |most: u32| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(options.acquire_timeout)
                .test_before_acquire(false)
                .connect_lazy_with(connect.clone())
        };
        Ok(Self { pool: pool(options.max_connections), carver: pool(2) })
    }

    /// Brings the schema up to date and lets the login role `app_user`, and nobody else, do what the
    /// daemon does. `owner_url` must belong to the owner of the database, who may create roles.
    pub async fn migrate(
        owner_url: &str,
        app_user: Option<&str>,
    ) -> Result<PreparedRole, StoreError> {
        let mut owner = connect_owner(owner_url).await?;
        role::prepare(&mut owner, app_user).await?;
        sqlx::migrate!("../../migrations").run(&mut owner).await?;
        let prepared = role::hand_over(&mut owner, app_user).await?;
        owner.close().await?;
        Ok(prepared)
    }

    /// The fingerprint of the platform's CA, once [`Store::record_ca`] has kept it.
    pub async fn recorded_ca(&self) -> Result<Option<String>, StoreError> {
        let recorded = sqlx::query_scalar!("SELECT fingerprint FROM platform_ca")
            .fetch_optional(&self.pool)
            .await?;
        Ok(recorded)
    }

    /// Keeps the fingerprint of the platform's CA, unless one is kept already.
    pub async fn record_ca(&self, fingerprint: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO platform_ca (fingerprint) VALUES ($1) ON CONFLICT DO NOTHING",
            fingerprint
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Starts a new epoch of the log, as promotion and restore must. Needs the owner.
    pub async fn start_epoch(owner_url: &str) -> Result<sextant_model::Epoch, StoreError> {
        let mut owner = connect_owner(owner_url).await?;
        let epoch = sqlx::query_scalar!(r#"SELECT start_epoch() AS "epoch!""#)
            .fetch_one(&mut owner)
            .await?;
        owner.close().await?;
        Ok(sextant_model::Epoch(epoch))
    }

    /// Whether the database answers and its schema knows every event that this version appends.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let types: Vec<_> = EventBody::TYPES.iter().map(|&name| name.to_owned()).collect();
        let unknown = sqlx::query_scalar!(
            r#"SELECT t.event_type AS "event_type!" FROM unnest($1::text[]) AS t (event_type)
               WHERE NOT EXISTS (SELECT FROM event_types e WHERE e.event_type = t.event_type)
               LIMIT 1"#,
            &types
        )
        .fetch_optional(&self.pool)
        .await?;
        unknown.map_or(Ok(()), |event_type| {
            Err(StoreError::EventTypeUnknown(format!("no event \"{event_type}\" is known")))
        })
    }

    /// Tells the other replicas that there is something new. Never inside an append: a NOTIFY
    /// serialises every commit of the cluster.
    pub async fn wake_others(&self) -> Result<(), StoreError> {
        sqlx::query!("SELECT pg_notify($1, '')", CHANNEL).execute(&self.pool).await?;
        Ok(())
    }

    /// Listens for other replicas. Losing every wake-up must cost latency only.
    pub async fn wake_ups(&self) -> Result<WakeUp, StoreError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(WakeUp(listener))
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
        self.carver.close().await;
    }
}

/// One connection, so that what is wrong with the URL is said at once and not by a pool's time-out.
pub(crate) async fn connect_owner(url: &str) -> Result<PgConnection, StoreError> {
    let connecting = tokio::time::timeout(OWNER_LIMIT, PgConnection::connect(url)).await;
    Ok(connecting.map_err(|_| sqlx::Error::PoolTimedOut)??)
}

/// The one LISTEN connection of a replica.
#[derive(Debug)]
pub struct WakeUp(PgListener);

impl WakeUp {
    /// Waits for the next one. After an error the listener must be made anew.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        self.0.try_recv().await?;
        Ok(())
    }
}
