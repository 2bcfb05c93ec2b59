//! The control plane: the HTTP API over the event log.
//!
//! A replica keeps nothing in memory that matters: any number of them run on one Postgres.
//!
//! ```text
//! request -> door -> command: load, decide (model), append + claims, commit -> kick
//!                                                                               |
//!      followers <- stream <- tail: settle -> broadcast -> project <------------+
//! ```
//!
//! To add a resource: its types in `sextant-api`, its events and rules in `sextant-model`, its
//! projection in `sextant-store`, one file in `http/` and its line in [`http::router`].

pub mod admin_token;
pub mod app;
pub mod appender;
pub mod auth;
pub mod ca;
pub mod command;
pub mod config;
pub mod database_clock;
pub mod descriptors;
pub mod dns;
pub mod door;
pub mod error;
pub mod extract;
pub mod housekeeping;
pub mod http;
pub mod ingress;
pub mod init;
pub mod login;
pub mod rates;
pub mod run;
pub mod server;
pub mod tail;
pub mod token_cache;
pub mod workloads;
