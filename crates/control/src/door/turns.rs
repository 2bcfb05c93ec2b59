//! Whose request is worked on next: at most so many of one group and of one member at the same
//! time, and turn about between the groups that wait.
//!
//! Pure: [`Turns`] decides, [`super::lane`] acts.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

/// How many may work and wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Work at the same time.
    pub at_once: usize,
    /// Work at the same time, of one group: an org, a node, a source.
    pub of_group: usize,
    /// Work at the same time, of one member of a group: a token.
    pub of_member: usize,
    /// Wait, of one group.
    pub queue_of_group: usize,
    /// Wait in all.
    pub queue: usize,
}

/// Who asks for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Groups take turns.
    pub group: u128,
    /// One of the group.
    pub member: u128,
}

/// One who waits.
pub type Ticket = u64;

/// The answer to one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Work now.
    Go,
    /// Wait; [`Turns::done`] names the ticket when it is its turn.
    Wait(Ticket),
    /// Too many of the same group wait.
    GroupFull,
    /// Too many wait.
    Full,
}

/// Who works and who waits.
#[derive(Debug)]
pub struct Turns {
    rules: Rules,
    working: usize,
    waiting: usize,
    next: Ticket,
    groups: BTreeMap<u128, Group>,
    members: BTreeMap<u128, usize>,
    /// The groups that wait, in the order in which they get their turns.
    round: VecDeque<u128>,
}

#[derive(Debug, Default)]
struct Group {
    working: usize,
    waiting: VecDeque<(Ticket, Who)>,
}

impl Turns {
    /// Nobody there.
    pub fn new(rules: Rules) -> Self {
        let (groups, members) = (BTreeMap::new(), BTreeMap::new());
        Self { rules, working: 0, waiting: 0, next: 0, groups, members, round: VecDeque::new() }
    }

    /// Asks for a turn. Whoever can work does at once: those who wait cannot, or they would not.
    pub fn ask(&mut self, who: Who) -> Asked {
        if self.may_work(who) {
            self.start(who);
            return Asked::Go;
        }
        if self.waiting >= self.rules.queue {
            return Asked::Full;
        }
        let group = self.groups.entry(who.group).or_default();
        if group.waiting.len() >= self.rules.queue_of_group {
            return Asked::GroupFull;
        }
        if group.waiting.is_empty() {
            self.round.push_back(who.group);
        }
        let ticket = self.next;
        self.next += 1;
        group.waiting.push_back((ticket, who));
        self.waiting += 1;
        Asked::Wait(ticket)
    }

    /// The turn of `who` is over. Returns those whose turn it is now.
    pub fn done(&mut self, who: Who) -> Vec<Ticket> {
        self.working = self.working.saturating_sub(1);
        if let Some(group) = self.groups.get_mut(&who.group) {
            group.working = group.working.saturating_sub(1);
        }
        if let Some(count) = self.members.get_mut(&who.member) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.members.remove(&who.member);
            }
        }
        self.tidy(who.group);
        let mut started = Vec::new();
        while let Some(ticket) = self.start_next() {
            started.push(ticket);
        }
        started
    }

    /// One who waits has gone.
    pub fn forget(&mut self, ticket: Ticket, who: Who) {
        let Some(group) = self.groups.get_mut(&who.group) else { return };
        let before = group.waiting.len();
        group.waiting.retain(|(waiting, _)| *waiting != ticket);
        self.waiting -= before - group.waiting.len();
        if group.waiting.is_empty() {
            self.round.retain(|waiting| *waiting != who.group);
        }
        self.tidy(who.group);
    }

    /// How many work and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.working, self.waiting)
    }

    fn may_work(&self, who: Who) -> bool {
        let of_group = self.groups.get(&who.group).map_or(0, |group| group.working);
        let of_member = self.members.get(&who.member).copied().unwrap_or(0);
        self.working < self.rules.at_once
            && of_group < self.rules.of_group
            && of_member < self.rules.of_member
    }

    fn start(&mut self, who: Who) {
        self.working += 1;
        self.groups.entry(who.group).or_default().working += 1;
        *self.members.entry(who.member).or_default() += 1;
    }

    /// Starts the first in the round who may work; its group goes to the end of the round.
    fn start_next(&mut self) -> Option<Ticket> {
        if self.working >= self.rules.at_once {
            return None;
        }
        for position in 0..self.round.len() {
            let key = *self.round.get(position)?;
            let waiting = &self.groups.get(&key)?.waiting;
            let Some(index) = waiting.iter().position(|(_, who)| self.may_work(*who)) else {
                continue;
            };
            let group = self.groups.get_mut(&key)?;
            let (ticket, who) = group.waiting.remove(index)?;
            let more = !group.waiting.is_empty();
            self.waiting -= 1;
            self.round.remove(position);
            if more {
                self.round.push_back(key);
            }
            self.start(who);
            return Some(ticket);
        }
        None
    }

    fn tidy(&mut self, group: u128) {
        let idle = |group: &Group| group.working == 0 && group.waiting.is_empty();
        if self.groups.get(&group).is_some_and(idle) {
            self.groups.remove(&group);
        }
    }
}
