//! What is measured.

mod connect;
mod idle;
mod ping;
pub(super) mod slow;
mod stream;

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    backend::Behaviour,
    client::Dialer,
    error::Result,
    meter::{Meter, Span},
    proxy::Targets,
    reactor::Load,
    subject::Subject,
};

/// Total pings per second in the open loop: well below what any of the proxies can do on a core.
pub(super) const PING_RATE: u32 = 20_000;

/// One way to load a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(super) enum Scenario {
    /// Bytes from clients to servers, as many as go through.
    Stream { connections: usize },
    /// Connections that end after one byte from the server, a fixed number at a time.
    Connect { at_once: usize },
    /// Pings, each sent when the answer to the one before is there.
    Ping { connections: usize },
    /// [`PING_RATE`] pings a second in all, sent when they are due whatever has been answered.
    Paced { connections: usize },
    /// Connections that do nothing.
    Idle { connections: usize },
}

/// A kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    /// Gigabits per second.
    GigabitsPerSecond,
    /// Milliseconds of processor time per gigabyte (10^9 bytes).
    MillisecondsPerGigabyte,
    /// Connections per second.
    ConnectionsPerSecond,
    /// Microseconds of processor time per connection.
    MicrosecondsPerConnection,
    /// Connections per second of processor time: what the proxy takes when nothing else is the
    /// limit.
    ConnectionsPerCore,
    /// Connections that failed.
    Failures,
    /// Pings per second.
    PingsPerSecond,
    /// Microseconds of processor time per ping.
    MicrosecondsPerPing,
    /// Median round trip, microseconds.
    MedianMicroseconds,
    /// 99th percentile of the round trips, microseconds.
    P99Microseconds,
    /// Mebibytes of the proxy's processes.
    Mebibytes,
    /// Bytes of the proxy's processes per connection, without what it takes at the start.
    BytesPerConnection,
    /// Bytes of the kernel's slabs per connection: the load's sockets are among them.
    SlabPerConnection,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    /// Before the measurement.
    pub(super) warm_up: Duration,
    /// The measurement.
    pub(super) measured: Duration,
}

/// What came out.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) figures: Vec<(Figure, f64)>,
    pub(super) span: Span,
}

/// What a measurement works with.
pub(super) struct Stage<'a> {
    pub(super) load: &'a mut Load,
    pub(super) targets: &'a Targets,
    /// Ordinary clients.
    pub(super) dialer: &'a mut Dialer,
    pub(super) meter: &'a Meter,
    pub(super) hello: &'a [u8],
    pub(super) length: Length,
}

impl Scenario {
    /// What the servers must do.
    pub(super) fn behaviour(self, hello: &[u8]) -> Behaviour {
        match self {
            Self::Stream { .. } => Behaviour::Sink,
            Self::Connect { .. } => Behaviour::Greet,
            Self::Ping { .. } | Self::Paced { .. } | Self::Idle { .. } => {
                Behaviour::Echo { hello: hello.len() }
            }
        }
    }

    /// Whether there is something to measure.
    pub(super) fn suits(self, subject: Subject) -> bool {
        // Nothing needs no memory.
        !(matches!(self, Self::Idle { .. }) && subject == Subject::Direct)
    }

    /// Whether it measures times that are as short as the waking up of a core.
    pub(super) const fn is_about_waiting(self) -> bool {
        matches!(self, Self::Ping { .. } | Self::Paced { .. })
    }

    /// Measures. Afterwards all clients are gone.
    pub(super) fn measure(self, stage: &mut Stage<'_>) -> Result<Outcome> {
        match self {
            Self::Stream { connections } => stream::measure(stage, connections),
            Self::Connect { at_once } => connect::measure(stage, at_once),
            Self::Ping { connections } => ping::closed_loop(stage, connections),
            Self::Paced { connections } => ping::open_loop(stage, connections, PING_RATE),
            Self::Idle { connections } => idle::measure(stage, connections),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream { connections: 1 } => write!(f, "bytes over 1 connection"),
            Self::Stream { connections } => write!(f, "bytes over {connections} connections"),
            Self::Connect { at_once } => write!(f, "new connections, {at_once} at a time"),
            Self::Ping { connections: 1 } => write!(f, "ping-pong over 1 connection"),
            Self::Ping { connections } => {
                write!(f, "ping-pong over {connections} connections, as fast as it goes")
            }
            Self::Paced { connections } => {
                write!(f, "{PING_RATE} pings/s over {connections} connections")
            }
            Self::Idle { connections } => write!(f, "{connections} idle connections"),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::GigabitsPerSecond => "Gb/s",
            Self::MillisecondsPerGigabyte => "CPU ms/GB",
            Self::ConnectionsPerSecond => "connections/s",
            Self::MicrosecondsPerConnection => "CPU us/connection",
            Self::ConnectionsPerCore => "connections/s of a full core",
            Self::Failures => "failed",
            Self::PingsPerSecond => "pings/s",
            Self::MicrosecondsPerPing => "CPU us/ping",
            Self::MedianMicroseconds => "p50 us",
            Self::P99Microseconds => "p99 us",
            Self::Mebibytes => "MiB",
            Self::BytesPerConnection => "bytes/connection",
            Self::SlabPerConnection => "slab bytes/connection",
        })
    }
}
