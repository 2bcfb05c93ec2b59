//! Connections, migrations and wake-ups.

use std::{str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    Connection, Executor, PgConnection as OwnerConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::time::timeout;

use sextant_model::EventBody;

use crate::{
    error::StoreError,
    host::NamedHost,
    role::{self, PreparedRole},
    session::Pool,
};

/// A writer that stalls holds back every reader, so the database ends it.
const IDLE_IN_TRANSACTION_LIMIT: &str = "5s";
const STATEMENT_LIMIT: &str = "10s";
/// Longer than any honest wait for a row lock.
const LOCK_LIMIT: &str = "5s";
/// The longest silence of the database within a query. Longer than the database gives a statement
/// itself: while it lives, its own answer comes first.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
/// The same for the queries that the whole replica waits for, and that never take long.
pub(crate) const LOG_ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long the owner's connection may take.
pub(crate) const OWNER_LIMIT: Duration = Duration::from_secs(10);
/// How long the owner's work may take: a migration may have to go over the whole log.
const OWNER_WORK_LIMIT: Duration = Duration::from_hours(6);
/// A silent wake-up connection is asked whether it lives so often.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Settings of the server's end of each connection: it notices a replica that went away without a
/// word, so that what the replica held is free again.
const SERVER_KEEP_ALIVE: [(&str, &str); 5] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "25000"),
    ("client_connection_check_interval", "5s"),
];
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
    /// Whether a host that is given by its name may be reached over IPv4.
    pub allow_ipv4: bool,
}

impl ConnectOptions {
    /// Defaults for a replica.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 16,
            acquire_timeout: Duration::from_secs(3),
            allow_ipv4: false,
        }
    }
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: Pool,
    /// A second pool for the short transactions inside others, which must never wait for a
    /// connection that their own caller holds.
    pub(crate) carver: Pool,
    /// For the one connection that listens.
    listening: PgConnectOptions,
    host: Option<Arc<NamedHost>>,
    acquire_timeout: Duration,
}

impl Store {
    /// Prepares the pools; connects when first used, so that a daemon can start before its database.
    pub fn connect(options: &ConnectOptions) -> Result<Self, StoreError> {
        let connect = connect_options(&options.url)?
            .application_name("sextant")
            .options([
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_LIMIT),
                ("statement_timeout", STATEMENT_LIMIT),
                ("lock_timeout", LOCK_LIMIT),
            ])
            .options(SERVER_KEEP_ALIVE);
        let acquire_timeout = options.acquire_timeout;
        let host = if options.allow_ipv4 { None } else { NamedHost::of(&connect).map(Arc::new) };
        let pool = |most: u32| {
            let raw = PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(acquire_timeout)
                .test_before_acquire(false)
                .connect_lazy_with(connect.clone());
            Pool::new(raw, ANSWER_LIMIT, host.clone())
        };
        let (pool, carver) = (pool(options.max_connections), pool(2));
        Ok(Self { pool, carver, listening: connect, host, acquire_timeout })
    }

    /// Brings the schema up to date and lets the login role `app_user`, and nobody else, do what the
    /// daemon does. `owner_url` must belong to the owner of the database, who may create roles.
    pub async fn migrate(
        owner_url: &str,
        app_user: Option<&str>,
    ) -> Result<PreparedRole, StoreError> {
        let mut owner = connect_owner(owner_url).await?;
        let work = async {
            role::prepare(&mut owner, app_user).await?;
            sqlx::migrate!("../../migrations").run(&mut owner).await?;
            let prepared = role::hand_over(&mut owner, app_user).await?;
            owner.close().await?;
            Ok(prepared)
        };
        timeout(OWNER_WORK_LIMIT, work).await.map_err(|_| sqlx::Error::PoolTimedOut)?
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
        let begin = async {
            let epoch = sqlx::query_scalar!(r#"SELECT start_epoch() AS "epoch!""#)
                .fetch_one(&mut owner)
                .await?;
            owner.close().await?;
            Ok(sextant_model::Epoch(epoch))
        };
        timeout(OWNER_LIMIT, begin).await.map_err(|_| sqlx::Error::PoolTimedOut)?
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
        let options = match &self.host {
            Some(host) => host.options().await?,
            None => self.listening.clone(),
        };
        // A pool of its own: a connection that hangs takes no place from anybody.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.acquire_timeout)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        let listening = timeout(LOG_ANSWER_LIMIT, listener.listen(CHANNEL)).await;
        listening.map_err(|_| sqlx::Error::PoolTimedOut)??;
        Ok(WakeUp(listener))
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
        self.carver.close().await;
    }
}

/// One connection, so that what is wrong with the URL is said at once and not by a pool's time-out.
pub(crate) async fn connect_owner(url: &str) -> Result<OwnerConnection, StoreError> {
    let options = connect_options(url)?;
    let connecting = timeout(OWNER_LIMIT, OwnerConnection::connect_with(&options)).await;
    Ok(connecting.map_err(|_| sqlx::Error::PoolTimedOut)??)
}

/// Reads the URL. An IPv6 address stands in brackets there (RFC 3986), which the driver takes for a
/// part of a name.
fn connect_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)?;
    let host = options.get_host();
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned) {
        Some(address) => Ok(options.host(&address)),
        None => Ok(options),
    }
}

/// The one LISTEN connection of a replica.
#[derive(Debug)]
pub struct WakeUp(PgListener);

impl WakeUp {
    /// Waits for the next one; asks a connection that says nothing whether it lives. After an error
    /// the listener must be made anew.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        loop {
            if let Ok(received) = timeout(PROBE_INTERVAL, self.0.try_recv()).await {
                received?;
                return Ok(());
            }
            let probe = timeout(LOG_ANSWER_LIMIT, self.0.execute("SELECT 1")).await;
            probe.map_err(|_| sqlx::Error::PoolTimedOut)??;
        }
    }
}
