//! Where connections are kept, and the names that events and deadlines know them by.

use rustix::event::epoll::EventData;

/// Numbered places for values. A place is used again with another generation, so that a key of a
/// value that is gone finds nothing.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    /// Never 0.
    generation: u32,
    value: Option<T>,
}

/// Names a value of a [`Slab`], also when it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which place.
    pub index: u32,
    generation: u32,
}

/// Most connections of one worker.
const MAX_INDEX: u32 = 1 << 29;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// There is something in the mailbox.
    Mailbox,
    /// A listening socket, by a number that is not used again.
    Listener(u32),
    /// The client of a connection.
    Client(Key),
    /// The backend that is tried so many attempts (at most 3) after the first.
    Backend(Key, u8),
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Keeps `value`. `None` if there is no place left.
    pub fn insert(&mut self, value: T) -> Option<Key> {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Some(Key { index, generation: place.generation });
        }
        let index = u32::try_from(self.places.len()).ok().filter(|index| *index < MAX_INDEX)?;
        self.places.push(Place { generation: 1, value: Some(value) });
        Some(Key { index, generation: 1 })
    }

    /// The value, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    /// Takes the value, if it is still there.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1).max(1);
        self.free.push(key.index);
        Some(value)
    }

    /// The key of what is at a place now.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let place = self.places.get(index as usize)?;
        place.value.as_ref().map(|_| Key { index, generation: place.generation })
    }

    /// The keys of all values.
    pub fn keys(&self) -> Vec<Key> {
        let all = 0..u32::try_from(self.places.len()).unwrap_or(MAX_INDEX);
        all.filter_map(|index| self.key_at(index)).collect()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

impl From<Token> for EventData {
    /// Bits 32 and up: the generation, 0 for what is no connection. Below: the index, two bits for
    /// the attempt, one for the side.
    fn from(token: Token) -> Self {
        let of = |key: Key, low: u32| {
            u64::from(key.generation) << 32 | u64::from(key.index) << 3 | u64::from(low)
        };
        Self::new_u64(match token {
            Token::Mailbox => 0,
            Token::Listener(number) => u64::from(number) + 1,
            Token::Client(key) => of(key, 0),
            Token::Backend(key, attempt) => of(key, u32::from(attempt & 3) << 1 | 1),
        })
    }
}

impl From<EventData> for Token {
    fn from(data: EventData) -> Self {
        let data = data.u64();
        let [high, low] =
            [data >> 32, data & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or(0));
        if high == 0 {
            return low.checked_sub(1).map_or(Self::Mailbox, Self::Listener);
        }
        let key = Key { index: low >> 3, generation: high };
        if low & 1 == 0 {
            Self::Client(key)
        } else {
            Self::Backend(key, u8::try_from(low >> 1 & 3).unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_what_is_gone_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert("first").expect("room");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second").expect("room");
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.key_at(second.index), Some(second));
        assert_eq!((slab.len(), slab.keys()), (1, vec![second]));
    }

    #[test]
    fn tokens_survive_the_kernel() {
        let key = Key { index: MAX_INDEX - 1, generation: u32::MAX };
        let small = Key { index: 0, generation: 1 };
        for token in [
            Token::Mailbox,
            Token::Listener(0),
            Token::Listener(u32::MAX - 1),
            Token::Client(key),
            Token::Client(small),
            Token::Backend(key, 2),
            Token::Backend(small, 0),
        ] {
            assert_eq!(Token::from(EventData::from(token)), token);
        }
    }
}
