//! One [`Backend`] for each address and way of checking it, however many routes use it, for as long
//! as one does: what is known of it survives changes of routes.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use sextant_model::routing::{HealthSource, ServedRoute};

use crate::{balance::Backend, health::Watch};

/// Where it is, and what is connected to for checks.
type Key = (SocketAddr, Option<SocketAddr>);

#[derive(Debug, Default)]
pub struct Pool {
    backends: BTreeMap<Key, Entry>,
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

    /// The route does not use its backends any more.
    pub fn release(&mut self, route: &ServedRoute) {
        for &address in &route.backends {
            let target = target(address, route.health_source);
            let key = (address, target);
            let Some(entry) = self.backends.get_mut(&key) else { continue };
            entry.uses -= 1;
            if entry.uses == 0 {
                if let Some(target) = target {
                    let backend = entry.backend.clone();
                    self.changes.push(Watch::End { target, backend });
                }
                self.backends.remove(&key);
            }
        }
    }

    /// What has begun and ended since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Watch> {
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
