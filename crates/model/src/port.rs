//! Which ports an environment may listen on: a policy of the platform, and grants it makes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::schema::described_as_text;

/// Ports that every environment may use unless the policy denies them.
pub const ALWAYS_ALLOWED: [u16; 2] = [80, 443];
/// What a platform denies that has not said otherwise: mail between servers, the classic abuse.
pub const DENIED_BY_DEFAULT: [u16; 1] = [25];

/// Ports from `first` to `last`, both included; written `8000-8099`, or `8000` for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

described_as_text!(PortRange, "^[0-9]{1,5}(-[0-9]{1,5})?$", ["25", "8000-8099"]);

/// A text that is no range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("port range \"{0}\" cannot be read; write one port or FIRST-LAST, from 1 to 65535")]
pub struct InvalidPortRange(String);

impl PortRange {
    /// One port.
    pub fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl std::str::FromStr for PortRange {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Self { first, last }),
            _ => Err(InvalidPortRange(text.chars().take(40).collect())),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = InvalidPortRange;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Which ports are open to every environment, and which to none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPolicy {
    /// Open to every environment, besides [`ALWAYS_ALLOWED`].
    pub allow: Vec<PortRange>,
    /// Open to none, whatever else says so.
    pub deny: Vec<PortRange>,
}

impl Default for PortPolicy {
    fn default() -> Self {
        Self { allow: Vec::new(), deny: DENIED_BY_DEFAULT.map(PortRange::one).to_vec() }
    }
}

/// Why an environment may not listen on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortRefused {
    /// No port.
    #[error("listen_port 0 is no port; give one from 1 to 65535")]
    Zero,
    /// On the denylist.
    #[error("listen_port {0} is denied on this platform; use another port")]
    Denied(u16),
    /// Neither allowed for all nor granted.
    #[error(
        "listen_port {0} is not open to this environment; use 80 or 443, or ask an operator for a port grant"
    )]
    NotGranted(u16),
}

impl PortPolicy {
    /// Whether an environment with these grants may listen on `port`. The denylist wins over both
    /// the allowlist and grants.
    pub fn check(&self, port: u16, grants: &BTreeSet<u16>) -> Result<(), PortRefused> {
        let within = |ranges: &[PortRange]| ranges.iter().any(|range| range.contains(port));
        if port == 0 {
            Err(PortRefused::Zero)
        } else if within(&self.deny) {
            Err(PortRefused::Denied(port))
        } else if ALWAYS_ALLOWED.contains(&port) || within(&self.allow) || grants.contains(&port) {
            Ok(())
        } else {
            Err(PortRefused::NotGranted(port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_denylist_wins_over_the_allowlist_and_over_grants() {
        let range = |text: &str| text.parse::<PortRange>().expect(text);
        let policy = PortPolicy {
            allow: vec![range("5000-5999"), range("25")],
            deny: vec![range("25"), range("5432"), range("443")],
        };
        let grants = [6000, 25].into();
        for (port, verdict) in [
            (80, Ok(())),
            (443, Err(PortRefused::Denied(443))),
            (5000, Ok(())),
            (5999, Ok(())),
            (5432, Err(PortRefused::Denied(5432))),
            (25, Err(PortRefused::Denied(25))),
            (6000, Ok(())),
            (6001, Err(PortRefused::NotGranted(6001))),
            (0, Err(PortRefused::Zero)),
        ] {
            assert_eq!(policy.check(port, &grants), verdict, "{port}");
        }
        assert_eq!(PortPolicy::default().check(25, &grants), Err(PortRefused::Denied(25)));
    }

    #[test]
    fn ranges_are_read_as_they_print_and_others_say_why_not() {
        for good in ["1", "65535", "8000-8099"] {
            assert_eq!(good.parse::<PortRange>().expect(good).to_string(), good);
        }
        for bad in ["", "0", "65536", "9-8", "a", "1-2-3", "-5"] {
            let error = bad.parse::<PortRange>().expect_err(bad).to_string();
            assert!(error.contains("write one port or FIRST-LAST"), "{bad:?}: {error}");
        }
    }
}
