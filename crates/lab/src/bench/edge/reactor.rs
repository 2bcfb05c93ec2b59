//! The load's event loop: one thread, all clients and all servers.

use std::{
    net::Ipv6Addr,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
};

use super::{
    backend::{Backends, Behaviour},
    error::{EdgeBenchError, Result},
};
use crate::interrupt::Interrupt;

/// How long servers go on after the clients.
const WINDING_DOWN: Duration = Duration::from_secs(1);
/// When nothing has happened for so long, nothing will.
const MOMENT: Duration = Duration::from_millis(50);
/// Events taken at a time.
const EVENTS: usize = 512;

/// Whose event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Listener,
    Backend,
    Client,
}

/// What descriptors are watched.
#[derive(Debug)]
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> Result<Self> {
        let created = epoll::create(CreateFlags::CLOEXEC);
        created.map(Self).map_err(|errno| EdgeBenchError::load("create an epoll")(errno.into()))
    }

    /// Watches for something to read, until the descriptor is closed.
    pub(super) fn add(&self, source: impl AsFd, role: Role, number: usize) -> Result<()> {
        self.watch(source, role, number, EventFlags::IN)
    }

    /// Watches for room to write into.
    pub(super) fn add_writer(&self, source: impl AsFd, number: usize) -> Result<()> {
        self.watch(source, Role::Client, number, EventFlags::OUT)
    }

    fn watch(&self, source: impl AsFd, role: Role, number: usize, flags: EventFlags) -> Result<()> {
        let data = EventData::new_u64(number as u64 * 4 + role as u64);
        epoll::add(&self.0, source, data, flags)
            .map_err(|errno| EdgeBenchError::load("watch a socket")(errno.into()))
    }
}

/// Clients and servers of one measurement after the other.
pub(super) struct Load {
    pub(super) epoll: Epoll,
    pub(super) backends: Backends,
    events: Vec<Event>,
    interrupt: Interrupt,
}

impl Load {
    /// Servers at free ports of `addresses`, and no clients.
    pub(super) fn new(addresses: &[Ipv6Addr], interrupt: Interrupt) -> Result<Self> {
        let epoll = Epoll::new()?;
        let backends = Backends::listen(&epoll, addresses)?;
        Ok(Self { epoll, backends, events: Vec::with_capacity(EVENTS), interrupt })
    }

    /// Lets the servers see the end of what the clients, who are gone, have sent, and forgets what
    /// does not end by itself.
    pub(super) fn wind_down(&mut self) -> Result<()> {
        let deadline = Instant::now() + WINDING_DOWN;
        while Instant::now() < deadline {
            self.turn(MOMENT, |_, _| Ok(()))?;
            if self.events.is_empty() {
                break;
            }
        }
        self.reset(Behaviour::Sink);
        Ok(())
    }

    /// Forgets all connections; the servers treat new ones like this.
    pub(super) fn reset(&mut self, behaviour: Behaviour) {
        self.backends.reset(behaviour);
    }

    /// Waits up to `wait` for events, lets the servers do their part, and hands `client` the
    /// numbers of its connections.
    pub(super) fn turn(
        &mut self,
        wait: Duration,
        mut client: impl FnMut(&Epoll, usize) -> Result<()>,
    ) -> Result<()> {
        self.interrupt.check()?;
        let wait =
            Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        self.events.clear();
        match epoll::wait(&self.epoll.0, spare_capacity(&mut self.events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(EdgeBenchError::load("wait for events")(errno.into())),
        }
        for event in &self.events {
            let data = event.data.u64();
            let number = usize::try_from(data / 4).unwrap_or(usize::MAX);
            match data % 4 {
                role if role == Role::Listener as u64 => {
                    self.backends.accept(&self.epoll, number)?;
                }
                role if role == Role::Backend as u64 => self.backends.serve(number)?,
                _ => client(&self.epoll, number)?,
            }
        }
        Ok(())
    }
}
