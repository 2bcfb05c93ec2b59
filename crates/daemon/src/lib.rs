//! What every daemon of Sextant shares: configuration, clock and ids, private files, TLS identity,
//! logging, metrics, readiness and shutdown.
//!
//! A daemon starts in this order: configuration (all mistakes at once, nothing bound), logging,
//! what it needs, listeners, [`readiness`], and then waits for its [`shutdown`].

pub mod clock;
pub mod config;
pub mod identity;
pub mod logging;
pub mod metrics;
pub mod private_file;
pub mod readiness;
pub mod shutdown;
