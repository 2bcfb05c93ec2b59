//! What every daemon of Sextant shares: configuration, clock and ids, private files, TLS identity,
//! logging, metrics, readiness and shutdown.
//!
//! A daemon starts in this order: configuration (all mistakes at once, nothing bound), logging,
//! what it needs, listeners, [`readiness`], and then waits for its [`shutdown`].

pub mod clock;
pub mod config;
pub mod identity;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod os_user;
pub mod private_file;
pub mod readiness;
pub mod shutdown;

/// The commit this program was built from, as far as the build knew.
pub const COMMIT: &str = env!("SEXTANT_BUILT_FROM");

/// The version and the commit, as `--version`, logs and reports say it.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SEXTANT_BUILT_FROM"), ")");
