//! The TLS ClientHello, as far as routing needs it: which server name the client asks for.
//!
//! A [`HelloParser`] is fed each byte once, in whatever pieces they arrive, and keeps a few hundred
//! bytes of state: a client that drips single bytes costs as little per byte as any other. Records
//! are put together again (RFC 8446 section 5.1 lets a message be split over any number of them),
//! so neither the records nor the pieces have to be contiguous. The bytes themselves are not kept:
//! whoever forwards them buffers them.
//!
//! What follows the ClientHello is not looked at.

mod message;
mod record;
mod rejected;
mod server_name;
#[cfg(test)]
mod tests;

#[cfg(feature = "hello-builder")]
#[doc(hidden)]
pub mod builder;

use message::Message;
use record::{HEADER, Records};

pub use message::MAX_MESSAGE;
pub use record::MAX_RECORDS;
pub use rejected::{Part, Rejected};
pub use server_name::{InvalidName, ServerName};

/// Most bytes that a parser waits for, with all headers: whoever buffers them keeps no more.
pub const MAX_LENGTH: usize = 4 + MAX_MESSAGE as usize + MAX_RECORDS as usize * HEADER as usize;

/// Where a parser stands after the bytes it has been fed so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<T = ClientHello, E = Rejected> {
    /// No verdict yet: feed more.
    NeedMore,
    /// The verdict. Feeding more never changes it.
    Done(Result<T, E>),
}

/// What a well-formed ClientHello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The `host_name` of the server name extension (RFC 6066 section 3); `None` without one.
    pub server_name: Option<ServerName>,
    /// Whether there is an IP address in place of the name. RFC 6066 forbids it to the client, many
    /// send it, and it counts as no name.
    pub address_for_name: bool,
    /// Whether Encrypted ClientHello is offered, be it real or GREASE (RFC 9849). The name is then
    /// the outer one.
    pub ech_offered: bool,
    /// Length of the handshake message with its header, in bytes.
    pub size: u32,
    /// Number of records that carry the message, empty ones included.
    pub records: u32,
}

/// Reads one ClientHello from the start of a connection.
#[derive(Debug, Default)]
pub struct HelloParser {
    records: Records,
    message: Message,
    verdict: Option<Result<ClientHello, Rejected>>,
}

impl HelloParser {
    /// A parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes that follow those of the call before.
    pub fn feed(&mut self, new: &[u8]) -> Progress {
        if self.verdict.is_none() {
            self.verdict = self.read(new).transpose();
        }
        self.verdict.clone().map_or(Progress::NeedMore, Progress::Done)
    }

    /// Whether any byte has been fed. A client that closes before it sends one is no error.
    pub fn has_begun(&self) -> bool {
        self.records.has_begun()
    }

    fn read(&mut self, mut new: &[u8]) -> Result<Option<ClientHello>, Rejected> {
        while !new.is_empty() {
            let (fragment, rest) = self.records.fragment(new)?;
            new = rest;
            if self.message.read(fragment)? {
                return Ok(Some(ClientHello {
                    server_name: self.message.take_server_name(),
                    address_for_name: self.message.address_for_name(),
                    ech_offered: self.message.ech_offered(),
                    size: self.message.size(),
                    records: self.records.count(),
                }));
            }
        }
        Ok(None)
    }
}
