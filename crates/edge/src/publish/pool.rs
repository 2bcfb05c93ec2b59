//! One [`Backend`] for each address and way of checking it, however many routes use it, for as long
//! as one does: what is known of it survives changes of routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use sextant_model::routing::{HealthSource, ServedRoute};

use crate::{balance::Backend, health::Watch};

/// Where it is, and what is connected to for checks.
type Key = (SocketAddr, Option<SocketAddr>);

#[derive(Debug, Default)]
pub struct Pool {
    backends: BTreeMap<Key, Entry>,
    /// What somebody has stopped using since the last call of [`Pool::take_changes`].
    released: BTreeSet<Key>,
    changes: Vec<Watch>,
}

#[derive(Debug)]
struct Entry {
    backend: Arc<Backend>,
    uses: usize,
}

impl Pool {
    /// The backends of `route`, counted as used by it.
    pub fn acquire(&mut self, route: &ServedRoute) -> Arc<[Arc<Backend>]> {
        let (backends, changes) = (&mut self.backends, &mut self.changes);
        let acquire = |&address: &SocketAddr| {
            let target = target(address, route.health_source);
            let entry = backends.entry((address, target)).or_insert_with(|| {
                let backend = Arc::new(Backend::new(address));
                if let Some(target) = target {
                    changes.push(Watch::Begin { target, backend: backend.clone() });
                }
                Entry { backend, uses: 0 }
            });
            entry.uses += 1;
            entry.backend.clone()
        };
        route.backends.iter().map(acquire).collect()
    }

    /// The route does not use its backends any more. They are kept until the end of the change: a
    /// route that moves gives them up and takes them again.
    pub fn release(&mut self, route: &ServedRoute) {
        for &address in &route.backends {
            let key = (address, target(address, route.health_source));
            let Some(entry) = self.backends.get_mut(&key) else { continue };
            entry.uses -= 1;
            if entry.uses == 0 {
                self.released.insert(key);
            }
        }
    }

    /// Ends a change: forgets the backends that nobody uses. What has begun and ended since the last
    /// call, in order.
    pub fn take_changes(&mut self) -> Vec<Watch> {
        for key in std::mem::take(&mut self.released) {
            if self.backends.get(&key).is_none_or(|entry| entry.uses > 0) {
                continue;
            }
            let Some(Entry { backend, .. }) = self.backends.remove(&key) else { continue };
            if let (_, Some(target)) = key {
                self.changes.push(Watch::End { target, backend });
            }
        }
        std::mem::take(&mut self.changes)
    }
}

/// What to connect to, to know how a backend is.
fn target(address: SocketAddr, source: HealthSource) -> Option<SocketAddr> {
    match source {
        HealthSource::None => None,
        HealthSource::Tcp { port: None } => Some(address),
        HealthSource::Tcp { port: Some(port) } => Some(SocketAddr::new(address.ip(), port)),
    }
}
