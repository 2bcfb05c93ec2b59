//! One direction of a connection: what is to be done next with it. Decides; moves nothing.

use std::time::Duration;

use super::pipe::Pipe;
use crate::timer::Moment;

/// First size of a read, and what counts as a large piece. Doubles with each read that fills it.
const SMALL: u32 = 16 * 1024;
/// Largest size of a read, and the size of a worker's buffer.
pub const LARGE: u32 = 256 * 1024;
/// A flow that moves this much in large pieces in one window is worth a pipe.
const BUSY: u32 = 256 * 1024;
const WINDOW: Duration = Duration::from_millis(50);

/// One direction of a connection.
#[derive(Debug)]
pub struct Flow {
    /// Bytes the sink has taken.
    pub moved: u64,
    held: Held,
    phase: Phase,
    read_size: u32,
    /// Bytes read in the window that began then.
    window_bytes: u32,
    window_start: Moment,
    busy: bool,
}

/// What was read and not yet written. Flows that do not wait for their sink hold nothing.
#[derive(Debug)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// Bytes, of which so many are written.
    Bytes(Box<[u8]>, usize),
    /// What is in this pipe.
    Pipe(Pipe),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The source has ended. The sink is told once everything is written.
    Ending,
    /// The sink was told that it has everything. Nothing is to be done any more.
    Delivered,
    /// The sink is gone. Nothing is to be done any more.
    Lost,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write what is held.
    Write,
    /// Read, and write at once.
    Read,
    /// Tell the sink that it was all, then [`Flow::deliver`].
    End,
    /// Nothing before the source is readable.
    AwaitSource,
    /// Nothing before the sink is writable.
    AwaitSink,
    /// Nothing ever.
    Over,
}

impl Flow {
    /// Nothing has moved yet.
    pub fn new() -> Self {
        Self {
            moved: 0,
            held: Held::Nothing,
            phase: Phase::Open,
            read_size: SMALL,
            window_bytes: 0,
            window_start: Moment::default(),
            busy: false,
        }
    }

    /// What to do next, given what is known of the two sides.
    pub fn next(&self, readable: bool, writable: bool) -> Step {
        match (self.phase, &self.held) {
            (Phase::Delivered | Phase::Lost, _) => Step::Over,
            (_, Held::Bytes(..) | Held::Pipe(_)) if writable => Step::Write,
            (_, Held::Bytes(..) | Held::Pipe(_)) => Step::AwaitSink,
            (Phase::Ending, Held::Nothing) => Step::End,
            (Phase::Open, Held::Nothing) if !readable => Step::AwaitSource,
            // Nothing is read for a sink that is known to take nothing: back-pressure.
            (Phase::Open, Held::Nothing) if !writable => Step::AwaitSink,
            (Phase::Open, Held::Nothing) => Step::Read,
        }
    }

    /// How much to read at once.
    pub fn read_size(&self) -> usize {
        self.read_size as usize
    }

    /// Whether the flow is worth a pipe now.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Takes note of a read of `count` bytes, which may have filled the room it had.
    pub fn note_read(&mut self, count: usize, now: Moment) {
        if count >= self.read_size() {
            self.read_size = (self.read_size * 2).min(LARGE);
        }
        if now.since(self.window_start) >= WINDOW {
            self.busy = self.window_bytes >= BUSY;
            self.window_start = now;
            self.window_bytes = 0;
        }
        // Many small messages are no bulk data: whoever sends them waits for answers.
        if count >= SMALL as usize {
            let bytes = u32::try_from(count).unwrap_or(u32::MAX);
            self.window_bytes = self.window_bytes.saturating_add(bytes);
        }
        self.busy |= self.window_bytes >= BUSY;
    }

    /// Keeps what the sink had no room for. Reads get smaller, so that slow receivers hold little.
    pub fn hold(&mut self, rest: &[u8]) {
        self.read_size = (self.read_size / 2).max(SMALL);
        self.held = Held::Bytes(rest.into(), 0);
    }

    /// Keeps a pipe with what the sink had no room for.
    pub fn hold_pipe(&mut self, pipe: Pipe) {
        self.held = Held::Pipe(pipe);
    }

    /// Whether the sink had no room for something.
    pub fn is_held(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// Takes what is held, to write it and keep the rest again.
    pub fn take_held(&mut self) -> Held {
        std::mem::replace(&mut self.held, Held::Nothing)
    }

    /// Puts back what is held still.
    pub fn put_back(&mut self, held: Held) {
        self.held = held;
    }

    /// The source has ended.
    pub fn end(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Ending;
        }
    }

    /// The sink knows that it has everything.
    pub fn deliver(&mut self) {
        self.phase = Phase::Delivered;
    }

    /// The sink is gone, and nothing can be done any more.
    pub fn lose(&mut self) {
        self.phase = Phase::Lost;
    }

    /// Whether the sink knows that it has everything.
    pub fn is_delivered(&self) -> bool {
        self.phase == Phase::Delivered
    }

    /// Whether everything is done, or nothing can be.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Delivered | Phase::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_micros(1_000_000_000 + millis * 1000)
    }

    #[test]
    fn what_is_held_goes_first_and_the_end_last() {
        let mut flow = Flow::new();
        assert_eq!(flow.next(false, true), Step::AwaitSource);
        assert_eq!(flow.next(true, true), Step::Read);
        assert_eq!(flow.next(true, false), Step::AwaitSink, "nothing is read that has no place");
        flow.hold(b"rest");
        flow.end();
        assert_eq!(flow.next(true, false), Step::AwaitSink);
        assert_eq!(flow.next(true, true), Step::Write);
        assert!(matches!(flow.take_held(), Held::Bytes(bytes, 0) if *bytes == *b"rest"));
        assert_eq!(flow.next(false, false), Step::End);
        flow.deliver();
        assert_eq!(flow.next(true, true), Step::Over);
        assert!(flow.is_over() && flow.is_delivered());
    }

    #[test]
    fn reads_grow_for_fast_flows_and_shrink_for_slow_receivers() {
        let mut flow = Flow::new();
        for _ in 0..10 {
            flow.note_read(flow.read_size(), at(0));
        }
        assert_eq!(flow.read_size(), LARGE as usize);
        for _ in 0..10 {
            flow.hold(b"x");
            flow.take_held();
        }
        assert_eq!(flow.read_size(), SMALL as usize);
    }

    #[test]
    fn many_small_messages_make_no_flow_busy() {
        let mut flow = Flow::new();
        for message in 0..1000 {
            flow.note_read(1024, at(message / 100));
        }
        assert!(!flow.is_busy());
    }

    #[test]
    fn a_flow_is_busy_while_it_moves_much() {
        let mut flow = Flow::new();
        flow.note_read(1000, at(0));
        assert!(!flow.is_busy());
        flow.note_read(300_000, at(10));
        assert!(flow.is_busy());
        flow.note_read(1000, at(60));
        assert!(flow.is_busy(), "the window before was busy");
        flow.note_read(1000, at(120));
        assert!(!flow.is_busy());
    }
}
