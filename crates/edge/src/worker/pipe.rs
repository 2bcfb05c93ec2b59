//! Pipes that data of busy connections goes through without being copied.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    io::{Result, retry_on_intr},
    pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice},
};

use super::socket::{Read, Socket, Written};
use crate::{counters::Counters, timer::Moment};

/// What is asked for. It is a number of slots: one for each piece of a packet.
const SIZE: usize = 1 << 20;
/// Users without privileges get less once they have many pipes; below this, copying is cheaper.
const LEAST: usize = 64 * 1024;
/// Most bytes asked of a socket at once. Slots run out first.
const AT_ONCE: usize = 4 << 20;
/// Empty pipes that are kept for the next flow.
const SPARE: usize = 16;
/// After the system refused a pipe, none is asked for during this time.
const REFUSED: std::time::Duration = std::time::Duration::from_secs(10);

/// One pipe, and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    pending: usize,
}

/// The pipes of one worker.
#[derive(Debug)]
pub struct Pipes {
    spare: Vec<Pipe>,
    open: usize,
    most: usize,
    refused_until: Moment,
}

impl Pipe {
    fn open() -> Result<Option<Self>> {
        let (out, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Refused beyond what the user may have; the size it has then decides.
        let _ = fcntl_setpipe_size(&into, SIZE);
        let size = fcntl_getpipe_size(&into)?;
        Ok((size >= LEAST).then_some(Self { out, into, pending: 0 }))
    }

    /// Moves bytes from a socket into the pipe, which must be empty: only then "nothing now" is
    /// said of the socket and not of the pipe.
    pub fn fill(&mut self, source: &mut Socket) -> Read {
        debug_assert_eq!(self.pending, 0, "a full pipe and an empty socket look the same");
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let read = retry_on_intr(|| splice(source.as_fd(), None, &self.into, None, AT_ONCE, flags));
        let read = source.note_read(read);
        if let Read::Bytes(count) = read {
            self.pending = count;
        }
        read
    }

    /// Moves bytes from the pipe to a socket.
    pub fn drain(&mut self, sink: &mut Socket) -> Written {
        sink.make_prompt();
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let written =
            retry_on_intr(|| splice(&self.out, None, sink.as_fd(), None, self.pending, flags));
        let written = sink.note_spliced(written);
        if let Written::Bytes(count) = written {
            self.pending -= count;
        }
        written
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }
}

impl Pipes {
    /// At most `most` pipes; none is open yet.
    pub fn new(most: usize) -> Self {
        Self { spare: Vec::new(), open: 0, most, refused_until: Moment::default() }
    }

    /// An empty pipe, if one can be had.
    pub fn take(&mut self, now: Moment, counters: &Counters) -> Option<Pipe> {
        if let Some(pipe) = self.spare.pop() {
            return Some(pipe);
        }
        if self.open >= self.most || now < self.refused_until {
            return None;
        }
        let pipe = Pipe::open().ok().flatten();
        if pipe.is_some() {
            self.open += 1;
            counters.pipes.set(self.open as u64);
        } else {
            self.refused_until = now + REFUSED;
        }
        pipe
    }

    /// Takes a pipe back. One with something in it is closed: its bytes belong to one connection.
    pub fn give_back(&mut self, pipe: Pipe, counters: &Counters) {
        if pipe.is_empty() && self.spare.len() < SPARE {
            self.spare.push(pipe);
        } else {
            self.open -= 1;
            counters.pipes.set(self.open as u64);
        }
    }
}
