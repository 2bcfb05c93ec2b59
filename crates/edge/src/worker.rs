//! The data plane: threads that accept, route and forward connections.
//!
//! Each worker is one thread with one epoll instance. It owns its connections; workers share the
//! listening sockets, the published snapshot, the limits and what is known of backends, and no lock
//! on the path of a byte. Whoever controls them does so through [`Workers`]: commands go through a
//! mailbox that a worker looks into when it is woken.
//!
//! The decisions are apart from the system calls: [`preread`] says where a connection goes from the
//! bytes it is fed, [`flow`] what to do next with each direction.

mod accept;
mod connection;
mod dial;
mod event_loop;
mod farewell;
mod flow;
mod intake;
mod mailbox;
mod pipe;
mod preread;
mod relay;
mod slab;
mod socket;
mod stage;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use sextant_model::Prefix;

use crate::{
    access::AccessSender, balance::Ejection, counters::Counters, limits::Limits, table::Published,
    timer::Moment,
};
use event_loop::EventLoop;
use mailbox::{Command, Mailbox};

/// What holds for all connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From accept until the connection has said where to. Nothing extends it.
    pub preread_timeout: Duration,
    /// For one attempt to connect to a backend.
    pub connect_timeout: Duration,
    /// Backends that are tried for one connection.
    pub connect_attempts: u8,
    /// A connection on which nothing is sent for so long is closed.
    pub idle_timeout: Duration,
    /// The same once one side has ended.
    pub half_close_timeout: Duration,
    /// How long sent data may stay unacknowledged, or unsent because the peer has no room for it
    /// (RFC 5482); set on both sides.
    pub tcp_user_timeout: Duration,
    /// When a backend that fails is left alone.
    pub ejection: Ejection,
    /// What becomes of the connections of a route that is removed, or of a backend that leaves it.
    pub route_removed: RouteRemoved,
    /// Pipes that one worker may have; without one, data is copied. Two for each busy connection.
    pub pipes: usize,
    /// Descriptors that the process may have. Before they are short, new connections wait.
    pub descriptors: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            preread_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            connect_attempts: 3,
            idle_timeout: Duration::from_secs(3600),
            half_close_timeout: Duration::from_secs(60),
            tcp_user_timeout: Duration::from_secs(300),
            ejection: Ejection::default(),
            route_removed: RouteRemoved::Keep,
            pipes: 256,
            descriptors: usize::MAX,
        }
    }
}

/// What becomes of the connections of a route that is removed, or of a backend that leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRemoved {
    /// They go on until they end by themselves.
    Keep,
    /// They may go on for so long.
    DrainFor(Duration),
    /// They are cut.
    Cut,
}

/// A listening socket. It is non-blocking, and prepared with [`prepare_listener`].
#[derive(Clone, Debug)]
pub struct Listening {
    /// The socket. Workers never close it: that is done by whoever drops it last.
    pub socket: Arc<OwnedFd>,
    /// The address it is bound to.
    pub address: SocketAddr,
    /// From these peers a PROXY header is required, and from others none is taken.
    pub proxy_header_from: Arc<[Prefix]>,
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Handle>,
}

#[derive(Debug)]
struct Handle {
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How draining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had not ended by the deadline and were cut.
    pub cut: usize,
}

/// Sets what accepted sockets inherit: no Nagle delay, keep-alives, and the time that sent data may
/// stay unacknowledged. Makes the socket non-blocking.
pub fn prepare_listener(socket: &OwnedFd, settings: &Settings) -> io::Result<()> {
    socket::prepare_listener(socket, settings.tcp_user_timeout).map_err(Into::into)
}

impl Workers {
    /// Starts `count` workers, at least one. They accept nothing before [`Self::set_listeners`].
    pub fn start(
        count: usize,
        settings: Settings,
        published: &Arc<Published>,
        limits: &Arc<Limits>,
        access: Option<AccessSender>,
    ) -> io::Result<Self> {
        let workers = (0..count.max(1))
            .map(|number| {
                let mailbox = Arc::new(Mailbox::new()?);
                let counters = Arc::new(Counters::default());
                counters.heartbeat.set(Moment::now().as_micros());
                let event_loop = EventLoop::new(
                    number,
                    settings.clone(),
                    Arc::clone(published),
                    Arc::clone(limits),
                    Arc::clone(&mailbox),
                    Arc::clone(&counters),
                    access.clone(),
                )?;
                let thread = std::thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .spawn(move || event_loop.run())?;
                Ok(Handle { mailbox, counters, thread: Mutex::new(Some(thread)) })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { workers })
    }

    /// From now on accepts from these sockets and no others. Those that were there before and are
    /// still wanted (the same `Arc`) go on without a pause.
    pub fn set_listeners(&self, listeners: Vec<Listening>) {
        let listeners: Arc<[Listening]> = listeners.into();
        self.tell_all(|| Command::SetListeners(Arc::clone(&listeners)));
    }

    /// Applies [`Settings::route_removed`] to the connections of routes that are marked as removed, and
    /// to those of backends that left their routes.
    /// A new snapshot needs no word: workers see it with the next connection.
    pub fn routes_removed(&self) {
        self.tell_all(|| Command::RoutesRemoved);
    }

    /// Accepts nothing more. The sockets stay open for whoever has them too, and what waits in
    /// them is not lost.
    pub fn stop_accepting(&self) {
        self.set_listeners(Vec::new());
    }

    /// Stops accepting, waits until no connection is left or `within` is over, and cuts the rest.
    /// Blocks; the workers are gone when it returns. A second call, or [`Self::cut`], from another
    /// thread may end the waiting sooner.
    pub fn drain(&self, within: Duration) -> Drained {
        let deadline = Moment::now() + within;
        self.tell_all(|| Command::Drain(deadline));
        let mut cut = 0;
        for worker in &self.workers {
            let thread = worker.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a worker panicked; its connections are lost");
            }
            cut += worker.mailbox.cut();
        }
        Drained { cut }
    }

    /// Ends all connections now, and then the workers.
    pub fn cut(&self) {
        self.tell_all(|| Command::Drain(Moment::default()));
    }

    /// The same, and waits until it is done, at most for so long.
    pub fn cut_and_wait(&self, within: Duration) {
        self.cut();
        let limit = Moment::now() + within;
        while self.connections() > 0 && Moment::now() < limit {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Connections now.
    pub fn connections(&self) -> u64 {
        self.counters().map(|counters| counters.current.get()).sum()
    }

    /// The counters of each worker.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.workers.iter().map(|worker| &*worker.counters)
    }

    /// When the worker that was seen last, was seen alive and able to look into the table. Workers
    /// that have nothing to do are seen about every second.
    pub fn heartbeat(&self) -> Moment {
        let heartbeats = self.counters().map(|counters| counters.heartbeat.get());
        Moment::from_micros(heartbeats.min().unwrap_or_default())
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            worker.mailbox.send(command());
        }
    }
}

impl Drop for Workers {
    /// Cuts what was not drained.
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
    }
}
