//! Sextant on Postgres: the event log, what is derived from it, and the claims that must be unique.
//!
//! - [`Unit`] is one transaction: load aggregates, append events, write claims, commit.
//! - [`settle`] tells up to which id the log is complete; consumers read no further.
//! - [`projection`] keeps the tables that lists and views read.
//! - [`read`] reads them.
//!
//! To add a projection: a table in a new migration, a file in `projection/` with its `apply`, its
//! line in [`projection::ALL`], its reads in `read/`.

mod checkpoint;
pub mod claims;
mod connect;
mod error;
mod host;
pub mod idempotency;
mod instances;
pub mod ipam;
pub mod log;
pub mod placements;
pub mod projection;
pub mod read;
mod refusals;
pub mod replicas;
pub mod report;
mod role;
mod session;
pub mod settle;
mod share;
mod unit;

pub use connect::{ConnectOptions, Store, WakeUp};
pub use error::StoreError;
pub use refusals::RefusalRow;
pub use role::{LoginStanding, PreparedRole};
pub use unit::{FirstEvent, Loaded, Unit};
