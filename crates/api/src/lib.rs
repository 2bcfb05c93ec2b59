//! The HTTP contract of Sextant: resources, problems and stream frames, and the client that
//! speaks it.
//!
//! The server (`control`) and every client share these types, so a field that one side renames
//! does not compile on the other.

pub mod client;
pub mod follow;
pub mod frame;
pub mod page;
pub mod problem;
pub mod resource;

pub use client::{Auth, Client, ClientConfig, ClientError, Trust};
pub use frame::Frame;
pub use page::Page;
pub use problem::Problem;

/// Largest request body the server reads, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;
