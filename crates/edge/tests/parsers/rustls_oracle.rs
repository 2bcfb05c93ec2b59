//! The same bytes before another parser of ClientHellos: the one of rustls.

use rustls::{Error, server::Acceptor};

/// What rustls says of some bytes.
#[derive(Debug)]
pub enum Opinion {
    NeedMore,
    /// A good hello and its name as rustls gives it.
    Accepted(Option<String>),
    Refused(Error),
    /// More bytes than rustls keeps without a complete hello.
    Overrun,
}

/// Lets rustls read `wire` as a server.
pub fn opinion(mut wire: &[u8]) -> Opinion {
    let mut acceptor = Acceptor::default();
    while !wire.is_empty() {
        if acceptor.read_tls(&mut wire).is_err() {
            return Opinion::Overrun;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                return Opinion::Accepted(accepted.client_hello().server_name().map(str::to_owned));
            }
            Err((error, _)) => return Opinion::Refused(error),
        }
    }
    Opinion::NeedMore
}

/// The name in a hello, read in the plainest way from bytes that are all there: the records
/// stripped, then one length after the other.
pub fn plain_name(mut wire: &[u8]) -> Option<String> {
    let mut message = Vec::new();
    while let [22, _, _, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        message.extend_from_slice(&rest[..length]);
        wire = &rest[length..];
    }
    let length = number(message.get(1..4)?);
    let body = message.get(4..4 + length)?;
    let after_session = 35 + number(&body[34..35]);
    let after_suites = after_session + 2 + number(&body[after_session..after_session + 2]);
    let mut extensions =
        body.get(after_suites + 1 + number(&body[after_suites..=after_suites]) + 2..)?;
    while let [kind_high, kind_low, rest @ ..] = extensions {
        let (length, rest) = rest.split_at(2);
        let (value, rest) = rest.split_at(number(length));
        if [*kind_high, *kind_low] == [0, 0] {
            return String::from_utf8(value[5..].to_vec()).ok();
        }
        extensions = rest;
    }
    None
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}
