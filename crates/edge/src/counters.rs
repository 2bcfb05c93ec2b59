//! What a worker counts. Each worker has its own counters and is the only one that writes them, so
//! that counting is a load and a store; whoever reads adds up those of all workers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::outcome::{Metric, Outcome};

/// Upper bounds of the size classes of ClientHellos, in bytes; the last class is open.
pub const HELLO_SIZES: [u32; 8] = [256, 512, 1024, 1536, 2048, 4096, 16_384, 65_536];

/// A number that one thread changes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// The counters of one worker.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Connections now.
    pub current: Counter,
    /// Connections now that are not routed yet.
    pub prereads: Counter,
    /// Bytes from clients to backends.
    pub bytes_up: Counter,
    /// Bytes from backends to clients.
    pub bytes_down: Counter,
    /// Bytes of both directions that went through pipes, without being copied.
    pub bytes_spliced: Counter,
    /// Attempts to connect to a backend.
    pub connects: Counter,
    /// Those that failed.
    pub connect_failures: Counter,
    /// Backends that were ejected.
    pub ejections: Counter,
    /// Times that accepting paused because the system had no descriptor or memory left.
    pub accept_pauses: Counter,
    /// ClientHellos that offer Encrypted ClientHello.
    pub ech_offered: Counter,
    /// ClientHellos and requests with an IP address in place of the name.
    pub addresses_for_names: Counter,
    /// Sum of the sizes of all ClientHellos, in bytes.
    pub hello_bytes: Counter,
    /// ClientHellos by size: those up to each of [`HELLO_SIZES`] and above the one before, and
    /// those above all.
    pub hello_sizes: [Counter; HELLO_SIZES.len() + 1],
    /// Pipes that exist.
    pub pipes: Counter,
    /// When the worker was last seen alive, with a table it could look into: a
    /// [`crate::timer::Moment`] in microseconds.
    pub heartbeat: Counter,
    ended: [Counter; Metric::ALL.len()],
}

impl Counter {
    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds `more`. Only the owner may.
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    /// Takes `less` away. Only the owner may.
    pub(crate) fn subtract(&self, less: u64) {
        self.set(self.get().saturating_sub(less));
    }

    /// Replaces the number. Only the owner may.
    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            current: Counter::default(),
            prereads: Counter::default(),
            bytes_up: Counter::default(),
            bytes_down: Counter::default(),
            bytes_spliced: Counter::default(),
            connects: Counter::default(),
            connect_failures: Counter::default(),
            ejections: Counter::default(),
            accept_pauses: Counter::default(),
            ech_offered: Counter::default(),
            addresses_for_names: Counter::default(),
            hello_bytes: Counter::default(),
            hello_sizes: Default::default(),
            pipes: Counter::default(),
            heartbeat: Counter::default(),
            ended: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Counters {
    /// Connections that ended so.
    pub fn ended(&self, metric: Metric) -> u64 {
        self.ended[metric as usize].get()
    }

    pub(crate) fn count_end(&self, outcome: Outcome) {
        self.ended[outcome.metric() as usize].add(1);
    }

    pub(crate) fn count_address_for_name(&self, is_so: bool) {
        if is_so {
            self.addresses_for_names.add(1);
        }
    }

    pub(crate) fn count_hello(&self, size: u32, ech_offered: bool) {
        let class = HELLO_SIZES.iter().position(|bound| size <= *bound);
        self.hello_sizes[class.unwrap_or(HELLO_SIZES.len())].add(1);
        self.hello_bytes.add(size.into());
        if ech_offered {
            self.ech_offered.add(1);
        }
    }
}
