//! How whoever controls a worker speaks to it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rustix::event::{EventfdFlags, eventfd};

use super::Listening;
use crate::timer::Moment;

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// Accept from these and no others.
    SetListeners(Arc<[Listening]>),
    /// Some routes were marked as removed.
    RoutesRemoved,
    /// Accept nothing more, end when no connection is left, and cut what is left then.
    Drain(Moment),
}

/// Commands that wait for one worker.
#[derive(Debug)]
pub struct Mailbox {
    commands: Mutex<Vec<Command>>,
    bell: OwnedFd,
    cut: AtomicUsize,
}

impl Mailbox {
    pub fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { commands: Mutex::default(), bell, cut: AtomicUsize::new(0) })
    }

    /// Leaves a command and wakes the worker.
    pub fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        // It can only fail because it rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// What has been sent since the last time, in order.
    pub fn take(&self) -> Vec<Command> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The worker says how many connections it cut in the end.
    pub fn set_cut(&self, connections: usize) {
        self.cut.store(connections, Relaxed);
    }

    /// How many connections the worker cut in the end. Zero the second time.
    pub fn cut(&self) -> usize {
        self.cut.swap(0, Relaxed)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
