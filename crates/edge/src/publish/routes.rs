//! From the routes that should be served to the table of those that can be. A change costs what it
//! changes, however many routes there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use rpds::RedBlackTreeMapSync;
use sextant_model::routing::{RouteKey, ServedRoute, Table, table::Conflict};

use super::pool::Pool;
use crate::{health::Watch, table::Route};

/// Routes by their keys. Cloning is cheap.
pub type Served = RedBlackTreeMapSync<RouteKey, Arc<Route>>;

/// What is to be different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Routes to serve, new or instead of those of the same keys.
    pub put: Vec<ServedRoute>,
    /// Routes to serve no longer.
    pub remove: Vec<RouteKey>,
}

/// What a change did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Routes that are gone.
    pub removed: Vec<Arc<Route>>,
    /// Whether a route that stays has lost a backend.
    pub lost_backends: bool,
    /// Whether routes listen on other addresses than before.
    pub listens: bool,
    /// Records that were refused by it.
    pub refused: Vec<RouteKey>,
    /// What checks have to know.
    pub watch: Vec<Watch>,
}

/// A record that cannot stand beside another one.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The record.
    pub route: ServedRoute,
    /// Why it is not served.
    pub conflict: Conflict,
}

/// Every route that should be served.
#[derive(Debug, Default)]
pub struct Routes {
    table: Table<Arc<Route>>,
    served: Served,
    refused: BTreeMap<RouteKey, Refused>,
    pool: Pool,
    /// How many routes listen where.
    listens: BTreeMap<SocketAddr, usize>,
}

impl Change {
    /// What makes the routes of `current` those of `wanted`.
    pub fn between<'r>(
        current: impl Iterator<Item = &'r RouteKey>,
        wanted: Vec<ServedRoute>,
    ) -> Self {
        let keys: BTreeSet<&RouteKey> = wanted.iter().map(|route| &route.key).collect();
        let remove = current.filter(|key| !keys.contains(key)).cloned().collect();
        Self { put: wanted, remove }
    }
}

impl Routes {
    /// The table of the routes that are served. Cheap.
    pub fn table(&self) -> Table<Arc<Route>> {
        self.table.clone()
    }

    /// Keys of all routes, served or refused.
    pub fn keys(&self) -> impl Iterator<Item = &RouteKey> {
        self.served.keys().chain(self.refused.keys())
    }

    /// The routes that are served.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// The records that are refused.
    pub fn refused(&self) -> &BTreeMap<RouteKey, Refused> {
        &self.refused
    }

    /// Where routes listen.
    pub fn listens(&self) -> BTreeSet<SocketAddr> {
        self.listens.keys().copied().collect()
    }

    /// Takes in a change. What cannot stand beside others is set aside, and tried again when
    /// something else goes.
    pub fn apply(&mut self, change: Change) -> Applied {
        let mut applied = Applied::default();
        // Room is made first: two routes may exchange their places.
        let mut freed = BTreeSet::new();
        for key in &change.remove {
            self.refused.remove(key);
            if let Some(route) = self.take_out(key, &mut applied) {
                freed.insert(route.served().listen);
                applied.removed.push(route);
            }
        }
        let mut moved = BTreeMap::new();
        for route in &change.put {
            self.refused.remove(&route.key);
            let current = self.served.get(&route.key).map(|current| current.served());
            if current.is_some_and(|current| !same_place(current, route))
                && let Some(before) = self.take_out(&route.key, &mut applied)
            {
                freed.insert(before.served().listen);
                moved.insert(route.key.clone(), before);
            }
        }
        for route in change.put {
            let before = moved.remove(&route.key);
            self.put(route, before, &mut applied);
        }
        if !freed.is_empty() {
            self.retry(&freed, &mut applied);
        }
        applied.watch = self.pool.take_changes();
        applied
    }

    fn put(&mut self, route: ServedRoute, moved: Option<Arc<Route>>, applied: &mut Applied) {
        let current = self.served.get(&route.key).cloned();
        if current.as_ref().is_some_and(|current| *current.served() == route) {
            return;
        }
        if let Some(before) = current.as_ref().or(moved.as_ref()) {
            let before = &before.served().backends;
            applied.lost_backends |= before.iter().any(|one| !route.backends.contains(one));
        }
        let backends = self.pool.acquire(&route);
        let entry = Arc::new(match current.as_ref().or(moved.as_ref()) {
            Some(before) => before.changed(route.clone(), backends),
            None => Route::new(route.clone(), backends),
        });
        match self.table.insert(&route.key, route.listen, &route.matching, entry.clone()) {
            Ok(()) => {
                if current.is_none() {
                    let count = self.listens.entry(route.listen).or_default();
                    *count += 1;
                    applied.listens |= *count == 1;
                }
                if let Some(before) = current {
                    self.pool.release(before.served());
                }
                self.served.insert_mut(route.key.clone(), entry);
            }
            Err(conflict) => {
                self.pool.release(&route);
                applied.refused.push(route.key.clone());
                // It is served nowhere now, neither here nor where it was.
                applied.removed.extend(moved);
                self.refused.insert(route.key.clone(), Refused { route, conflict });
            }
        }
    }

    fn take_out(&mut self, key: &RouteKey, applied: &mut Applied) -> Option<Arc<Route>> {
        let route = self.served.get(key)?.clone();
        self.served.remove_mut(key);
        self.table.remove(key);
        self.pool.release(route.served());
        let listen = route.served().listen;
        if let Some(count) = self.listens.get_mut(&listen) {
            *count -= 1;
            if *count == 0 {
                self.listens.remove(&listen);
                applied.listens = true;
            }
        }
        Some(route)
    }

    /// Somebody else's place may be free now.
    fn retry(&mut self, freed: &BTreeSet<SocketAddr>, applied: &mut Applied) {
        let waiting: Vec<ServedRoute> = self
            .refused
            .values()
            .filter(|refused| freed.contains(&refused.route.listen))
            .map(|refused| refused.route.clone())
            .collect();
        for route in waiting {
            self.refused.remove(&route.key);
            self.put(route, None, applied);
        }
        applied.refused.retain(|key| self.refused.contains_key(key));
        applied.refused.sort();
        applied.refused.dedup();
    }
}

fn same_place(one: &ServedRoute, other: &ServedRoute) -> bool {
    one.listen == other.listen && one.matching == other.matching
}

#[cfg(test)]
mod tests;
