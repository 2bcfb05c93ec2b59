//! Whether clients that send one byte a second keep ordinary clients waiting.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::Stage;
use crate::{
    bench::{
        edge::{
            backend::PING,
            client::Dialer,
            error::Result,
            meter::TOLERABLE,
            namespace,
            reactor::{Epoll, Load, Role},
            slots::Slots,
            subject::Subject,
        },
        figures::Figures,
    },
    progress::Progress,
};

/// Clients that send one byte of their hello a second, and come back when they are cut.
const SLOW: u32 = 5000;
/// A measurement takes at least as long as the slow clients take to be cut and to come back.
const SHORTEST: Duration = Duration::from_secs(6);
/// How many connections there may be at a time.
pub(in crate::bench::edge) const CONNECTIONS: usize = 6000;
/// Ordinary clients per second: connect, hello and ping, answer, close.
const VISITS: u32 = 500;
/// How long a visit may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The waiting with slow clients to the waiting without.
const GOAL: f64 = 1.5;
/// Numbers of slow clients begin here; visitors have the ones below.
const FIRST_SLOW: usize = 1 << 20;
/// Time for the slow clients to gather: longer than a proxy may give a hello.
const GATHERING: Duration = Duration::from_secs(8);

/// What came out.
#[derive(Debug)]
pub struct SlowReport {
    subject: Subject,
    rounds: Vec<Round>,
}

#[derive(Debug)]
struct Round {
    quiet: Phase,
    beset: Phase,
    /// The most slow clients that were connected at a time.
    held: u32,
    /// How often a slow client was cut, per second.
    cuts: f64,
    /// Share of a core that others used.
    foreign: f64,
}

#[derive(Debug)]
struct Phase {
    times: Figures,
    failed: u32,
}

/// Ordinary clients alone, then beside slow ones, `rounds` times.
pub(in crate::bench::edge) fn measure(
    stage: &mut Stage<'_>,
    subject: Subject,
    rounds: u32,
    progress: &Progress,
) -> Result<SlowReport> {
    let mut report = SlowReport { subject, rounds: Vec::new() };
    let time = SHORTEST.max(stage.length.measured * 2);
    let mut sources = Dialer::new((0..namespace::SLOW_NETWORKS).map(namespace::slow));
    sources.aim(stage.targets);
    for _ in 0..rounds {
        let start = stage.meter.read()?;
        let mut visits = Visits::new(stage.dialer, stage.hello);
        let mut slow = SlowClients::new(&mut sources, stage.hello);
        visits.go_on(stage.load, stage.length.warm_up, None)?;
        visits.forget();
        visits.go_on(stage.load, time, None)?;
        let quiet = visits.finish(stage.load, None)?;
        visits.go_on(stage.load, GATHERING, Some(&mut slow))?;
        visits.forget();
        slow.forget();
        visits.go_on(stage.load, time, Some(&mut slow))?;
        let (held, cuts) = (slow.most, f64::from(slow.cuts) / time.as_secs_f64());
        let beset = visits.finish(stage.load, Some(&mut slow))?;
        let foreign = start.until(stage.meter.read()?).foreign_share();
        let round = Round { quiet, beset, held, cuts, foreign };
        progress.say(format_args!("{subject}: {round}"));
        report.rounds.push(round);
    }
    Ok(report)
}

/// Ordinary clients, coming at a fixed rate.
struct Visits<'a> {
    dialer: &'a mut Dialer,
    greeting: Vec<u8>,
    under_way: Slots<Visit>,
    due: Instant,
    times: Vec<Duration>,
    failed: u32,
}

struct Visit {
    stream: TcpStream,
    due: Instant,
    answered: usize,
}

impl<'a> Visits<'a> {
    fn new(dialer: &'a mut Dialer, hello: &[u8]) -> Self {
        Self {
            dialer,
            greeting: [hello, &[0; PING]].concat(),
            under_way: Slots::new(),
            due: Instant::now(),
            times: Vec::new(),
            failed: 0,
        }
    }

    fn forget(&mut self) {
        self.times.clear();
        self.failed = 0;
    }

    /// For `time`, ordinary clients come, and slow ones do what they do.
    fn go_on(
        &mut self,
        load: &mut Load,
        time: Duration,
        mut slow: Option<&mut SlowClients<'_>>,
    ) -> Result<()> {
        let end = Instant::now() + time;
        self.due = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            while self.due <= now {
                self.start(&load.epoll)?;
                self.due += Duration::from_secs(1) / VISITS;
            }
            self.turn(load, slow.as_deref_mut())?;
        }
    }

    /// No more come; those under way are waited for.
    fn finish(&mut self, load: &mut Load, mut slow: Option<&mut SlowClients<'_>>) -> Result<Phase> {
        let deadline = Instant::now() + PATIENCE;
        while self.under_way.len() > 0 && Instant::now() < deadline {
            self.turn(load, slow.as_deref_mut())?;
        }
        let late = u32::try_from(self.under_way.len()).unwrap_or(u32::MAX);
        self.under_way.clear();
        let failed = std::mem::take(&mut self.failed) + late;
        Ok(Phase { times: Figures::new(std::mem::take(&mut self.times)), failed })
    }

    fn turn(&mut self, load: &mut Load, mut slow: Option<&mut SlowClients<'_>>) -> Result<()> {
        if let Some(slow) = slow.as_deref_mut() {
            slow.act(&load.epoll)?;
        }
        load.turn(Duration::ZERO, |_, number| match number.checked_sub(FIRST_SLOW) {
            None => {
                self.answer(number);
                Ok(())
            }
            Some(number) => {
                if let Some(slow) = slow.as_deref_mut() {
                    slow.heard(number);
                }
                Ok(())
            }
        })
    }

    fn start(&mut self, epoll: &Epoll) -> Result<()> {
        match self.dialer.dial(&self.greeting) {
            Ok(stream) => {
                epoll.add(&stream, Role::Client, self.under_way.next())?;
                self.under_way.insert(Visit { stream, due: self.due, answered: 0 });
            }
            Err(_) => self.failed += 1,
        }
        Ok(())
    }

    fn answer(&mut self, number: usize) {
        let mut buffer = [0; 2 * PING];
        let Some(visit) = self.under_way.get_mut(number) else { return };
        match visit.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(0) | Err(_) => self.failed += 1,
            Ok(count) => {
                visit.answered += count;
                if visit.answered < PING {
                    return;
                }
                self.times.push(visit.due.elapsed());
            }
        }
        self.under_way.remove(number);
    }
}

/// A slow client counts as held when it is still there for its second byte: whoever is over the
/// quota is gone by then.
const HELD: usize = 2;

/// Clients that mean harm.
struct SlowClients<'a> {
    dialer: &'a mut Dialer,
    hello: &'a [u8],
    clients: Vec<Option<SlowClient>>,
    /// Whose turn it is, and when.
    next: usize,
    due: Instant,
    held: u32,
    most: u32,
    cuts: u32,
}

struct SlowClient {
    stream: TcpStream,
    sent: usize,
}

impl<'a> SlowClients<'a> {
    fn new(dialer: &'a mut Dialer, hello: &'a [u8]) -> Self {
        let clients = (0..SLOW).map(|_| None).collect();
        Self { dialer, hello, clients, next: 0, due: Instant::now(), held: 0, most: 0, cuts: 0 }
    }

    fn forget(&mut self) {
        (self.most, self.cuts) = (self.held, 0);
    }

    /// Those whose second is over send a byte, or connect again if they were cut.
    fn act(&mut self, epoll: &Epoll) -> Result<()> {
        let now = Instant::now();
        // What was missed is not made up for: slow clients are in no hurry.
        self.due = self.due.max(now.checked_sub(Duration::from_millis(100)).unwrap_or(now));
        while self.due <= now {
            self.due += Duration::from_secs(1) / SLOW;
            let number = self.next;
            self.next = (number + 1) % self.clients.len();
            match &mut self.clients[number] {
                None => self.connect(epoll, number)?,
                Some(client) => {
                    let byte = self.hello.get(client.sent..=client.sent).unwrap_or_default();
                    let sent = client.stream.write_all(byte);
                    client.sent += 1;
                    if client.sent == HELD {
                        self.held += 1;
                        self.most = self.most.max(self.held);
                    }
                    if sent.is_err() {
                        self.cut(number);
                    }
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, epoll: &Epoll, number: usize) -> Result<()> {
        match self.dialer.dial(&self.hello[..1]) {
            Ok(stream) => {
                epoll.add(&stream, Role::Client, FIRST_SLOW + number)?;
                self.clients[number] = Some(SlowClient { stream, sent: 1 });
            }
            Err(_) => self.cuts += 1,
        }
        Ok(())
    }

    /// A slow client hears something only when it is sent away.
    fn heard(&mut self, number: usize) {
        let mut buffer = [0; PING];
        let client = self.clients.get_mut(number).and_then(Option::as_mut);
        match client.map(|client| client.stream.read(&mut buffer)) {
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {}
            // A TLS alert may come before the end.
            None | Some(Ok(1..)) => {}
            Some(Ok(0) | Err(_)) => self.cut(number),
        }
    }

    fn cut(&mut self, number: usize) {
        if self.clients[number].take().is_some_and(|client| client.sent >= HELD) {
            self.held -= 1;
        }
        self.cuts += 1;
    }
}

impl Round {
    fn ratio(&self) -> f64 {
        let of = |phase: &Phase| phase.times.percentile(99).as_secs_f64();
        of(&self.beset) / of(&self.quiet)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quiet, beset, held, cuts, foreign } = self;
        write!(
            f,
            "{quiet} alone, {beset} beside slow clients ({:.2} times); \
             {held} of {SLOW} slow clients held at most, {cuts:.0} cut per second; \
             others used {:.0} % of a core",
            self.ratio(),
            foreign * 100.0,
        )
    }
}

impl Phase {
    /// Median and 99th percentile.
    fn microseconds(&self) -> [f64; 2] {
        [50, 99].map(|percent| self.times.percentile(percent).as_secs_f64() * 1e6)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = self.microseconds();
        write!(f, "p50 {p50:.0} us, p99 {p99:.0} us, {} failed", self.failed)
    }
}

impl SlowReport {
    /// Whether the goal is reached, the quota holds and every ordinary client was served, while
    /// nobody else used the machine.
    pub fn is_good(&self) -> bool {
        let quota = self.quota().unwrap_or(u32::MAX);
        self.ratio() <= GOAL
            && self.rounds.iter().all(|round| round.held <= quota && round.foreign <= TOLERABLE)
            && self.rounds.iter().all(|round| round.quiet.failed + round.beset.failed == 0)
    }

    /// How many slow clients may be held.
    fn quota(&self) -> Option<u32> {
        Some(self.subject.preread_quota()? * u32::from(namespace::SLOW_NETWORKS))
    }

    /// As a part of the report in JSON.
    pub(in crate::bench::edge) fn json(&self) -> Value {
        let phase = |phase: &Phase| {
            let [p50, p99] = phase.microseconds();
            json!({ "median_microseconds": p50, "p99_microseconds": p99, "failures": phase.failed })
        };
        let rounds = self.rounds.iter().map(|round| {
            json!({
                "alone": phase(&round.quiet),
                "beside_slow_clients": phase(&round.beset),
                "most_held": round.held,
                "cuts_per_second": round.cuts,
                "foreign_share": round.foreign,
            })
        });
        json!({
            "subject": self.subject,
            "quota": self.quota(),
            "rounds": rounds.collect::<Vec<_>>(),
            "ratio": self.ratio(),
            "reached": self.is_good(),
        })
    }

    /// The median of the rounds.
    fn ratio(&self) -> f64 {
        let mut ratios: Vec<_> = self.rounds.iter().map(Round::ratio).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::INFINITY)
    }
}

impl fmt::Display for SlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{VISITS} ordinary clients a second through {}, each from connecting to the answer to \
             its ping; then the same beside {SLOW} clients, from {} networks, that send one byte of \
             their hello a second and come back up to a second after they are cut.\n",
            self.subject,
            namespace::SLOW_NETWORKS,
        )?;
        for round in &self.rounds {
            writeln!(f, "{round}")?;
        }
        let verdict = if self.is_good() { "reached" } else { "MISSED" };
        let quota = self.quota().map(|quota| format!(", at most {quota} held"));
        let (quota, ratio) = (quota.unwrap_or_default(), self.ratio());
        write!(
            f,
            "\ngoal p99 <= {GOAL:.1} times{quota}, nobody fails, undisturbed: {verdict} ({ratio:.2})"
        )
    }
}
