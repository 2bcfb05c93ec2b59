//! How a connection is closed: in order, with a word to the client first, or with a reset.

use sextant_model::routing::table::ListenerKind;

use super::{
    connection::{Connection, Context, Next, Stage},
    slab::{Key, Token},
    socket::Read,
};
use crate::{http_host, outcome::Outcome};

/// How long a client may take to hear why it is refused.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(2);
/// Most bytes that a client that is refused may still send.
const MOST_DISCARDED: usize = 256 * 1024;

/// A manner of closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As usual.
    Close,
    /// With a reset: what was sent is not everything, or it costs least.
    Reset,
    /// After a fatal TLS alert of this description (RFC 8446 section 6).
    Alert(u8),
    /// After this answer to a request.
    Answer(&'static str),
}

const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

/// Makes an answer without a body to a request that is not forwarded.
macro_rules! answer {
    ($status:literal) => {
        Manner::Answer(concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
    };
}

/// How a connection on a listener of this kind is closed after this outcome. A stream that was
/// broken off never ends as if it were complete.
pub fn manner(kind: ListenerKind, outcome: Outcome) -> Manner {
    match outcome {
        Outcome::Completed | Outcome::Probe | Outcome::ClientLeft | Outcome::TooSlow => Manner::Close,
        Outcome::ClientReset
        | Outcome::BackendReset
        | Outcome::ClientGone
        | Outcome::BackendGone
        | Outcome::IdleTimeout
        | Outcome::HalfCloseTimeout
        | Outcome::RouteRemoved
        | Outcome::BackendRemoved
        | Outcome::Shutdown
        | Outcome::NoListener
        | Outcome::BadProxyHeader(_)
        // Whoever has too many connections is not given a socket that lingers.
        | Outcome::OverLimit(_) => Manner::Reset,
        Outcome::BadHello(why) => why.alert().map_or(Manner::Close, Manner::Alert),
        Outcome::BadRequest(why) => refused_request(why),
        Outcome::NoName | Outcome::UnknownName => match kind {
            ListenerKind::Raw => Manner::Reset,
            ListenerKind::Tls => Manner::Alert(UNRECOGNIZED_NAME),
            ListenerKind::Http => answer!("421 Misdirected Request"),
        },
        Outcome::NoBackend
        | Outcome::ConnectRefused
        | Outcome::ConnectFailed(_)
        | Outcome::Loop
        | Outcome::OutOfResources => match kind {
            ListenerKind::Raw => Manner::Reset,
            ListenerKind::Tls => Manner::Alert(INTERNAL_ERROR),
            ListenerKind::Http => answer!("503 Service Unavailable"),
        },
        Outcome::ConnectTimeout => match kind {
            ListenerKind::Raw => Manner::Reset,
            ListenerKind::Tls => Manner::Alert(INTERNAL_ERROR),
            ListenerKind::Http => answer!("504 Gateway Timeout"),
        },
    }
}

fn refused_request(why: http_host::Refused) -> Manner {
    use http_host::Refused;
    match why {
        Refused::NotHttp | Refused::Http2 => Manner::Close,
        Refused::Version => answer!("505 HTTP Version Not Supported"),
        Refused::TooLarge => answer!("431 Request Header Fields Too Large"),
        Refused::Malformed(_)
        | Refused::SeveralHosts
        | Refused::HostMismatch
        | Refused::InvalidHost(_)
        | Refused::InvalidPort => answer!("400 Bad Request"),
    }
}

/// Tells the client why it is refused, and waits until it has heard it: closing at once would
/// reset the connection if something of the client is unread, and take the word back.
pub fn begin(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    outcome: Outcome,
    words: &[u8],
) -> Next {
    // The socket is empty: it takes these few bytes or is broken.
    let _ = connection.client.write(words);
    connection.client.shut();
    if connection.client.register(&context.epoll, Token::Client(key), false).is_err() {
        return Next::End(outcome);
    }
    context.wheel.set(key.index, context.now + LONGEST);
    connection.stage = Stage::Farewell { outcome, discardable: MOST_DISCARDED };
    connection.client.readable = true;
    resume(connection, context)
}

/// Lets a client have the rest of an answer that is complete, though the backend takes nothing more
/// of what it says: closing with that unread would reset the connection, and take the rest back.
pub fn linger(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    outcome: Outcome,
) -> Next {
    connection.backend = None;
    if let Some(lease) = &mut connection.lease {
        lease.end();
    }
    let deadline = context.now + context.settings.half_close_timeout;
    let deadline = connection.cut_at.map_or(deadline, |cut_at| cut_at.min(deadline));
    context.wheel.set(key.index, deadline);
    connection.stage = Stage::Farewell { outcome, discardable: usize::MAX };
    resume(connection, context)
}

/// Reads what the client still sends, for nothing.
pub fn resume(connection: &mut Connection, context: &mut Context) -> Next {
    let Connection { client, stage, .. } = connection;
    let Stage::Farewell { outcome, discardable } = stage else { return Next::Stay };
    while client.readable && *discardable > 0 {
        match client.read(&mut context.buffer) {
            Read::Bytes(count) => *discardable = discardable.saturating_sub(count),
            Read::Later => break,
            Read::End | Read::Broken => return Next::End(*outcome),
        }
    }
    if client.is_drained() || *discardable == 0 {
        return Next::End(*outcome);
    }
    Next::Stay
}

/// The record that carries a fatal alert.
pub fn alert(description: u8) -> [u8; 7] {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    [ALERT, 3, 3, 0, 2, FATAL, description]
}
