//! One [`Backend`] for each address and way of checking it, however many routes use it, for as long
//! as one does: what is known of it survives changes of routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use sextant_model::routing::ServedRoute;

use crate::{
    balance::Backend,
    health::{Check, Owner, Watch},
};

/// Where it is, and how it is checked.
type Key = (SocketAddr, Option<Check>);

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
            let check = Check::of(address, route);
            let entry = backends.entry((address, check)).or_insert_with(|| {
                let backend = Arc::new(Backend::new(address));
                if let Some(check) = check {
                    let owner = Owner::of(route);
                    changes.push(Watch::Begin { check, backend: backend.clone(), owner });
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
            let key = (address, Check::of(address, route));
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
            if let (_, Some(check)) = key {
                self.changes.push(Watch::End { check, backend });
            }
        }
        std::mem::take(&mut self.changes)
    }
}
