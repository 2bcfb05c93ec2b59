//! What every request handler can reach.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use sextant_daemon::clock::{Clock, Entropy};
use sextant_model::{Refusal, Timestamp, quota::Quota};
use sextant_store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    appender::Appender,
    auth::{Principal, Scope},
    ca::Ca,
    database_clock::DatabaseClock,
    door::Door,
    error::ApiError,
    ingress::HostnameRules,
    rates::Rates,
    tail::Tail,
    token_cache::TokenCache,
};

/// Shared by all requests of a replica.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// Whether the replica's CA is the platform's, once that is known.
#[derive(Debug, Default)]
pub struct CaCheck(OnceLock<Option<String>>);

impl CaCheck {
    /// What was found: nothing wrong, or what.
    pub fn settle(&self, wrong: Option<String>) {
        let _ = self.0.set(wrong);
    }

    /// Why the replica is not ready, if so.
    pub fn ready(&self) -> Result<(), String> {
        match self.0.get() {
            Some(None) => Ok(()),
            Some(Some(wrong)) => Err(wrong.clone()),
            None => Err("whether this replica has the platform's CA is not known yet".into()),
        }
    }
}

/// The parts of [`App`].
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Who may come in, and whose turn it is.
    pub door: Door,
    /// The platform's CA.
    pub ca: Ca,
    /// Whether that is so.
    pub ca_check: CaCheck,
    /// Which hostnames need a proof.
    pub hostnames: HostnameRules,
    /// How long a withdrawn workload keeps its address.
    pub drain: Duration,
    /// A node that has not reported for so long is not waited for when another one leaves.
    pub silent: Duration,
    /// Where commands that only append one first event hand it in.
    pub appender: Appender,
    /// The log as it grows.
    pub tail: Tail,
    /// API tokens that were checked a moment ago.
    pub tokens: TokenCache,
    /// How fast the operators of each org have caused events here.
    pub rates: Rates,
    /// This machine's clock.
    pub clock: Box<dyn Clock>,
    /// How far that is from the database's.
    pub database_clock: DatabaseClock,
    /// Ids and secrets.
    pub entropy: Box<dyn Entropy>,
    /// The streams that are open, so that shutting down can wait for their goodbyes.
    pub streams: TaskTracker,
    /// Cancelled when the replica shuts down: long-lived streams end then.
    pub stop: CancellationToken,
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The database, by connections that are kept for callers like `who`: nodes do not wait for
    /// tenants.
    pub fn store_for(&self, who: Principal) -> Store {
        match who {
            Principal::Node { .. } => self.store.of_nodes(),
            Principal::Operator { .. } => self.store.clone(),
        }
    }

    /// The present moment, by the database's clock.
    pub fn now(&self) -> Timestamp {
        self.database_clock.of(self.clock.now())
    }

    /// A new id.
    pub fn id(&self) -> Uuid {
        self.entropy.id()
    }

    /// Counts `events` that an operator in `scope` is about to cause. Operators of the platform may
    /// cause any number.
    pub async fn count_events(&self, scope: Scope, events: u64) -> Result<(), ApiError> {
        let Scope::Org(org) = scope else { return Ok(()) };
        let now = self.now();
        if self.rates.must_ask(org, now) {
            let limit = self.store.begin().limit(org, Quota::EventsPerMinute).await?;
            self.rates.learn(org, limit, now);
        }
        Ok(self.rates.take(org, events, now).map_err(Refusal::from)?)
    }

    /// A random certificate serial number, positive (RFC 5280 section 4.1.2.2).
    pub fn serial(&self) -> [u8; 16] {
        let mut serial = [0; 16];
        serial.copy_from_slice(&self.entropy.bytes()[..16]);
        serial[0] = serial[0] & 0x7f | 0x40;
        serial
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
