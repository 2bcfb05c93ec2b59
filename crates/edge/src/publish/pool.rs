//! One [`Backend`] for each address and way of checking it, however many routes use it, for as long
//! as one does: what is known of it survives changes of routes.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use sextant_model::routing::ServedRoute;

use crate::{
    balance::Backend,
    health::{Check, Watch},
};

/// Where it is, and how it is checked.
type Key = (SocketAddr, Option<Check>);

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
            let check = Check::of(address, route);
            let entry = backends.entry((address, check)).or_insert_with(|| {
                let backend = Arc::new(Backend::new(address));
                if let Some(check) = check {
                    changes.push(Watch::Begin { check, backend: backend.clone() });
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
            let check = Check::of(address, route);
            let key = (address, check);
            let Some(entry) = self.backends.get_mut(&key) else { continue };
            entry.uses -= 1;
            if entry.uses == 0 {
                if let Some(check) = check {
                    let backend = entry.backend.clone();
                    self.changes.push(Watch::End { check, backend });
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
