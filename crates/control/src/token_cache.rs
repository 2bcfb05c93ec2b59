//! API tokens that were checked a moment ago, so that not every request asks the database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sextant_model::{ApiTokenId, Timestamp};
use sextant_store::read::ApiTokenCredentials;

/// A revoked token may still work for so long.
const CACHED_FOR: Duration = Duration::from_secs(2);
const CACHE_SIZE: usize = 1024;

/// Credentials that were read a moment ago. A cache, not state: losing it costs a query.
#[derive(Debug, Default)]
pub struct TokenCache(Mutex<HashMap<ApiTokenId, (Timestamp, Arc<ApiTokenCredentials>)>>);

impl TokenCache {
    /// The credentials, if they were read a moment ago.
    pub fn get(&self, id: ApiTokenId, now: Timestamp) -> Option<Arc<ApiTokenCredentials>> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_SIZE {
            cache.clear();
        }
        cache.insert(id, (now, credentials.clone()));
        credentials
    }

    /// Forgets a token, because this replica has just revoked it.
    pub fn forget(&self, id: ApiTokenId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}
