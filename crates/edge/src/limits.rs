//! How many connections there may be: in all, of one source, and before they are routed.
//!
//! The workers share one set of counters and no lock. A source is a prefix, by default the /64 of an
//! IPv6 address and an IPv4 address as it is. Memory does not grow with the number of sources:
//! each source is counted in one cell of each of two rows, found by keyed hashes, and the lower of
//! the two counts is taken for its own. Sources that share a cell make that one too high, never too
//! low, so no source gets more than its limit. One is refused wrongly only if it shares a cell with a
//! source that is at its limit in both rows: with a hundred of these, in two of a million cases.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

#[cfg(test)]
mod tests;

/// Most bytes that all connections together may have kept that no backend has yet.
const MOST_KEPT: usize = 256 << 20;

/// Cells of one row; a power of two.
const CELLS: usize = 1 << 16;

/// The limits. Zero allows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Connections of everyone.
    pub connections: usize,
    /// Connections of everyone that are not routed yet.
    pub prereads: usize,
    /// Connections of one source.
    pub source_connections: u32,
    /// Connections of one source that are not routed yet.
    pub source_prereads: u32,
    /// Bits of an IPv6 address that make a source.
    pub ipv6_prefix: u8,
    /// Bits of an IPv4 address that make a source.
    pub ipv4_prefix: u8,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections: 200_000,
            prereads: 20_000,
            source_connections: 20_000,
            source_prereads: 1_000,
            ipv6_prefix: 64,
            ipv4_prefix: 32,
        }
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// [`LimitSettings::connections`].
    Connections,
    /// [`LimitSettings::prereads`].
    Prereads,
    /// [`LimitSettings::source_connections`].
    SourceConnections,
    /// [`LimitSettings::source_prereads`].
    SourcePrereads,
    /// 256 MiB of what clients said and no backend has yet.
    KeptBytes,
    /// `max_connections` of the route.
    RouteConnections,
}

/// The counters, shared by all workers.
#[derive(Debug)]
pub struct Limits {
    settings: LimitSettings,
    hashers: [RandomState; 2],
    connections: AtomicUsize,
    prereads: AtomicUsize,
    kept: AtomicUsize,
    source_connections: Rows,
    source_prereads: Rows,
}

/// Counts of one source, as the limits see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceUse {
    /// Connections, at least as many as there are.
    pub connections: u32,
    /// Connections that are not routed yet, at least as many as there are.
    pub prereads: u32,
}

/// A connection that was let in. It is counted as long as this lives.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<Limits>,
    source: Option<Cells>,
    preread: bool,
    kept: u32,
}

/// Where a source is counted, one cell of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cells(u16, u16);

#[derive(Debug)]
struct Rows([Box<[AtomicU32]>; 2]);

impl Limits {
    /// Nobody is counted yet. The hashers decide which sources share cells; nobody outside may
    /// know that.
    pub fn new(settings: LimitSettings, hashers: [RandomState; 2]) -> Self {
        Self {
            settings,
            hashers,
            connections: AtomicUsize::new(0),
            prereads: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            source_connections: Rows::new(),
            source_prereads: Rows::new(),
        }
    }

    /// What the limits are.
    pub fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Connections that are not routed yet.
    pub fn prereads(&self) -> usize {
        self.prereads.load(Relaxed)
    }

    /// How much of its limits the source that `address` belongs to uses.
    pub fn source(&self, address: IpAddr) -> SourceUse {
        let cells = self.cells(address);
        SourceUse {
            connections: self.source_connections.lowest(cells),
            prereads: self.source_prereads.lowest(cells),
        }
    }

    /// Lets a connection in that is not routed yet. `source` is `None` while a trusted proxy has
    /// yet to say for whom it is; [`Admission::name_source`] follows.
    pub fn admit(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Admission, Limit> {
        // Each guard undoes what it has counted when it is dropped, also on the way out of here.
        let before = self.connections.fetch_add(1, Relaxed);
        self.prereads.fetch_add(1, Relaxed);
        let mut admission =
            Admission { limits: Arc::clone(self), source: None, preread: true, kept: 0 };
        if before >= self.settings.connections {
            return Err(Limit::Connections);
        }
        if self.prereads.load(Relaxed) > self.settings.prereads {
            return Err(Limit::Prereads);
        }
        if let Some(source) = source {
            admission.name_source(source)?;
        }
        Ok(admission)
    }

    fn cells(&self, address: IpAddr) -> Cells {
        let prefix = self.prefix(address);
        let cell = |hasher: &RandomState| {
            let hash = hasher.hash_one(prefix);
            u16::try_from(hash & (CELLS as u64 - 1)).unwrap_or_default()
        };
        let [first, second] = &self.hashers;
        Cells(cell(first), cell(second))
    }

    fn prefix(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let host_bits = 32_u32.saturating_sub(self.settings.ipv4_prefix.into());
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let host_bits = 128_u32.saturating_sub(self.settings.ipv6_prefix.into());
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        }
    }
}

impl Admission {
    /// Counts the connection for its source too, once that is known.
    pub fn name_source(&mut self, address: IpAddr) -> Result<(), Limit> {
        self.leave_source();
        let cells = self.limits.cells(address);
        let settings = &self.limits.settings;
        let connections = self.limits.source_connections.add(cells);
        let prereads = if self.preread { self.limits.source_prereads.add(cells) } else { 0 };
        self.source = Some(cells);
        if connections > settings.source_connections {
            return Err(Limit::SourceConnections);
        }
        if prereads > settings.source_prereads {
            return Err(Limit::SourcePrereads);
        }
        Ok(())
    }

    /// Counts the bytes that are kept of what the connection said, until a backend has them.
    pub fn keep(&mut self, bytes: usize) -> Result<(), Limit> {
        let bytes = u32::try_from(bytes).map_err(|_| Limit::KeptBytes)?;
        let more = bytes.saturating_sub(self.kept) as usize;
        self.kept = self.kept.max(bytes);
        let before = self.limits.kept.fetch_add(more, Relaxed);
        if before + more > MOST_KEPT { Err(Limit::KeptBytes) } else { Ok(()) }
    }

    /// Whether the connection is not routed yet.
    pub fn is_preread(&self) -> bool {
        self.preread
    }

    /// The connection is routed.
    pub fn end_preread(&mut self) {
        if std::mem::replace(&mut self.preread, false) {
            self.limits.prereads.fetch_sub(1, Relaxed);
            if let Some(cells) = self.source {
                self.limits.source_prereads.subtract(cells);
            }
        }
    }

    /// Nothing is kept any more.
    pub fn release_kept(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if kept > 0 {
            self.limits.kept.fetch_sub(kept as usize, Relaxed);
        }
    }

    fn leave_source(&mut self) {
        let Some(cells) = self.source.take() else { return };
        self.limits.source_connections.subtract(cells);
        if self.preread {
            self.limits.source_prereads.subtract(cells);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.leave_source();
        self.end_preread();
        self.release_kept();
        self.limits.connections.fetch_sub(1, Relaxed);
    }
}

impl Rows {
    fn new() -> Self {
        let row = || (0..CELLS).map(|_| AtomicU32::new(0)).collect();
        Self([row(), row()])
    }

    /// The count of a source with this connection.
    fn add(&self, cells: Cells) -> u32 {
        let [first, second] = self.of(cells).map(|cell| cell.fetch_add(1, Relaxed) + 1);
        first.min(second)
    }

    fn subtract(&self, cells: Cells) {
        for cell in self.of(cells) {
            cell.fetch_sub(1, Relaxed);
        }
    }

    fn lowest(&self, cells: Cells) -> u32 {
        let [first, second] = self.of(cells).map(|cell| cell.load(Relaxed));
        first.min(second)
    }

    fn of(&self, Cells(first, second): Cells) -> [&AtomicU32; 2] {
        let [one, two] = &self.0;
        [&one[usize::from(first)], &two[usize::from(second)]]
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Prereads => "connections that are not routed yet",
            Self::SourceConnections => "connections of one source",
            Self::SourcePrereads => "connections of one source that are not routed yet",
            Self::KeptBytes => "bytes kept that no backend has yet",
            Self::RouteConnections => "connections of the route",
        })
    }
}
