//! Every limit of the door in one place, so that a test can make each of them small and hit it.
//! ADR 0014 lists them with their tests.

use std::time::Duration;

use super::{
    places::{Share, Shares},
    turns::Rules,
};

/// What a connection, a request and a caller may take. The defaults are what a replica uses.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the end of the handshake to the end of the first request head.
    pub first_head: Duration,
    /// For a head, from its first byte on.
    pub head: Duration,
    /// Without a byte between two requests. Longer than clients keep idle connections, so that no
    /// request meets a connection that is just being closed.
    pub idle: Duration,
    /// For the body of a request as a whole.
    pub body: Duration,
    /// For the next part of a body.
    pub body_gap: Duration,
    /// For the client to take the next part of what is written to it.
    pub stall: Duration,
    /// Bytes of a head, and bytes of further requests that are read ahead. hyper allows no less
    /// than 8 KiB.
    pub head_bytes: usize,
    /// For a request as a whole; streams are not requests.
    pub request: Duration,
    /// For a turn to work on a request.
    pub patience: Duration,
    /// How long requests in flight may go on after the signal to stop.
    pub drain: Duration,
    /// Connections.
    pub places: Shares,
    /// Streams of one token, one org and one node.
    pub streams: StreamLimits,
    /// Requests at work.
    pub work: Work,
    /// Failed logins and enrolments of one source in a minute, after which further ones are refused
    /// unseen.
    pub failures: u32,
    /// The same for the machine itself, where many programs share one address.
    pub failures_of_loopback: u32,
}

/// Streams that may be open at the same time.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Of one API token.
    pub of_token: usize,
    /// Of one org.
    pub of_org: usize,
    /// Of one node; its agent and its edge need one each, and another while they reconnect.
    pub of_node: usize,
}

/// Requests that may be worked on at the same time, by who asks.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Of those without credentials: enrolment and readiness.
    pub strangers: Rules,
    /// Of orgs.
    pub tenants: Rules,
    /// Of orgs, what reads much: snapshots, events, long lists, streams that catch up.
    pub tenants_reading: Rules,
    /// Of operators of the platform.
    pub operators: Rules,
    /// Of nodes.
    pub nodes: Rules,
    /// Of operators of the platform and of nodes: streams that catch up.
    pub platform_reading: Rules,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            first_head: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(15),
            body_gap: Duration::from_secs(5),
            stall: Duration::from_secs(20),
            head_bytes: 32 * 1024,
            request: Duration::from_secs(20),
            patience: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            places: Shares {
                strangers: Share { places: 1024, of_group: 128, of_member: usize::MAX },
                loopback: 512,
                tenants: Share { places: 2048, of_group: 256, of_member: 128 },
                operators: Share { places: 512, of_group: 256, of_member: usize::MAX },
                nodes: Share { places: 4096, of_group: 16, of_member: usize::MAX },
            },
            streams: StreamLimits { of_token: 32, of_org: 64, of_node: 8 },
            work: Work::for_connections(REQUEST_CONNECTIONS),
            failures: 30,
            failures_of_loopback: 300,
        }
    }
}

/// Connections to the database that requests of tenants and operators share, unless configured.
pub const REQUEST_CONNECTIONS: u32 = 16;
/// Requests of one group that may wait for a turn.
const QUEUE_OF_GROUP: usize = 64;
/// Requests of a lane that may wait for a turn.
const QUEUE: usize = 1024;
/// Streams wait for their turn to catch up without being refused: their number is bounded.
const UNBOUNDED: usize = usize::MAX;

impl Work {
    /// Shares out so many connections to the database, so that no lane waits for those of another.
    pub fn for_connections(connections: u32) -> Self {
        let all = usize::try_from(connections).unwrap_or(usize::MAX).max(5);
        let reading = (all / 8).max(1);
        let operators = (all * 3 / 8).max(1);
        let tenants = all - reading - operators;
        let rules = |at_once: usize, of_group: usize| Rules {
            at_once,
            of_group,
            of_member: of_group,
            queue_of_group: QUEUE_OF_GROUP,
            queue: QUEUE,
        };
        let unbounded = |at_once, of_group| Rules {
            queue_of_group: UNBOUNDED,
            queue: UNBOUNDED,
            ..rules(at_once, of_group)
        };
        Self {
            strangers: rules(2, 2),
            tenants: rules(tenants, (tenants / 2).clamp(1, 3)),
            tenants_reading: unbounded(reading, 1),
            operators: Rules { queue_of_group: 256, ..rules(operators, operators) },
            nodes: rules(3, 2),
            platform_reading: unbounded(2, 1),
        }
    }
}
