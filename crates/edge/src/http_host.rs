//! The Host of the first HTTP/1 request on a connection, for routes on port 80.
//!
//! A [`HostParser`] is fed each byte once and keeps a few hundred bytes of state. It refuses every
//! spelling of a request that two servers might read differently (RFC 9112 section 11.2): the edge
//! must never choose a backend by another name than the backend finds in the same bytes. It never
//! changes a byte either; whoever forwards the bytes buffers them. The choice holds for the whole
//! connection.

mod head;
mod refused;
#[cfg(test)]
mod tests;

use crate::hello::{self, ServerName};
use head::Head;

pub use head::MAX_HEAD;
pub use refused::{Part, Refused};

/// Where a [`HostParser`] stands.
pub type Progress = hello::Progress<RequestHost, Refused>;

/// What a well-formed request head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHost {
    /// The host that is asked for, without its port. `None` if neither the Host field, which may be
    /// missing or empty, nor the request line names one: HTTP/1.0 asks for none.
    pub host: Option<ServerName>,
    /// Whether an IP address is asked for, which counts as no name.
    pub address_for_name: bool,
    /// Length of the head with the empty line that ends it, in bytes.
    pub size: u32,
}

/// Reads the head of one request from the start of a connection.
#[derive(Debug, Default)]
pub struct HostParser {
    head: Head,
    verdict: Option<Result<RequestHost, Refused>>,
}

impl HostParser {
    /// A parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes that follow those of the call before.
    pub fn feed(&mut self, new: &[u8]) -> Progress {
        if self.verdict.is_none() {
            self.verdict = self.head.read(new).transpose();
        }
        self.verdict.clone().map_or(Progress::NeedMore, Progress::Done)
    }

    /// Whether any byte has been fed. A client that closes before it sends one is no error.
    pub fn has_begun(&self) -> bool {
        self.head.has_begun()
    }
}
