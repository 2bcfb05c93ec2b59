//! Hostnames that routes are found by: exact, or a wildcard over one label (RFC 4592 writes it
//! `*.example.com`; here, as in certificates, the star stands for exactly one label).
//!
//! What a name is, is said once, by [`check_name`]: routes may have every name that clients may ask
//! for. Names are those that browsers send (WHATWG URL): labels may hold underscores, and begin or end
//! with a hyphen, although hosts are not called so.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema::described_as_text;

/// Longest name, in bytes without the trailing dot (RFC 1035 section 2.3.4).
pub const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A fully qualified host name: lower case, no trailing dot, no address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, examples("shop.example.com"))]
pub struct Hostname(String);

/// What a route answers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// This name.
    Exact(Hostname),
    /// Every name of one label before this one.
    Wildcard(Hostname),
}

described_as_text!(
    HostPattern,
    r"^(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$",
    ["shop.example.com", "*.example.com"]
);

/// Why some bytes are no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// No byte, or nothing but a dot.
    #[error("it is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// A NUL, which ends the text for programs that keep it as C does.
    #[error("it contains a NUL")]
    Nul,
    /// An IPv4 or IPv6 address, the latter in brackets or not. RFC 6066 section 3 wants names.
    #[error("it is an IP address, not a name")]
    Address(IpAddr),
    /// The last label is a number, which no top-level domain is; some programs read the whole as an
    /// IPv4 address (WHATWG URL, "ends in a number").
    #[error("its last label is a number, which no name ends with")]
    Number,
    /// A byte that is no letter, digit, `-`, `_` or `.` of ASCII.
    #[error("it contains the byte 0x{0:02x}; use a-z, 0-9, '-', '_' and '.'")]
    Character(u8),
    /// Two dots in a row, or one at the start.
    #[error("it contains an empty label")]
    EmptyLabel,
    /// More than 63 bytes between two dots.
    #[error("it contains a label longer than {LONGEST_LABEL} bytes")]
    LongLabel,
}

/// The name that `raw` is, without the one dot that may end it; in any case.
pub fn check_name(raw: &[u8]) -> Result<&[u8], InvalidName> {
    let name = raw.strip_suffix(b".").unwrap_or(raw);
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.len() > LONGEST {
        return Err(InvalidName::TooLong);
    }
    let foreign = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if let Some(byte) = name.iter().copied().find(foreign) {
        return Err(match (byte, address(name)) {
            (_, Some(address)) => InvalidName::Address(address),
            (0, None) => InvalidName::Nul,
            (byte, None) => InvalidName::Character(byte),
        });
    }
    for label in name.split(|byte| *byte == b'.') {
        match label.len() {
            0 => return Err(InvalidName::EmptyLabel),
            1..=LONGEST_LABEL => {}
            _ => return Err(InvalidName::LongLabel),
        }
    }
    if name.rsplit(|byte| *byte == b'.').next().is_some_and(is_number) {
        return Err(address(name).map_or(InvalidName::Number, InvalidName::Address));
    }
    Ok(name)
}

fn address(name: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(name).ok()?;
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// Whether programs read a last label as a part of an IPv4 address: digits, or `0x` and hex digits,
/// of which there may be none.
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', hex @ ..] => hex.iter().all(u8::is_ascii_hexdigit),
        digits => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
    }
}

/// Why a text is no hostname.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostname {
    /// Nothing there, or more than DNS allows.
    #[error("hostname \"{0}\" has {1} characters; use 1 to 253")]
    Length(String, usize),
    /// A label of no or too many characters.
    #[error("hostname \"{0}\" has a label of {1} characters; use 1 to 63")]
    LabelLength(String, usize),
    /// A character that no host name has.
    #[error("hostname \"{0}\" contains {1:?}; use a-z, 0-9, '-', '_' and '.'")]
    Character(String, char),
    /// A name with what surrounds it in a URL.
    #[error("hostname \"{0}\" is a URL; give the name alone, like \"{1}\"")]
    Url(String, String),
    /// A name with a port behind it.
    #[error("hostname \"{0}\" has a port; give the name alone, \"{1}\"")]
    Port(String, String),
    /// An address is not a name.
    #[error("hostname \"{0}\" is an IP address; give a DNS name")]
    IpLiteral(String),
    /// A star stands for one whole label, the first.
    #[error(
        "hostname \"{0}\" is not a wildcard over one label; write \"*.\" and then a name without a star"
    )]
    Wildcard(String),
}

impl Hostname {
    /// Checks `text`, in any case and with or without one trailing dot, and keeps it normalised.
    pub fn new(text: &str) -> Result<Self, InvalidHostname> {
        if text.contains('*') {
            return Err(InvalidHostname::Wildcard(shortened(text)));
        }
        check_name(text.as_bytes()).map_err(|why| InvalidHostname::of(text, why))?;
        Ok(Self(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its first label, if something is left.
    pub fn parent(&self) -> Option<&str> {
        parent_of(&self.0)
    }

    /// Whether this is `domain` or lies below it, at any depth.
    pub fn is_within(&self, domain: &Self) -> bool {
        self == domain
            || self.0.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// `name` without its first label, if something is left.
pub fn parent_of(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, parent)| parent)
}

impl HostPattern {
    /// Checks `text`: a hostname, or `*.` and a hostname.
    pub fn new(text: &str) -> Result<Self, InvalidHostname> {
        match text.strip_prefix("*.") {
            Some(rest) if rest.contains('*') => Err(InvalidHostname::Wildcard(text.to_owned())),
            // A name that it matches has a label more.
            Some(rest) if rest.strip_suffix('.').unwrap_or(rest).len() > LONGEST - 2 => {
                Err(InvalidHostname::Length(shortened(text), text.chars().count()))
            }
            Some(rest) => Hostname::new(rest).map(Self::Wildcard),
            None => Hostname::new(text).map(Self::Exact),
        }
    }

    /// The name it ends with: all of it, or what follows the star.
    pub fn domain(&self) -> &Hostname {
        match self {
            Self::Exact(name) | Self::Wildcard(name) => name,
        }
    }

    /// Whether the star is there.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Wildcard(_))
    }

    /// The domain directly below which all names it matches lie: what an exact name and the
    /// wildcard that covers it have in common. Nothing for an exact name of one label.
    pub fn parent(&self) -> Option<&str> {
        match self {
            Self::Exact(name) => name.parent(),
            Self::Wildcard(domain) => Some(domain.as_str()),
        }
    }

    /// Whether it matches `name`, which must be normalised.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str() == name,
            Self::Wildcard(domain) => parent_of(name) == Some(domain.as_str()),
        }
    }
}

/// Where DNS says who may use the names of a pattern.
pub fn challenge_name(pattern: &HostPattern) -> String {
    format!("_sextant-challenge.{}", pattern.domain())
}

/// What DNS says there; `random` is as good as a secret until it is published.
pub fn challenge_value(random: &str) -> String {
    format!("sextant-verification={random}")
}

impl InvalidHostname {
    /// In the words of whoever wrote `text`.
    fn of(text: &str, why: InvalidName) -> Self {
        let name = text.strip_suffix('.').unwrap_or(text);
        let given = shortened(text);
        let is_name = |name: &&str| check_name(name.as_bytes()).is_ok();
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':', '?', '#']).next().filter(is_name);
            return Self::Url(given, host.unwrap_or("shop.example.com").to_ascii_lowercase());
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && is_name(&host)
            && port.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Self::Port(given, host.to_ascii_lowercase());
        }
        let foreign = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let label = |is_wrong: fn(usize) -> bool| {
            name.split('.').map(str::len).find(|length| is_wrong(*length)).unwrap_or_default()
        };
        match why {
            InvalidName::Empty | InvalidName::TooLong => Self::Length(given, name.chars().count()),
            InvalidName::Address(_) | InvalidName::Number => Self::IpLiteral(given),
            InvalidName::Nul | InvalidName::Character(_) => {
                Self::Character(given, name.chars().find(foreign).unwrap_or('\0'))
            }
            InvalidName::EmptyLabel => Self::LabelLength(given, label(|length| length == 0)),
            InvalidName::LongLabel => {
                Self::LabelLength(given, label(|length| length > LONGEST_LABEL))
            }
        }
    }
}

/// Error texts quote what was given, but never more than a line of it.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(70).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl std::fmt::Display for Hostname {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_wildcard() {
            f.write_str("*.")?;
        }
        f.write_str(self.domain().as_str())
    }
}

macro_rules! from_text {
    ($($name:ident)*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidHostname;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidHostname;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )*};
}

from_text! { Hostname HostPattern }

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_normalised_and_others_say_why_not() {
        let longest_domain = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(59));
        assert_eq!(longest_domain.len(), 251);
        assert!(HostPattern::new(&format!("*.{longest_domain}.")).is_ok());
        for (given, kept) in [
            ("Shop.Example.COM.", "shop.example.com"),
            ("*.Example.com", "*.example.com"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1.example", "1.example"),
            ("0x1.example", "0x1.example"),
            ("a.0xyz", "a.0xyz"),
            ("my_app.example.com", "my_app.example.com"),
            ("-a.b-.example", "-a.b-.example"),
            ("*._tcp.example", "*._tcp.example"),
        ] {
            assert_eq!(HostPattern::new(given).expect(given).to_string(), kept);
        }
        for (bad, why) in [
            ("", "has 0 characters"),
            (".", "has 0 characters"),
            (&"a.".repeat(128), "characters; use 1 to 253"),
            ("a..b", "a label of 0"),
            (&format!("{}.com", "x".repeat(64)), "a label of 64"),
            ("a b.com", "contains ' '"),
            ("bücher.example", "contains 'ü'"),
            ("https://Example.com", "is a URL; give the name alone, like \"example.com\""),
            ("http://[::1]/", "is a URL; give the name alone, like \"shop.example.com\""),
            ("Example.com:443", "has a port; give the name alone, \"example.com\""),
            ("*.example.com:443", "has a port; give the name alone, \"example.com\""),
            ("a:b", "contains ':'"),
            ("192.0.2.1", "is an IP address"),
            ("0xc0.0.0x201", "is an IP address"),
            ("a.0XFF", "is an IP address"),
            ("a.0x.", "is an IP address"),
            (&format!("*.{longest_domain}a"), "has 254 characters"),
            ("2001:db8::1", "is an IP address"),
            ("[::1]", "is an IP address"),
            ("*.*.example.com", "wildcard over one label"),
            ("a.*.example.com", "wildcard over one label"),
            ("*", "wildcard over one label"),
            ("*example.com", "wildcard over one label"),
        ] {
            let error = HostPattern::new(bad).expect_err(bad).to_string();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }

    #[test]
    fn every_byte_string_is_a_name_or_says_why_not() {
        let longest = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(61));
        assert_eq!(longest.len(), LONGEST);
        for (raw, name) in [
            ("FOO.Example.COM.", "FOO.Example.COM"),
            ("_acme.a_b.example", "_acme.a_b.example"),
            ("foo-.example.com", "foo-.example.com"),
            ("-", "-"),
            ("1.2.3.4.example", "1.2.3.4.example"),
            (&format!("{longest}."), &longest),
        ] {
            assert_eq!(check_name(raw.as_bytes()), Ok(name.as_bytes()), "{raw:?}");
        }
        let address = |text: &str| InvalidName::Address(text.parse().expect(text));
        for (raw, why) in [
            ("", InvalidName::Empty),
            (".", InvalidName::Empty),
            (&format!("{longest}z"), InvalidName::TooLong),
            ("foo.example.com\0.evil.net", InvalidName::Nul),
            ("192.0.2.1", address("192.0.2.1")),
            ("192.0.2.1.", address("192.0.2.1")),
            ("2001:db8::1", address("2001:db8::1")),
            ("[::1]", address("::1")),
            ("::ffff:192.0.2.1", address("::ffff:192.0.2.1")),
            ("1", InvalidName::Number),
            ("192.0.2", InvalidName::Number),
            ("192.0.2.256", InvalidName::Number),
            ("0xc0.0.0x201", InvalidName::Number),
            ("a.0XfF", InvalidName::Number),
            ("a.0x", InvalidName::Number),
            ("[192.0.2.1]", InvalidName::Character(b'[')),
            ("[::1", InvalidName::Character(b'[')),
            ("fe80::1%eth0", InvalidName::Character(b':')),
            ("foo example", InvalidName::Character(b' ')),
            ("*.example", InvalidName::Character(b'*')),
            ("münchen.example", InvalidName::Character(0xc3)),
            ("a..b", InvalidName::EmptyLabel),
            (".a", InvalidName::EmptyLabel),
            ("a..", InvalidName::EmptyLabel),
            (&format!("{}.example", "x".repeat(64)), InvalidName::LongLabel),
        ] {
            assert_eq!(check_name(raw.as_bytes()), Err(why), "{raw:?}");
        }
    }

    #[test]
    fn a_star_stands_for_exactly_one_label() {
        let pattern = HostPattern::new("*.bar.example").expect("pattern");
        assert!(pattern.matches("a.bar.example"));
        for other in ["bar.example", "a.b.bar.example", "abar.example", ".bar.example.com"] {
            assert!(!pattern.matches(other), "{other}");
        }
    }

    #[test]
    fn lying_within_a_domain_is_decided_label_by_label() {
        let domain = Hostname::new("example.com").expect("domain");
        for (name, within) in
            [("example.com", true), ("a.b.example.com", true), ("badexample.com", false)]
        {
            assert_eq!(Hostname::new(name).expect(name).is_within(&domain), within, "{name}");
        }
    }

    proptest! {
        #[test]
        fn routes_may_have_every_name_that_clients_may_ask_for(text in "[a-zA-Z0-9.:_-]{0,40}") {
            let name = check_name(text.as_bytes()).map(<[u8]>::to_ascii_lowercase);
            let hostname = Hostname::new(&text).map(|name| name.as_str().as_bytes().to_vec());
            prop_assert_eq!(name.ok(), hostname.ok());
        }

        #[test]
        fn what_is_accepted_is_kept_as_it_prints(text in "[*]?[.]?[a-zA-Z0-9.:_-]{0,40}") {
            if let Ok(pattern) = HostPattern::new(&text) {
                let again = HostPattern::new(&pattern.to_string()).expect("normalised");
                prop_assert_eq!(again, pattern);
            }
        }
    }
}
