//! What must be taken from the environment before there are threads.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    config::Limits,
    handover::{Inherited, Store, Upgrader},
};

/// What a process gets from the one that started it.
#[derive(Debug)]
pub struct Startup {
    /// Listening sockets.
    pub inherited: Inherited,
    /// Where sockets are kept for the process after this one.
    pub store: Store,
    /// How to start that process.
    pub upgrader: Upgrader,
}

impl Startup {
    /// Takes it. Call once, first, while there is one thread: it changes the environment.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            upgrader: Upgrader::remember()?,
            inherited: Inherited::from_environment(),
            store: Store::from_environment(),
        })
    }
}

/// With fewer descriptors than this an edge is of little use.
const FEW: u64 = 4096;

/// Lets the process have as many descriptors as it may, which is returned. Says so if that is too few
/// for the connections that somebody has asked for, or for nearly anything.
pub fn raise_descriptor_limit(limits: &Limits) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    // Two sockets for each connection.
    let wanted = u64::from(limits.max_connections) * 2;
    let enough = if limits.max_connections_given { wanted } else { wanted.min(FEW) };
    if let Some(most) = limit.maximum.filter(|most| *most < enough) {
        tracing::warn!(
            limit = most,
            wanted,
            "open files are limited to less than limits.max_connections needs; accepting will pause at the limit (LimitNOFILE=)"
        );
    }
    let current = getrlimit(Resource::Nofile).current;
    current.and_then(|current| usize::try_from(current).ok()).unwrap_or(usize::MAX)
}
