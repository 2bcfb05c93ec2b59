//! The head of a request, byte by byte (RFC 9112 sections 2 to 5).

use std::net::{IpAddr, Ipv6Addr};

use super::{Part, Refused, RequestHost};
use crate::hello::{InvalidName, ServerName};

/// Longest head, in bytes, with the empty line that ends it.
pub const MAX_HEAD: u32 = 16 * 1024;

/// Longest method. The longest that is registered has 17 letters.
const MAX_METHOD: u8 = 32;
/// A name of 253 bytes, its trailing dot, a colon and a port.
const MAX_AUTHORITY: usize = 260;
const HOST: &[u8] = b"host";
const VERSION: &[u8] = b"HTTP/";

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The request line; empty lines before it are passed over (RFC 9112 section 2.2).
    #[default]
    Start,
    /// The LF of an empty line before the request line.
    StartLf,
    Method,
    /// The first byte of the target, which tells its form.
    Target,
    /// `http` or `https` of the absolute form.
    Scheme,
    /// The two slashes after it, of which this many have come.
    Slashes(u8),
    Authority,
    /// After `*`, or the path and query.
    Asterisk,
    Path,
    /// `HTTP/1.1`, of which this many bytes have come.
    Version(u8),
    LineFeed,
    LineStart,
    FieldName,
    Host,
    FieldValue,
    /// The LF of the empty line that ends the head.
    LastLf,
    End,
}

/// A host that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(ServerName),
    Address(IpAddr),
}

/// How far the head has been read, and what it said.
#[derive(Debug)]
pub(super) struct Head {
    state: State,
    /// Bytes read.
    size: u32,
    /// Bytes of the method or the field name so far.
    token_length: u8,
    /// Whether the method is `CONNECT` so far, or the field name `Host`.
    token_matches: bool,
    /// Whether white space has come after the first byte of the host.
    gap: bool,
    host_seen: bool,
    host: Option<Host>,
    /// The host of the request line, if it has one.
    target: Option<Host>,
    captured: [u8; MAX_AUTHORITY],
    captured_length: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            state: State::Start,
            size: 0,
            token_length: 0,
            token_matches: true,
            gap: false,
            host_seen: false,
            host: None,
            target: None,
            captured: [0; MAX_AUTHORITY],
            captured_length: 0,
        }
    }
}

impl Head {
    /// Takes the next bytes; the host once the head is complete.
    pub fn read(&mut self, new: &[u8]) -> Result<Option<RequestHost>, Refused> {
        for byte in new {
            self.size += 1;
            self.state = self.next(*byte)?;
            if self.state == State::End {
                return self.end().map(Some);
            }
            if self.size == MAX_HEAD {
                return Err(Refused::TooLarge);
            }
        }
        Ok(None)
    }

    pub fn has_begun(&self) -> bool {
        self.size > 0
    }

    fn end(&mut self) -> Result<RequestHost, Refused> {
        match (self.host.take(), self.target.take()) {
            (host, target) if target.is_none() || target == host => {
                let address_for_name = matches!(host, Some(Host::Address(_)));
                let host = host.and_then(Host::name);
                Ok(RequestHost { host, address_for_name, size: self.size })
            }
            _ => Err(Refused::HostMismatch),
        }
    }

    fn next(&mut self, byte: u8) -> Result<State, Refused> {
        match self.state {
            State::Start if byte == b'\r' => Ok(State::StartLf),
            State::StartLf if byte == b'\n' => Ok(State::Start),
            State::Start | State::Method => self.method(byte),
            State::StartLf => Err(Refused::NotHttp),
            State::Target
            | State::Scheme
            | State::Slashes(_)
            | State::Authority
            | State::Asterisk
            | State::Path => self.target(byte),
            State::Version(length) => version(length, byte),
            State::LineFeed => {
                expect(byte == b'\n', Part::LineEnd)?;
                Ok(State::LineStart)
            }
            State::LastLf => {
                expect(byte == b'\n', Part::LineEnd)?;
                Ok(State::End)
            }
            State::End => Ok(State::End),
            State::LineStart => self.line_start(byte),
            State::FieldName => self.field_name(byte),
            State::Host => self.host(byte),
            State::FieldValue => match byte {
                b'\r' => Ok(State::LineFeed),
                b'\n' => Err(Refused::Malformed(Part::LineEnd)),
                0 => Err(Refused::Malformed(Part::FieldValue)),
                _ => Ok(State::FieldValue),
            },
        }
    }

    fn method(&mut self, byte: u8) -> Result<State, Refused> {
        if byte == b' ' && self.token_length > 0 {
            self.token_matches &= usize::from(self.token_length) == b"CONNECT".len();
            return Ok(State::Target);
        }
        if !is_token(byte) || self.token_length == MAX_METHOD {
            return Err(Refused::NotHttp);
        }
        self.token_matches &= b"CONNECT".get(usize::from(self.token_length)) == Some(&byte);
        self.token_length += 1;
        Ok(State::Method)
    }

    fn target(&mut self, byte: u8) -> Result<State, Refused> {
        let connect = self.token_matches;
        // Some clients send what is not ASCII as it is; servers take it for a part of the path.
        expect(byte == b' ' || byte.is_ascii_graphic() || !byte.is_ascii(), Part::Target)?;
        match (self.state, byte) {
            (State::Target, b'/') if !connect => Ok(State::Path),
            (State::Target, b'*') if !connect => Ok(State::Asterisk),
            (State::Target, _) if connect => self.capture(byte, State::Authority),
            (State::Target | State::Scheme, byte) if byte.is_ascii_alphabetic() => {
                self.capture(byte, State::Scheme)
            }
            (State::Scheme, b':') => {
                let scheme = self.take_captured();
                let known = |known: &&[u8]| scheme.eq_ignore_ascii_case(known);
                expect([&b"http"[..], b"https"].iter().any(known), Part::Target)?;
                Ok(State::Slashes(0))
            }
            (State::Slashes(0), b'/') => Ok(State::Slashes(1)),
            (State::Slashes(_), b'/') => Ok(State::Authority),
            (State::Authority, b' ' | b'/' | b'?' | b'#') => {
                self.target = Some(host_of(self.take_captured())?);
                Ok(if byte == b' ' { State::Version(0) } else { State::Path })
            }
            (State::Authority, byte) => self.capture(byte, State::Authority),
            (State::Asterisk | State::Path, b' ') => Ok(State::Version(0)),
            (State::Path, _) => Ok(State::Path),
            _ => Err(Refused::Malformed(Part::Target)),
        }
    }

    fn line_start(&mut self, byte: u8) -> Result<State, Refused> {
        self.token_length = 0;
        self.token_matches = true;
        match byte {
            b'\r' => Ok(State::LastLf),
            b'\n' => Err(Refused::Malformed(Part::LineEnd)),
            b' ' | b'\t' => Err(Refused::Malformed(Part::Folded)),
            b':' => Err(Refused::Malformed(Part::FieldName)),
            _ => self.field_name(byte),
        }
    }

    fn field_name(&mut self, byte: u8) -> Result<State, Refused> {
        let length = usize::from(self.token_length);
        if byte == b':' {
            if !self.token_matches || length != HOST.len() {
                return Ok(State::FieldValue);
            }
            if std::mem::replace(&mut self.host_seen, true) {
                return Err(Refused::SeveralHosts);
            }
            return Ok(State::Host);
        }
        expect(is_token(byte), Part::FieldName)?;
        self.token_matches &= HOST.get(length) == Some(&byte.to_ascii_lowercase());
        self.token_length = self.token_length.saturating_add(1);
        Ok(State::FieldName)
    }

    fn host(&mut self, byte: u8) -> Result<State, Refused> {
        match byte {
            b'\n' => Err(Refused::Malformed(Part::LineEnd)),
            b'\r' => {
                let host = self.take_captured();
                self.host = if host.is_empty() { None } else { Some(host_of(host)?) };
                Ok(State::LineFeed)
            }
            b' ' | b'\t' => {
                self.gap = self.captured_length > 0;
                Ok(State::Host)
            }
            _ if self.gap => Err(InvalidName::Character(b' ').into()),
            _ => self.capture(byte, State::Host),
        }
    }

    fn capture(&mut self, byte: u8, next: State) -> Result<State, Refused> {
        let place = self.captured.get_mut(self.captured_length).ok_or(InvalidName::TooLong)?;
        *place = byte;
        self.captured_length += 1;
        Ok(next)
    }

    fn take_captured(&mut self) -> &[u8] {
        &self.captured[..std::mem::take(&mut self.captured_length)]
    }
}

/// The byte after the first `length` of the version.
fn version(length: u8, byte: u8) -> Result<State, Refused> {
    match (usize::from(length), byte) {
        (at, byte) if at < VERSION.len() => expect(byte == VERSION[at], Part::Version)?,
        (5, b'1') | (6, b'.') | (7, b'0'..=b'9') => {}
        (5, b'2') => return Err(Refused::Http2),
        (5, b'0'..=b'9') => return Err(Refused::Version),
        (8, b'\r') => return Ok(State::LineFeed),
        _ => return Err(Refused::Malformed(Part::Version)),
    }
    Ok(State::Version(length + 1))
}

impl Host {
    fn name(self) -> Option<ServerName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }
}

/// The host in `host` or `host:port` (RFC 3986 section 3.2, without user and password).
fn host_of(authority: &[u8]) -> Result<Host, Refused> {
    // Brackets are not always there, and then nothing can be a port.
    if let Some(address) = ipv6(authority) {
        return Ok(Host::Address(address));
    }
    let bracketed = authority.starts_with(b"[");
    let end = if bracketed { authority.iter().position(|byte| *byte == b']') } else { None };
    let (host, rest) = authority.split_at(end.map_or(0, |end| end + 1));
    let (host, port) = if bracketed {
        let inner = host.get(1..host.len().saturating_sub(1)).unwrap_or_default();
        let address = ipv6(inner).ok_or(InvalidName::Character(b'['))?;
        (Host::Address(address), rest)
    } else {
        let colon = rest.iter().position(|byte| *byte == b':').unwrap_or(rest.len());
        let (name, port) = rest.split_at(colon);
        let host = match ServerName::normalise(name) {
            Ok(name) => Host::Name(name),
            Err(InvalidName::Address(address)) => Host::Address(address),
            Err(why) => return Err(why.into()),
        };
        (host, port)
    };
    let is_port = |port: &[u8]| {
        // `parse` takes a sign, too.
        let digits = str::from_utf8(port).ok().filter(|text| !text.starts_with('+'));
        digits.is_some_and(|text| text.is_empty() || text.parse::<u16>().is_ok())
    };
    match port {
        [] => Ok(host),
        [b':', port @ ..] if is_port(port) => Ok(host),
        _ => Err(Refused::InvalidPort),
    }
}

fn ipv6(text: &[u8]) -> Option<IpAddr> {
    str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn expect(holds: bool, part: Part) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(Refused::Malformed(part)) }
}

/// A character of methods and field names (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
