//! The name a client asks for, in the one spelling that routes are looked up by.

use std::sync::Arc;

use sextant_model::hostname;

/// Longest name without a trailing dot (RFC 1035 section 2.3.4, as text).
pub(crate) const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host name: lower-case ASCII labels with dots between them, no dot at the end, at most 253
/// bytes. Labels consist of letters, digits, `-` and `_` (which hostnames lack, but names of
/// services have). Copies share one text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

/// Why some bytes are no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// No byte, or nothing but a dot.
    #[error("it is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("it is longer than {MAX_NAME} bytes")]
    TooLong,
    /// A NUL, which ends the text for programs that keep it as C does.
    #[error("it contains a NUL")]
    Nul,
    /// An address, in brackets or not, or a name whose last label is a number (RFC 6066 section 3
    /// wants names; no top-level domain is a number).
    #[error("it is an IP address, not a name")]
    IpLiteral,
    /// A byte that is no letter, digit, `-`, `_` or `.` of ASCII.
    #[error("it contains the byte 0x{0:02x}; use a-z, 0-9, '-' and '.'")]
    Character(u8),
    /// Two dots in a row, or one at the start.
    #[error("it contains an empty label")]
    EmptyLabel,
    /// More than 63 bytes between two dots.
    #[error("it contains a label longer than {MAX_LABEL} bytes")]
    LongLabel,
    /// A hyphen at either end of a label.
    #[error("it contains a label that starts or ends with '-'")]
    Hyphen,
}

impl ServerName {
    /// Checks what a client sent and brings it into the one spelling: lower case, without the one
    /// dot that may end it.
    pub fn normalise(raw: &[u8]) -> Result<Self, InvalidName> {
        let raw = raw.strip_suffix(b".").unwrap_or(raw);
        if raw.is_empty() {
            return Err(InvalidName::Empty);
        }
        if raw.len() > MAX_NAME {
            return Err(InvalidName::TooLong);
        }
        raw.iter().try_for_each(|byte| check_byte(*byte))?;
        raw.split(|byte| *byte == b'.').try_for_each(check_label)?;
        if raw.rsplit(|byte| *byte == b'.').next().is_some_and(hostname::is_number) {
            return Err(InvalidName::IpLiteral);
        }
        let mut text = [0; MAX_NAME];
        let text = &mut text[..raw.len()];
        text.copy_from_slice(raw);
        text.make_ascii_lowercase();
        let text = str::from_utf8(text).map_err(|_| InvalidName::Character(0x80))?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_byte(byte: u8) -> Result<(), InvalidName> {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => Ok(()),
        0 => Err(InvalidName::Nul),
        b':' | b'[' | b']' => Err(InvalidName::IpLiteral),
        other => Err(InvalidName::Character(other)),
    }
}

fn check_label(label: &[u8]) -> Result<(), InvalidName> {
    match label {
        [] => Err(InvalidName::EmptyLabel),
        [b'-', ..] | [.., b'-'] => Err(InvalidName::Hyphen),
        long if long.len() > MAX_LABEL => Err(InvalidName::LongLabel),
        _ => Ok(()),
    }
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_brought_into_one_spelling() {
        let longest = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(61));
        assert_eq!(longest.len(), MAX_NAME);
        for (raw, want) in [
            ("foo.example.com", "foo.example.com"),
            ("FOO.Example.COM.", "foo.example.com"),
            ("_acme.a_b.example", "_acme.a_b.example"),
            ("localhost", "localhost"),
            ("1.2.3.4.example", "1.2.3.4.example"),
            ("a.0xyz", "a.0xyz"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            (&longest, &longest),
            (&format!("{longest}."), &longest),
        ] {
            assert_eq!(ServerName::normalise(raw.as_bytes()).expect(raw).as_str(), want);
        }
    }

    #[test]
    fn other_bytes_say_why_they_are_no_name() {
        let long = format!("{}a", "a.".repeat(127));
        let long_label = format!("{}.example", "x".repeat(64));
        for (raw, want) in [
            ("", InvalidName::Empty),
            (".", InvalidName::Empty),
            (&long, InvalidName::TooLong),
            ("foo.example.com\0.evil.net", InvalidName::Nul),
            ("192.0.2.1", InvalidName::IpLiteral),
            ("192.0.2.1.", InvalidName::IpLiteral),
            ("1", InvalidName::IpLiteral),
            ("0xc0.0.0x201", InvalidName::IpLiteral),
            ("a.0XfF", InvalidName::IpLiteral),
            ("a.0x", InvalidName::IpLiteral),
            ("2001:db8::1", InvalidName::IpLiteral),
            ("[::1]", InvalidName::IpLiteral),
            ("foo example", InvalidName::Character(b' ')),
            ("*.example", InvalidName::Character(b'*')),
            ("münchen.example", InvalidName::Character(0xc3)),
            ("a..b", InvalidName::EmptyLabel),
            (".a", InvalidName::EmptyLabel),
            ("a..", InvalidName::EmptyLabel),
            (&long_label, InvalidName::LongLabel),
            ("-a.b", InvalidName::Hyphen),
            ("a-.b", InvalidName::Hyphen),
        ] {
            assert_eq!(ServerName::normalise(raw.as_bytes()), Err(want), "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(raw in "[a-zA-Z0-9._-]{0,80}") {
            if let Ok(name) = ServerName::normalise(raw.as_bytes()) {
                prop_assert_eq!(name.as_str(), raw.trim_end_matches('.').to_lowercase());
                prop_assert_eq!(ServerName::normalise(name.as_str().as_bytes()), Ok(name));
            }
        }
    }
}
