//! The loop of one worker: waits for events, and gives each to whom it belongs.

mod closing;
mod control;

use std::{
    hint::black_box,
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::Cache;
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventFlags},
    },
    io::Errno,
};
use sextant_model::routing::table::ListenerKind;

use super::{
    Settings,
    accept::{Accepted, Acceptor, Batch, ceiling, unmapped},
    connection::{Connection, Context, Next, Round, Stage},
    flow::{self, Flow},
    intake,
    mailbox::Mailbox,
    pipe::Pipes,
    relay,
    slab::{Key, Slab, Token},
    socket::{self, Socket},
    stage,
};
use crate::{
    access::AccessSender,
    counters::Counters,
    limits::Limits,
    outcome::Outcome,
    table::Published,
    timer::{Moment, Wheel},
};

/// How long a worker that only forwards bulk data lets it gather, so that more of it moves at once.
const NAP: Duration = Duration::from_micros(100);
/// Nobody gathers anything for so long after something that has to be prompt.
const AWAKE: Duration = Duration::from_millis(10);
/// Deadlines are rounded up to this. What is due at one tick is ended at one go, and everybody else
/// waits meanwhile: thousands of slow clients that came together make long ticks felt.
const TICK: Duration = Duration::from_millis(8);
/// Records wait at most so long to be handed over.
const RECORDS_WAIT: Duration = Duration::from_millis(64);
/// A worker looks around at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Events of one round.
const EVENTS: usize = 256;

/// One worker.
#[derive(Debug)]
pub struct EventLoop {
    connections: Slab<Connection>,
    context: Context,
    acceptor: Acceptor,
    mailbox: Arc<Mailbox>,
    accepted: Vec<Accepted>,
    fired: Vec<u32>,
    /// Naps are allowed from then on.
    awake_until: Moment,
    /// When accepting goes on after a pause.
    accept_again: Option<Moment>,
    records_due: Moment,
    /// It ends when no connection is left, and then at the latest.
    ends: Option<Moment>,
}

impl EventLoop {
    pub fn new(
        number: usize,
        settings: Settings,
        published: Arc<Published>,
        limits: Arc<Limits>,
        mailbox: Arc<Mailbox>,
        counters: Arc<Counters>,
        access: Option<AccessSender>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &mailbox, Token::Mailbox.into(), EventFlags::IN)?;
        let now = Moment::now();
        let pipes = Pipes::new(settings.pipes);
        let context = Context {
            settings,
            epoll,
            now,
            buffer: vec![0; flow::LARGE as usize].into(),
            first_bytes: vec![0; intake::READ_SIZE].into(),
            pipes,
            wheel: Wheel::new(TICK, now),
            counters,
            limits,
            published: Cache::new(published),
            again: Vec::new(),
            round: Round::default(),
            rotation: number,
            access,
            records: Vec::new(),
        };
        Ok(Self {
            connections: Slab::default(),
            context,
            acceptor: Acceptor::default(),
            mailbox,
            accepted: Vec::new(),
            fired: Vec::new(),
            awake_until: now,
            accept_again: None,
            records_due: now,
            ends: None,
        })
    }

    /// Runs until it is told to end.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut again = Vec::new();
        while !self.is_over() {
            self.wait(&mut events);
            self.beat();
            self.context.round.share = relay::share(events.len() + self.context.again.len());
            for event in events.drain(..) {
                let Event { flags, data, .. } = event;
                self.on_event(Token::from(data), flags);
            }
            std::mem::swap(&mut again, &mut self.context.again);
            for key in again.drain(..) {
                self.work_on(key, |connection, context| {
                    connection.queued = false;
                    match connection.stage {
                        Stage::Relaying { .. } => relay::resume(connection, key, context),
                        _ => Next::Stay,
                    }
                });
            }
            self.on_time();
            self.nap();
        }
        self.end();
    }

    /// Waits a moment if all that happens is bulk data, for which the moment does not matter.
    fn nap(&mut self) {
        let round = std::mem::take(&mut self.context.round);
        if round.prompt {
            self.awake_until = self.context.now + AWAKE;
        } else if round.busy && !round.hungry && self.context.now >= self.awake_until {
            std::thread::sleep(NAP);
        }
    }

    fn wait(&mut self, events: &mut Vec<Event>) {
        let now = self.context.now;
        let mut longest = LONGEST_WAIT;
        if !self.context.again.is_empty() {
            longest = Duration::ZERO;
        } else if !self.context.records.is_empty() {
            longest = RECORDS_WAIT;
        }
        for moment in [self.accept_again, self.ends].into_iter().flatten() {
            longest = longest.min(moment.since(now));
        }
        let wait = self.context.wheel.wait(now, longest);
        let timeout = Timespec::try_from(round_up(wait)).unwrap_or_default();
        match epoll::wait(&self.context.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "cannot wait for events"),
        }
        self.context.now = Moment::now();
    }

    /// Shows that the worker is alive and can look into the table.
    fn beat(&mut self) {
        let heartbeat = &self.context.counters.heartbeat;
        let last = Moment::from_micros(heartbeat.get());
        if self.context.now.since(last) >= TICK {
            let anywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 443));
            black_box(self.context.published.load().table.listener(anywhere).is_some());
            heartbeat.set(self.context.now.as_micros());
        }
    }

    fn on_event(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token::Mailbox => self.on_mail(),
            Token::Listener(number) => self.accept(number),
            Token::Client(key) => self.work_on(key, |connection, context| {
                connection.client.notice(flags);
                stage::on_client(connection, key, context, flags)
            }),
            Token::Backend(key, attempt) => self.work_on(key, |connection, context| {
                // The last word of a backend that was given up.
                if connection.attempts != attempt + 1 {
                    return Next::Stay;
                }
                let Some(backend) = &mut connection.backend else { return Next::Stay };
                backend.notice(flags);
                stage::on_backend(connection, key, context)
            }),
        }
    }

    /// Does something with a connection that is still there, and ends it if that is due.
    fn work_on(&mut self, key: Key, work: impl FnOnce(&mut Connection, &mut Context) -> Next) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Next::End(outcome) = work(connection, &mut self.context) {
            self.end_connection(key, outcome);
        }
    }

    fn accept(&mut self, number: u32) {
        let Context { epoll, now, counters, settings, limits, .. } = &self.context;
        let mut accepted = std::mem::take(&mut self.accepted);
        let ceiling = ceiling(settings.descriptors, limits.prereads());
        if self.acceptor.accept(epoll, number, ceiling, *now, &mut accepted) == Batch::Paused {
            counters.accept_pauses.add(1);
            self.accept_again = self.acceptor.resume(epoll, *now);
        }
        self.begin_all(accepted);
    }

    fn begin_all(&mut self, mut accepted: Vec<Accepted>) {
        for one in accepted.drain(..) {
            self.begin(one);
        }
        self.accepted = accepted;
    }

    fn begin(&mut self, accepted: Accepted) {
        let Accepted { fd, peer, place } = accepted;
        let counters = &self.context.counters;
        counters.accepted.add(1);
        let client = Socket::accepted(fd);
        let source = (!place.requires_header(peer)).then(|| peer.ip());
        let admission = match self.context.limits.admit(source) {
            Ok(admission) => admission,
            Err(limit) => {
                client.reset_on_close();
                counters.count_end(Outcome::OverLimit(limit));
                return;
            }
        };
        let arrived = if place.address.ip().is_unspecified() {
            socket::local_address(&client).map(unmapped)
        } else {
            Some(place.address)
        };
        let connection = Connection {
            client,
            backend: None,
            stage: Stage::Fresh,
            kind: ListenerKind::Raw,
            peer,
            arrived: arrived.unwrap_or(place.address),
            place,
            proxied: None,
            admission,
            name: None,
            route: None,
            lease: None,
            attempts: 0,
            accepted: self.context.now,
            routed: None,
            active: self.context.now,
            queued: false,
            cut_at: None,
            up: Flow::new(),
            down: Flow::new(),
        };
        counters.current.add(1);
        counters.prereads.add(1);
        let Some(key) = self.connections.insert(connection) else {
            counters.current.subtract(1);
            counters.prereads.subtract(1);
            return;
        };
        self.work_on(key, |connection, context| intake::begin(connection, key, context));
    }

    /// Does what is due by now.
    fn on_time(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.context.wheel.advance(self.context.now, &mut fired);
        for index in fired.drain(..) {
            let Some(key) = self.connections.key_at(index) else { continue };
            self.work_on(key, |connection, context| stage::on_deadline(connection, key, context));
        }
        self.fired = fired;
        if self.accept_again.is_some_and(|moment| moment <= self.context.now) {
            self.accept_again = self.acceptor.resume(&self.context.epoll, self.context.now);
        }
        if self.context.now >= self.records_due && !self.context.records.is_empty() {
            self.hand_over_records();
        }
    }

    fn is_over(&self) -> bool {
        let Some(ends) = self.ends else { return false };
        self.connections.len() == 0 || ends <= self.context.now
    }
}

/// The kernel waits in milliseconds; waking up before the deadline would be for nothing.
fn round_up(wait: Duration) -> Duration {
    const MILLI: Duration = Duration::from_millis(1);
    if wait.is_zero() { wait } else { wait + MILLI }
}
