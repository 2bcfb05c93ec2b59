//! API tokens that were checked a moment ago, so that not every request asks the database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sextant_model::{ApiTokenId, Timestamp, secret::ApiToken};
use sextant_store::read::ApiTokenCredentials;
use subtle::ConstantTimeEq;

/// A revoked token may still work for so long.
const CACHED_FOR: Duration = Duration::from_secs(2);
const CACHE_SIZE: usize = 1024;

/// Credentials that were read a moment ago. A cache, not state: losing it costs a query.
#[derive(Debug, Default)]
pub struct TokenCache(Mutex<Known>);

type Known = HashMap<ApiTokenId, (Timestamp, Arc<ApiTokenCredentials>)>;

impl TokenCache {
    /// The credentials, if they were read a moment ago.
    pub fn get(&self, id: ApiTokenId, now: Timestamp) -> Option<Arc<ApiTokenCredentials>> {
        let cache = self.lock();
        let (read_at, credentials) = cache.get(&id)?;
        (now.since(*read_at) < CACHED_FOR && *read_at <= now).then(|| credentials.clone())
    }

    /// Keeps credentials that were just read.
    pub fn keep(
        &self,
        id: ApiTokenId,
        credentials: ApiTokenCredentials,
        now: Timestamp,
    ) -> Arc<ApiTokenCredentials> {
        let credentials = Arc::new(credentials);
        let mut cache = self.lock();
        if cache.len() >= CACHE_SIZE {
            cache.clear();
        }
        cache.insert(id, (now, credentials.clone()));
        credentials
    }

    /// Whether there was such a token, however long ago it was read.
    pub fn knows(&self, id: ApiTokenId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Whether the holder of this token has been let in here, however long ago: somebody who knows
    /// the secret is not guessing.
    pub fn has_proved(&self, token: &ApiToken) -> bool {
        let known = self.lock().get(&token.id).map(|(_, credentials)| credentials.clone());
        known.is_some_and(|known| !known.revoked && is_secret(token, &known))
    }

    /// Forgets a token, because this replica has just revoked it.
    pub fn forget(&self, id: ApiTokenId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares in constant time.
pub fn is_secret(token: &ApiToken, credentials: &ApiTokenCredentials) -> bool {
    let given = token.secret.hash();
    given.as_str().as_bytes().ct_eq(credentials.secret_hash.as_str().as_bytes()).into()
}
