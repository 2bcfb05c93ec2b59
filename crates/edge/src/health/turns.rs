//! Whose turn it is: places are shared among owners so that one who needs many for long leaves some to
//! everybody else.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

/// What waits and what is under way, by owner. An owner gets another place only while more are free
/// than it has: one alone gets half of them, two who want all get a third each, and so on. So whoever
/// has none finds one free, unless there are as many owners who take all they can as there are places.
#[derive(Debug)]
pub struct Turns<O, K> {
    places: usize,
    waiting: BTreeMap<O, VecDeque<K>>,
    under_way: BTreeMap<O, usize>,
    taken: usize,
    /// Who got the last place.
    last: Option<O>,
}

impl<O: Clone + Ord, K> Turns<O, K> {
    /// So many places.
    pub fn new(places: usize) -> Self {
        Self { places, waiting: BTreeMap::new(), under_way: BTreeMap::new(), taken: 0, last: None }
    }

    /// `key` waits for a place of `owner`.
    pub fn wait(&mut self, owner: O, key: K) {
        self.waiting.entry(owner).or_default().push_back(key);
    }

    /// The next that gets a place, owners one after the other.
    pub fn begin(&mut self) -> Option<(O, K)> {
        let owner = self.next_owner()?;
        let keys = self.waiting.get_mut(&owner)?;
        let key = keys.pop_front()?;
        if keys.is_empty() {
            self.waiting.remove(&owner);
        }
        *self.under_way.entry(owner.clone()).or_default() += 1;
        self.taken += 1;
        self.last = Some(owner.clone());
        Some((owner, key))
    }

    /// A place of `owner` is free again.
    pub fn end(&mut self, owner: &O) {
        let Some(count) = self.under_way.get_mut(owner) else { return };
        *count -= 1;
        if *count == 0 {
            self.under_way.remove(owner);
        }
        self.taken -= 1;
    }

    fn next_owner(&self) -> Option<O> {
        let free = self.places - self.taken;
        if free == 0 {
            return None;
        }
        let may = |owner: &&O| self.under_way.get(*owner).is_none_or(|held| *held < free);
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.waiting.range((after, Bound::Unbounded)).map(|(owner, _)| owner);
        later.find(may).or_else(|| self.waiting.keys().find(may)).cloned()
    }
}
