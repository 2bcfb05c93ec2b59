//! The whole process: the real binary, real sockets, real signals.

mod access_log;
mod client_hello;
mod command_line;
mod explain;
mod health;
mod metrics;
mod no_source_address;
mod proxy_header;
mod reload;
mod restart;
mod saved_state;
mod support;
mod upgrade;
mod watchdog;
