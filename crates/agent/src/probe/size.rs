//! The largest packet that passes to a peer and back. The interface's MTU says what may be sent; a
//! narrower underlay somewhere on the way swallows it without a word.
//!
//! First one echo as long as the MTU. If it is lost twice while short ones come back, the largest
//! that passes is searched for: first the least that IPv6 asks for, then by halves.

use std::time::{Duration, Instant};

use sextant_model::mtu::MINIMUM;

use super::{DEADLINE, Outstanding};

/// Between the first long echoes to two peers.
pub(super) const SPREAD: Duration = Duration::from_millis(200);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
const LONGEST_INTERVAL: Duration = Duration::from_secs(300);
/// Losses of one size that are no accident.
const TRIES: u32 = 2;
/// How exact the answer is, in bytes.
const STEP: u32 = 8;
/// Bytes of a packet with a short echo, which passes.
const SHORT: u32 = 56;

/// Looks for the largest packet that passes to one peer.
#[derive(Debug)]
pub(super) struct SizeSearch {
    due_at: Instant,
    outstanding: Option<Outstanding>,
    /// The size that is tried, in bytes; 0 before the MTU is known.
    size: u32,
    losses: u32,
    /// Known to pass, in this search.
    passes: u32,
    /// Known to be lost, in this search.
    fails: Option<u32>,
    /// What the last search came to.
    largest: Option<u32>,
}

/// Two echoes in a second to all peers together, and none of them too often or too rarely.
pub(super) fn interval(peers: usize) -> Duration {
    let peers = u32::try_from(peers).unwrap_or(u32::MAX);
    (Duration::from_millis(500).saturating_mul(peers)).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

impl SizeSearch {
    /// Begins then.
    pub(super) fn new(due_at: Instant) -> Self {
        let (outstanding, fails, largest) = (None, None, None);
        Self { due_at, outstanding, size: 0, losses: 0, passes: SHORT, fails, largest }
    }

    /// The largest packet that passes, if that is not the largest that may be sent.
    pub(super) fn largest(&self) -> Option<u32> {
        self.largest
    }

    /// How long an echo is to be sent now, if one is.
    pub(super) fn due(&mut self, mtu: u32, now: Instant) -> Option<usize> {
        if mtu < MINIMUM || self.outstanding.is_some() || self.due_at > now {
            return None;
        }
        if self.fails.is_none() {
            self.size = mtu;
        }
        usize::try_from(self.size).ok()
    }

    /// It was sent.
    pub(super) fn sent(&mut self, outstanding: Outstanding) {
        self.outstanding = Some(outstanding);
    }

    /// When there is something to do next.
    pub(super) fn wake_at(&self, mtu: u32) -> Option<Instant> {
        let at = self.outstanding.as_ref().map_or(self.due_at, |sent| sent.sent_at + DEADLINE);
        (mtu >= MINIMUM).then_some(at)
    }

    /// Takes in a reply.
    pub(super) fn receive(&mut self, sequence: u16, nonce: u64, now: Instant, pause: Duration) {
        if self.outstanding.take_if(|sent| sent.is(sequence, nonce)).is_none() {
            return;
        }
        self.losses = 0;
        self.passes = self.size;
        match self.fails {
            None => {
                self.largest = None;
                self.begin_again(now + pause);
            }
            Some(fails) => self.narrow(fails, now, pause),
        }
    }

    /// Gives up what has waited too long. A loss `counts` if short echoes come back.
    pub(super) fn expire(&mut self, now: Instant, counts: bool, pause: Duration) {
        if self.outstanding.take_if(|sent| sent.is_late(now)).is_none() {
            return;
        }
        if !counts {
            self.begin_again(now + pause);
            return;
        }
        self.losses += 1;
        self.due_at = now;
        if self.losses >= TRIES {
            self.losses = 0;
            self.fails = Some(self.size);
            self.narrow(self.size, now, pause);
        }
    }

    /// Chooses the next size between what passes and what does not.
    fn narrow(&mut self, fails: u32, now: Instant, pause: Duration) {
        // As soon as anything is known it is worth telling; the rest makes it exact.
        if self.passes >= MINIMUM || fails <= MINIMUM {
            self.largest = Some(self.passes);
        }
        if fails - self.passes <= STEP {
            self.begin_again(now + pause);
            return;
        }
        self.due_at = now;
        let middle = self.passes + (fails - self.passes) / 2;
        self.size = if self.passes < MINIMUM && fails > MINIMUM { MINIMUM } else { middle };
    }

    fn begin_again(&mut self, at: Instant) {
        (self.due_at, self.losses, self.passes, self.fails) = (at, 0, SHORT, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a search on a way that passes packets up to `narrowest`; returns what it comes to and
    /// how many echoes that took.
    fn search(mtu: u32, narrowest: u32) -> (Option<u32>, u32) {
        let start = Instant::now();
        let mut search = SizeSearch::new(start);
        let (mut now, mut echoes) = (start, 0);
        loop {
            let Some(bytes) = search.due(mtu, now) else { return (search.largest(), echoes) };
            echoes += 1;
            search.sent(Outstanding { sequence: 1, nonce: 2, sent_at: now });
            if u32::try_from(bytes).expect("short") <= narrowest {
                search.receive(1, 2, now, Duration::from_secs(5));
            } else {
                now = search.wake_at(mtu).expect("outstanding");
                search.expire(now, true, Duration::from_secs(5));
            }
        }
    }

    #[test]
    fn a_way_as_wide_as_the_interface_takes_one_echo() {
        assert_eq!(search(1420, 1420), (None, 1));
    }

    #[test]
    fn the_largest_packet_that_passes_is_found_to_a_few_bytes() {
        for (mtu, narrowest) in
            [(1420, 1320), (1420, 1280), (8920, 1420), (1420, 1000), (1420, 1419)]
        {
            let (largest, echoes) = search(mtu, narrowest);
            let largest = largest.expect("something is lost");
            assert!((narrowest - STEP..=narrowest).contains(&largest), "{narrowest}: {largest}");
            assert!(echoes <= 30, "{echoes}");
        }
    }

    #[test]
    fn what_passes_is_known_as_soon_as_the_least_does_and_again_when_all_does() {
        let start = Instant::now();
        let (mtu, pause) = (1420, Duration::from_secs(5));
        let mut search = SizeSearch::new(start);
        let mut now = start;
        for _ in 0..2 {
            assert_eq!(search.due(mtu, now), Some(1420));
            search.sent(Outstanding { sequence: 1, nonce: 2, sent_at: now });
            now += DEADLINE;
            search.expire(now, true, pause);
        }
        assert_eq!((search.due(mtu, now), search.largest()), (Some(1280), None));
        search.sent(Outstanding { sequence: 1, nonce: 2, sent_at: now });
        search.receive(1, 2, now, pause);
        assert_eq!(search.largest(), Some(1280));
        search.begin_again(now);
        assert_eq!((search.due(mtu, now), search.largest()), (Some(1420), Some(1280)));
        search.sent(Outstanding { sequence: 1, nonce: 2, sent_at: now });
        search.receive(1, 2, now, pause);
        assert_eq!(search.largest(), None);
    }

    #[test]
    fn where_short_echoes_are_lost_too_nothing_is_said_about_sizes() {
        let start = Instant::now();
        let (mtu, pause) = (1420, Duration::from_secs(5));
        let mut search = SizeSearch::new(start);
        let mut now = start;
        for _ in 0..5 {
            assert_eq!(search.due(mtu, now), Some(1420));
            search.sent(Outstanding { sequence: 1, nonce: 2, sent_at: now });
            now += DEADLINE;
            search.expire(now, false, pause);
            now += pause;
        }
        assert_eq!(search.largest(), None);
    }

    #[test]
    fn long_echoes_are_few_in_large_meshes() {
        assert_eq!(interval(3), Duration::from_secs(5));
        assert_eq!(interval(100), Duration::from_secs(50));
        assert_eq!(interval(100_000), Duration::from_secs(300));
    }
}
