//! Names of networks, nodes and tokens: one DNS label each (RFC 1123 section 2.1, lower case).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One lower-case DNS label: 1 to 63 of `a-z`, `0-9` and `-`, neither first nor last a `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", examples("worker-1"))]
pub struct DnsLabel(String);

/// Why a text is no DNS label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDnsLabel {
    /// Empty, or longer than a label may be.
    #[error("name \"{0}\" has {1} characters; use 1 to 63")]
    Length(String, usize),
    /// A character that a label cannot hold.
    #[error("name \"{0}\" contains '{1}'; use a-z, 0-9 and '-'")]
    Character(String, char),
    /// A hyphen at either end.
    #[error("name \"{0}\" starts or ends with '-'; start and end with a letter or a digit")]
    Hyphen(String),
}

impl DnsLabel {
    /// Checks `text` and keeps it.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidDnsLabel> {
        let text = text.into();
        if text.is_empty() || text.len() > 63 {
            let length = text.chars().count();
            return Err(InvalidDnsLabel::Length(shortened(&text), length));
        }
        let foreign = |c: &char| !matches!(c, 'a'..='z' | '0'..='9' | '-');
        if let Some(character) = text.chars().find(foreign) {
            return Err(InvalidDnsLabel::Character(text, character));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(InvalidDnsLabel::Hyphen(text));
        }
        Ok(Self(text))
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
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

impl std::fmt::Display for DnsLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DnsLabel {
    type Error = InvalidDnsLabel;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl std::str::FromStr for DnsLabel {
    type Err = InvalidDnsLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl From<DnsLabel> for String {
    fn from(label: DnsLabel) -> Self {
        label.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_of_dns_are_accepted_and_others_say_why_not() {
        for good in ["a", "n1", "worker-1", &"x".repeat(63)] {
            assert_eq!(DnsLabel::new(good).expect(good).as_str(), good);
        }
        for (bad, why) in [
            ("", "characters; use 1 to 63"),
            (&"x".repeat(64), "characters; use 1 to 63"),
            ("Worker", "contains 'W'"),
            ("a.b", "contains '.'"),
            ("a_b", "contains '_'"),
            ("é", "contains 'é'"),
            ("-a", "starts or ends"),
            ("a-", "starts or ends"),
        ] {
            let error = DnsLabel::new(bad).expect_err(bad).to_string();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_either_kept_unchanged_or_refused(text in "\\PC{0,80}") {
            if let Ok(label) = DnsLabel::new(text.clone()) {
                prop_assert_eq!(label.as_str(), text);
            }
        }
    }
}
