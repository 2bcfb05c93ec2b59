//! What can go wrong in the store. Conflicts that constraints find are typed; the rest is the
//! driver's, and never shown to clients.

use sextant_model::{AggregateKind, Refusal, event::UnknownEvent, ipam::IpamRefusal};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such prefix or address to give.
    #[error(transparent)]
    Ipam(#[from] IpamRefusal),
    /// Somebody changed the aggregate since it was read.
    #[error("it was changed at the same time; read it again and repeat")]
    VersionConflict,
    /// The name belongs to another one.
    #[error("the name \"{0}\" is taken; choose another one")]
    NameTaken(String),
    /// The WireGuard key belongs, or belonged, to another node.
    #[error("the WireGuard key is already known; make a new key pair on the machine")]
    KeyTaken,
    /// The prefix shares addresses with one that is in use.
    #[error("the prefix overlaps one that is in use; choose another one")]
    PrefixTaken,
    /// The Idempotency-Key was used for something else.
    #[error("the Idempotency-Key was already used for another request; use a new key")]
    IdempotencyMismatch,
    /// The database cannot be reached, is starting, or is shutting down.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The connection was lost while the change was being committed: it happened or it did not.
    #[error("the database went away during the commit: {0}")]
    OutcomeUnknown(#[source] sqlx::Error),
    /// A transaction holds the writers' lock and does not end.
    #[error(
        "the transaction {0} has held the writers' lock for too long and holds back every reader; \
         find it in pg_locks (virtualtransaction) and end its session"
    )]
    WriterStalled(String),
    /// Somebody else is changing the same rows.
    #[error("somebody else is changing the same thing: {0}")]
    Contended(#[source] sqlx::Error),
    /// There is no schema, or no right to use it.
    #[error("the database is not prepared; run `sextant-control init`: {0}")]
    NotPrepared(#[source] sqlx::Error),
    /// The schema is older than the program: it does not know an event that was to be appended.
    #[error("{0}; run `sextant-control init` of this version before its replicas")]
    EventTypeUnknown(String),
    /// Whoever prepares the database may not do so.
    #[error(
        "the role that prepares the database lacks {right}; let a superuser run \"{statement}\", \
         then run this again"
    )]
    OwnerLacks {
        /// Which right.
        right: String,
        /// What gives it, or does what it is needed for.
        statement: String,
    },
    /// The history of something has an event that this version cannot read. Nothing is decided on
    /// half of what is known; reads go on.
    #[error(
        "the history of this {} has an event \"{}\" that was written by a newer version; use a \
         replica of that version", kind.as_str(), event.event_type
    )]
    WrittenByNewer {
        /// What kind of thing.
        kind: AggregateKind,
        /// The first event that cannot be read.
        event: UnknownEvent,
    },
    /// What is to be read is still being filled from the log.
    #[error("{0} are still being filled from the log")]
    Filling(String),
    /// The replica is on its way down.
    #[error("this replica is shutting down; ask another one")]
    ShuttingDown,
    /// The database said something unexpected.
    #[error("the database failed: {0}")]
    Driver(#[source] sqlx::Error),
    /// A row cannot be what it is.
    #[error("table \"{table}\" holds a row that cannot be read: {reason}")]
    Inconsistent {
        /// Which table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The migrations cannot be applied.
    #[error("the database schema cannot be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// Whether the same call may work a moment later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::Contended(_)
                | Self::NotPrepared(_)
                | Self::EventTypeUnknown(_)
                | Self::OutcomeUnknown(_)
                | Self::WriterStalled(_)
                | Self::Filling(_)
                | Self::ShuttingDown
        )
    }

    /// An error of a statement that commits. A connection that is lost then says nothing of what
    /// became of the change; a deadlock or a time limit says that it was undone.
    pub(crate) fn of_commit(error: sqlx::Error) -> Self {
        match Self::from(error) {
            Self::Unavailable(error) if is_lost_connection(&error) => Self::OutcomeUnknown(error),
            other => other,
        }
    }
}

fn is_lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            code.starts_with("08") || code.starts_with("57P")
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                match (code.as_ref(), database.constraint()) {
                    // A foreign key fails when what was read a moment ago has been deleted.
                    ("SX002" | "23503", _) | ("23505", Some("events_aggregate_version")) => {
                        Self::VersionConflict
                    }
                    ("SX003", _) => Self::EventTypeUnknown(database.message().to_owned()),
                    ("23505", Some("key_claims_pkey")) => Self::KeyTaken,
                    ("23P01", _) => Self::PrefixTaken,
                    // Deadlock, serialization failure, lock or statement timeout: undone.
                    ("40P01" | "40001" | "55P03" | "57014", _) => Self::Contended(error),
                    // No such table or function, no right to use it.
                    ("42P01" | "42883" | "42501", _) => Self::NotPrepared(error),
                    // A session that was ended for idling in a transaction.
                    ("25P03", _) => Self::Unavailable(error),
                    // Not accepting connections, no such database, login refused, full.
                    ("55000" | "3D000" | "28000" | "28P01" | "53300", _) => {
                        Self::Unavailable(error)
                    }
                    // Connection exceptions, shutdown, starting up.
                    (code, _) if code.starts_with("08") || code.starts_with("57P") => {
                        Self::Unavailable(error)
                    }
                    _ => Self::Driver(error),
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            _ => Self::Driver(error),
        }
    }
}
