//! What travels on the stream. The same frames go over the WebSocket and over `GET /v1/events`.

use serde::{Deserialize, Serialize};
use sextant_model::{
    Cursor, Event, Timestamp, membership::Membership, routing::desired::RoutingSnapshot,
};
use utoipa::ToSchema;

use crate::resource::{
    app::App, environment::Environment, network::Network, node::Node, org::Org, release::Release,
    route::Route, workload::Workload,
};

/// Longest time between two frames on a quiet stream. A follower that hears nothing for three
/// times as long must assume that the stream is dead.
pub const HEARTBEAT_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);

/// A server that has not read the log for so long is of no use to a follower, however alive it is.
pub const LOG_AGE_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "frame", rename_all = "kebab-case")]
pub enum Frame {
    /// Everything up to `cursor`; replaces what the follower had.
    Snapshot {
        /// Where the stream goes on.
        cursor: Cursor,
        /// The state at that point.
        state: SnapshotState,
    },
    /// The next event the follower is entitled to.
    Event {
        /// Where the stream goes on after it.
        cursor: Cursor,
        /// What happened.
        event: Event,
    },
    /// Nothing for this follower up to here: resume from this cursor, not from the last event.
    Bookmark {
        /// Where the stream goes on.
        cursor: Cursor,
    },
    /// The stream is alive, and the log was read so lately.
    Heartbeat {
        /// The server's clock.
        at: Timestamp,
        /// Up to here the server has read the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settled: Option<Cursor>,
        /// How long ago the server read the log to its end, in milliseconds. Servers of earlier
        /// versions do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_age_ms: Option<u64>,
    },
    /// The stream ends. With `foreign-epoch` and `beyond-head` the follower must take a new
    /// snapshot; with `lagged` and `shutting-down` it resumes from its cursor.
    Reset {
        /// Stable word: `foreign-epoch`, `beyond-head`, `lagged`, `shutting-down`, or the code of
        /// the problem that has ended the follower's access.
        code: String,
        /// The same for people.
        detail: String,
    },
    /// Something that only a later version knows; followers pass over it.
    #[serde(other)]
    Unknown,
}

/// What a node asks of the stream besides its usual view: query parameter `view`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamView {
    /// Routes and workloads, for nodes with the role edge.
    Routing,
}

impl StreamView {
    /// The word in the query.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routing => "routing",
        }
    }
}

/// A snapshot, as much of it as the follower may see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum SnapshotState {
    /// For a node: the members of its network.
    Membership {
        /// Who is in the network.
        membership: Membership,
    },
    /// For the holder of an org's API token: what the org owns.
    Org {
        /// The org.
        org: Org,
        /// Its apps.
        apps: Vec<App>,
        /// Its environments.
        environments: Vec<Environment>,
        /// Its releases that no later one has replaced, without their workloads.
        releases: Vec<Release>,
        /// Its workloads that have not been released.
        workloads: Vec<Workload>,
        /// Its routes, with their backends counted.
        routes: Vec<Route>,
    },
    /// For an edge that asks for it: the routes and workloads of its network.
    Routing {
        /// What to serve.
        routing: RoutingSnapshot,
    },
    /// For an operator: every network and node.
    Platform {
        /// All networks.
        networks: Vec<Network>,
        /// All nodes that have not been released.
        nodes: Vec<Node>,
    },
}

/// Answer of `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// Events, in order.
    pub frames: Vec<Frame>,
    /// Give this as `after` to go on: the last event scanned, not the last one shown.
    pub next_after: Cursor,
    /// The end of the log, as far as it is settled.
    pub head: Cursor,
    /// Whether more can be had at once.
    pub has_more: bool,
}
