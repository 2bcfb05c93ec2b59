//! A running `sextant-edge`, backends for it and clients of it.

mod backend;
mod edge;
mod load;
mod next_program;
mod port;
mod service_manager;

pub use backend::{Backend, talk, talk_on};
pub use edge::{Edge, Start, eventually};
pub use load::Load;
pub use next_program::NextProgram;
pub use port::Port;
pub use service_manager::{ServiceManager, pass};

/// A raw route.
pub fn raw(listen: impl std::fmt::Display, backend: &Backend) -> String {
    format!("[[routes]]\nlisten = \"{listen}\"\nbackends = [\"{}\"]\n", backend.address)
}

/// A route by SNI.
pub fn tls(listen: &Port, name: &str, backend: &Backend) -> String {
    format!("{}hostname = \"{name}\"\n", raw(listen, backend))
}
