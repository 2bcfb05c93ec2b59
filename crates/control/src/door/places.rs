//! Which connections there may be: a place for each, kept apart for strangers, tenants, operators
//! of the platform and nodes, so that none of these takes the places of another.
//!
//! Pure: [`Places`] decides, [`super::entrance`] acts.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use sextant_model::{ApiTokenId, NodeId, OrgId};
use uuid::Uuid;

use super::source::Source;

/// The places of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// In all.
    pub places: usize,
    /// Of one source, org, operator's token or node.
    pub of_group: usize,
    /// Of one token of an org.
    pub of_member: usize,
}

/// The places of every class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Who has not been authenticated yet.
    pub strangers: Share,
    /// The same, of the machine itself, where many programs share one address.
    pub loopback: usize,
    /// Holders of an org's token.
    pub tenants: Share,
    /// Holders of a token of the platform.
    pub operators: Share,
    /// Nodes.
    pub nodes: Share,
}

impl Shares {
    /// Places in all.
    pub fn places(&self) -> usize {
        Class::ALL.iter().map(|class| self.of(*class).places).sum()
    }

    /// The same shares of at most `places` in all. Every class keeps at least one.
    #[must_use]
    pub fn within(mut self, places: usize) -> Self {
        let all = self.places().max(1);
        if places < all {
            for share in
                [&mut self.strangers, &mut self.tenants, &mut self.operators, &mut self.nodes]
            {
                share.places = (share.places * places / all).max(1);
            }
        }
        self
    }

    fn of(&self, class: Class) -> &Share {
        match class {
            Class::Strangers => &self.strangers,
            Class::Tenants => &self.tenants,
            Class::Operators => &self.operators,
            Class::Nodes => &self.nodes,
        }
    }

    fn of_group(&self, holder: Holder) -> usize {
        match holder {
            Holder::Stranger(Source::Loopback) => self.loopback,
            holder => self.of(holder.class()).of_group,
        }
    }
}

/// Who has places of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Not authenticated.
    Strangers,
    /// Holders of an org's token.
    Tenants,
    /// Holders of a token of the platform.
    Operators,
    /// Nodes.
    Nodes,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Strangers, Self::Tenants, Self::Operators, Self::Nodes];

    /// The word used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strangers => "strangers",
            Self::Tenants => "tenants",
            Self::Operators => "operators",
            Self::Nodes => "nodes",
        }
    }
}

/// Who holds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// Somebody who has not been authenticated yet.
    Stranger(Source),
    /// The holder of an org's token.
    Tenant(OrgId, ApiTokenId),
    /// The holder of a token of the platform.
    Operator(ApiTokenId),
    /// A node, by its certificate.
    Node(NodeId),
}

impl Holder {
    /// Whose places it takes.
    pub fn class(self) -> Class {
        match self {
            Self::Stranger(_) => Class::Strangers,
            Self::Tenant(..) => Class::Tenants,
            Self::Operator(_) => Class::Operators,
            Self::Node(_) => Class::Nodes,
        }
    }

    fn group(self) -> u128 {
        match self {
            Self::Stranger(source) => source.key(),
            Self::Tenant(org, _) => org.0.as_u128(),
            Self::Operator(token) => token.0.as_u128(),
            Self::Node(node) => node.0.as_u128(),
        }
    }

    fn member(self) -> Option<Uuid> {
        match self {
            Self::Tenant(_, token) => Some(token.0),
            _ => None,
        }
    }
}

/// One connection. Later ones have higher numbers.
pub type ConnectionId = u64;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// This token has as many as it may.
    #[error("this API token has as many connections to this replica as it may have; close some")]
    Member,
    /// This source, org, operator or node has as many as it may.
    #[error(
        "too many connections to this replica from the same source, org, token or node; close some"
    )]
    Group,
    /// The class has as many as there are, and nobody in it has more than a fair share.
    #[error("this replica has as many connections as it may have; try another one, or later")]
    Class,
}

/// The places and who holds them.
#[derive(Debug)]
pub struct Places {
    shares: Shares,
    next: ConnectionId,
    entries: BTreeMap<ConnectionId, Entry>,
    pots: BTreeMap<Class, Pot>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    holder: Holder,
    /// A request of it is being worked on.
    busy: bool,
}

#[derive(Debug, Default)]
struct Pot {
    taken: usize,
    groups: BTreeMap<u128, BTreeSet<ConnectionId>>,
    members: BTreeMap<Uuid, usize>,
}

impl Places {
    /// All free.
    pub fn new(shares: Shares) -> Self {
        let pots = Class::ALL.into_iter().map(|class| (class, Pot::default())).collect();
        Self { shares, next: 0, entries: BTreeMap::new(), pots }
    }

    /// A new connection from `source`. Returns it, and the one that gave way to it, if any.
    pub fn enter(&mut self, source: Source) -> Result<(ConnectionId, Option<ConnectionId>), Full> {
        let holder = Holder::Stranger(source);
        let gave_way = self.make_room(holder)?;
        let id = self.next;
        self.next += 1;
        self.put(id, Entry { holder, busy: false });
        Ok((id, gave_way))
    }

    /// The connection turns out to be `holder`'s. Returns the one that gave way, if any. If there is
    /// no place the connection stays what it was.
    pub fn claim(
        &mut self,
        id: ConnectionId,
        holder: Holder,
    ) -> Result<Option<ConnectionId>, Full> {
        let Some(before) = self.entries.get(&id).copied() else {
            // It has just given way to another.
            return Err(Full::Class);
        };
        if before.holder == holder {
            return Ok(None);
        }
        // Without its old place, so that it neither counts twice nor gives way to itself.
        self.leave(id);
        let room = self.make_room(holder);
        let holder = if room.is_ok() { holder } else { before.holder };
        self.put(id, Entry { holder, ..before });
        room
    }

    /// Whether a request of the connection is being worked on; it does not give way meanwhile.
    pub fn set_busy(&mut self, id: ConnectionId, busy: bool) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.busy = busy;
        }
    }

    /// The connection has ended.
    pub fn leave(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        let Some(pot) = self.pots.get_mut(&entry.holder.class()) else { return };
        pot.taken -= 1;
        let group = entry.holder.group();
        if let Some(ids) = pot.groups.get_mut(&group) {
            ids.remove(&id);
            if ids.is_empty() {
                pot.groups.remove(&group);
            }
        }
        if let Some(member) = entry.holder.member() {
            let count = pot.members.entry(member).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                pot.members.remove(&member);
            }
        }
    }

    /// Places taken in a class.
    pub fn taken(&self, class: Class) -> usize {
        self.pots.get(&class).map_or(0, |pot| pot.taken)
    }

    /// Places there are in a class.
    pub fn places(&self, class: Class) -> usize {
        self.shares.of(class).places
    }

    fn put(&mut self, id: ConnectionId, entry: Entry) {
        self.entries.insert(id, entry);
        let pot = self.pots.entry(entry.holder.class()).or_default();
        pot.taken += 1;
        pot.groups.entry(entry.holder.group()).or_default().insert(id);
        if let Some(member) = entry.holder.member() {
            *pot.members.entry(member).or_default() += 1;
        }
    }

    /// Sees to it that `holder` can have one more, within the bounds of its class.
    fn make_room(&mut self, holder: Holder) -> Result<Option<ConnectionId>, Full> {
        let class = holder.class();
        let share = *self.shares.of(class);
        let Some(pot) = self.pots.get(&class) else { return Ok(None) };
        let of_member = holder.member().and_then(|member| pot.members.get(&member));
        if of_member.is_some_and(|count| *count >= share.of_member) {
            return Err(Full::Member);
        }
        let own = pot.groups.get(&holder.group()).map_or(0, BTreeSet::len);
        let yielding = if own >= self.shares.of_group(holder) {
            // A newcomer is worth more than a silent connection of the same source.
            let own = pot.groups.get(&holder.group()).filter(|_| class == Class::Strangers);
            own.and_then(|ids| self.yielding(class, ids)).ok_or(Full::Group)?
        } else if self.taken(class) >= share.places {
            self.of_the_largest(class, own).ok_or(Full::Class)?
        } else {
            return Ok(None);
        };
        self.leave(yielding);
        Ok(Some(yielding))
    }

    /// The connection that gives way in a full class: one of the group that has most, which must be
    /// more than the one who asks would have; among strangers it may be as many.
    fn of_the_largest(&self, class: Class, own: usize) -> Option<ConnectionId> {
        let least = if class == Class::Strangers { own.max(1) } else { own + 2 };
        let groups = &self.pots.get(&class)?.groups;
        let large = groups.values().filter(|ids| ids.len() >= least);
        let candidates = large.filter_map(|ids| Some((ids.len(), self.yielding(class, ids)?)));
        // Of those with equally many, the one that has waited longest.
        let chosen = candidates.max_by_key(|(count, id)| (*count, std::cmp::Reverse(*id)));
        chosen.map(|(_, id)| id)
    }

    /// Strangers who have been silent longest go first; of the others those who came last, because
    /// what has stood for long is worth more.
    fn yielding(&self, class: Class, ids: &BTreeSet<ConnectionId>) -> Option<ConnectionId> {
        let idle = |id: &&ConnectionId| self.entries.get(id).is_some_and(|entry| !entry.busy);
        match class {
            Class::Strangers => ids.iter().find(idle).copied(),
            _ => ids.iter().rev().find(idle).copied(),
        }
    }
}
