//! A table whose entries keep their number while they live.

/// Entries by number; a number is given away again after its entry was removed.
#[derive(Debug)]
pub(super) struct Slots<T> {
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// The number the next entry will get.
    pub(super) fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.entries.len())
    }

    pub(super) fn insert(&mut self, entry: T) -> usize {
        if let Some(number) = self.free.pop() {
            self.entries[number] = Some(entry);
            number
        } else {
            self.entries.push(Some(entry));
            self.entries.len() - 1
        }
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.entries.get_mut(number)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: usize) {
        if self.entries.get_mut(number).is_some_and(|entry| entry.take().is_some()) {
            self.free.push(number);
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.free.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_away_again_only_after_its_entry_was_removed() {
        let mut slots = Slots::new();
        assert_eq!((slots.insert('a'), slots.insert('b')), (0, 1));
        slots.remove(0);
        slots.remove(0);
        assert_eq!((slots.len(), slots.next()), (1, 0));
        assert_eq!((slots.insert('c'), slots.insert('d')), (0, 2));
        assert_eq!(slots.get_mut(0), Some(&mut 'c'));
        assert_eq!(slots.get_mut(1), Some(&mut 'b'));
    }
}
