//! Time, ids and randomness for what decides: passed in, so that tests can choose them.

use sextant_model::Timestamp;
use uuid::Uuid;

/// Where moments come from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// Where ids and secrets come from.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// A new id, later than all before it.
    fn id(&self) -> Uuid;
    /// Random bytes fit for secrets.
    fn bytes(&self) -> [u8; 32];
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = time::OffsetDateTime::now_utc();
        // What Postgres keeps: a moment must be the same before and after it was stored.
        Timestamp(now.replace_microsecond(now.microsecond()).unwrap_or(now))
    }
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn id(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn bytes(&self) -> [u8; 32] {
        rand::random()
    }
}
