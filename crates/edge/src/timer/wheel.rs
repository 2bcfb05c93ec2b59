//! A wheel of deadlines, one for each entry of a slab.

use std::time::Duration;

use super::Moment;

/// No entry.
const NONE: u32 = u32::MAX;
/// Slots of one turn; a power of two.
const SLOTS: u32 = 1024;

/// At most one deadline for each small number, rounded up to ticks. Setting and cancelling one
/// takes constant time and allocates nothing but room for new highest numbers. A deadline that was
/// cancelled is gone: it cannot fire for whoever has the number next.
#[derive(Debug)]
pub struct Wheel {
    tick: Duration,
    /// The last tick that has been fired.
    current: u64,
    /// First entry of each slot.
    slots: Box<[u32]>,
    entries: Vec<Entry>,
    set: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// In ticks; meaningless unless linked.
    deadline: u64,
    next: u32,
    /// The entry before; the slot itself if `first`.
    previous: u32,
    linked: bool,
    first: bool,
}

const UNSET: Entry = Entry { deadline: 0, next: NONE, previous: NONE, linked: false, first: false };

impl Wheel {
    /// An empty wheel that turns every `tick`, starting `now`.
    pub fn new(tick: Duration, now: Moment) -> Self {
        let mut wheel = Self {
            tick: tick.max(Duration::from_millis(1)),
            current: 0,
            slots: vec![NONE; SLOTS as usize].into(),
            entries: Vec::new(),
            set: 0,
        };
        wheel.current = wheel.whole_ticks(now);
        wheel
    }

    /// Sets the deadline of `index`, in place of the one it had. It fires at the first tick that is
    /// not before it.
    pub fn set(&mut self, index: u32, deadline: Moment) {
        self.cancel(index);
        let room = index as usize + 1;
        if self.entries.len() < room {
            self.entries.resize(room, UNSET);
        }
        let ticks = (self.whole_ticks(deadline) + 1).max(self.current + 1);
        let slot = slot_of(ticks);
        let next = self.slots[slot];
        if next != NONE {
            let entry = &mut self.entries[next as usize];
            (entry.previous, entry.first) = (index, false);
        }
        self.slots[slot] = index;
        self.entries[index as usize] =
            Entry { deadline: ticks, next, previous: NONE, linked: true, first: true };
        self.set += 1;
    }

    /// Takes away the deadline of `index`, if it has one.
    pub fn cancel(&mut self, index: u32) {
        let Some(entry) = self.entries.get(index as usize).copied() else { return };
        if !entry.linked {
            return;
        }
        if entry.first {
            self.slots[slot_of(entry.deadline)] = entry.next;
        } else {
            self.entries[entry.previous as usize].next = entry.next;
        }
        if entry.next != NONE {
            let next = &mut self.entries[entry.next as usize];
            (next.previous, next.first) = (entry.previous, entry.first);
        }
        self.entries[index as usize] = UNSET;
        self.set -= 1;
    }

    /// Moves what is due to `fired`, without its deadline; each index once.
    pub fn advance(&mut self, now: Moment, fired: &mut Vec<u32>) {
        let target = self.whole_ticks(now);
        if target <= self.current {
            return;
        }
        // After a long pause each slot is looked at once, not once for each turn missed.
        let turns = (target - self.current).min(u64::from(SLOTS));
        self.current = target;
        for ticks in target + 1 - turns..=target {
            self.fire_slot(slot_of(ticks), target, fired);
        }
    }

    fn fire_slot(&mut self, slot: usize, target: u64, fired: &mut Vec<u32>) {
        let mut index = self.slots[slot];
        while index != NONE {
            let entry = self.entries[index as usize];
            if entry.deadline <= target {
                self.cancel(index);
                fired.push(index);
            }
            index = entry.next;
        }
    }

    /// How long to wait until something may be due, at most `longest`.
    pub fn wait(&self, now: Moment, longest: Duration) -> Duration {
        if self.set == 0 {
            return longest;
        }
        let in_use = |ticks: &u64| self.slots[slot_of(*ticks)] != NONE;
        let tick = u64::try_from(self.tick.as_micros()).unwrap_or(u64::MAX);
        // Nobody asks for what lies behind the longest wait.
        let reach = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX) / tick + 2;
        let first = self.current + 1;
        let Some(due) = (first..first + reach.min(u64::from(SLOTS))).find(in_use) else {
            return longest;
        };
        Moment::from_micros(due.saturating_mul(tick)).since(now).min(longest)
    }

    fn whole_ticks(&self, moment: Moment) -> u64 {
        moment.as_micros() / u64::try_from(self.tick.as_micros()).unwrap_or(u64::MAX)
    }
}

fn slot_of(ticks: u64) -> usize {
    usize::try_from(ticks % u64::from(SLOTS)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
