//! Hostnames that routes are found by: exact, or a wildcard over one label (RFC 4592 writes it
//! `*.example.com`; here, as in certificates, the star stands for exactly one label).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema::described_as_text;

/// Longest name, without the trailing dot (RFC 1035 section 2.3.4).
const LONGEST: usize = 253;

/// A fully qualified host name: lower case, no trailing dot, no IP literal.
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
    r"^(\*\.)?[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.?$",
    ["shop.example.com", "*.example.com"]
);

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
    #[error("hostname \"{0}\" contains {1:?}; use a-z, 0-9, '-' and '.'")]
    Character(String, char),
    /// A label cannot begin or end so.
    #[error("hostname \"{0}\" has a label that starts or ends with '-'")]
    Hyphen(String),
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
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || name.len() > LONGEST {
            return Err(InvalidHostname::Length(shortened(text), name.chars().count()));
        }
        if is_ip_literal(name) {
            return Err(InvalidHostname::IpLiteral(text.to_owned()));
        }
        if name.contains('*') {
            return Err(InvalidHostname::Wildcard(text.to_owned()));
        }
        let foreign = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
        if let Some(character) = name.chars().find(foreign) {
            return Err(InvalidHostname::Character(text.to_owned(), character));
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(InvalidHostname::LabelLength(text.to_owned(), label.len()));
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(InvalidHostname::Hyphen(text.to_owned()));
            }
        }
        Ok(Self(name.to_ascii_lowercase()))
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

/// RFC 3986 calls them IP literals; no top-level domain is a number, so such names cannot exist.
fn is_ip_literal(name: &str) -> bool {
    let numeric_end = name.rsplit('.').next().is_some_and(|label| is_number(label.as_bytes()));
    numeric_end || name.contains(':') || name.starts_with('[')
}

/// Whether programs read a last label as a part of an IPv4 address: digits, or `0x` and hex digits,
/// of which there may be none (WHATWG URL, "ends in a number").
pub fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', hex @ ..] => hex.iter().all(u8::is_ascii_hexdigit),
        digits => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
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
        ] {
            assert_eq!(HostPattern::new(given).expect(given).to_string(), kept);
        }
        for (bad, why) in [
            ("", "has 0 characters"),
            (".", "has 0 characters"),
            (&"a.".repeat(128), "characters; use 1 to 253"),
            ("a..b", "a label of 0"),
            (&format!("{}.com", "x".repeat(64)), "a label of 64"),
            ("a_b.com", "contains '_'"),
            ("a b.com", "contains ' '"),
            ("bücher.example", "contains 'ü'"),
            ("-a.com", "starts or ends with '-'"),
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
        fn what_is_accepted_is_kept_as_it_prints(text in "[*]?[.]?[a-zA-Z0-9.:_-]{0,40}") {
            if let Ok(pattern) = HostPattern::new(&text) {
                let again = HostPattern::new(&pattern.to_string()).expect("normalised");
                prop_assert_eq!(again, pattern);
            }
        }
    }
}
