//! The name a client asks for, in the one spelling that routes are looked up by.

use std::sync::Arc;

use sextant_model::hostname::{self, LONGEST};

pub use sextant_model::hostname::InvalidName;

/// A host name ([`hostname::check_name`]) in lower case, without a dot at the end. Copies share one
/// text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// Checks what a client sent and brings it into the one spelling: lower case, without the one
    /// dot that may end it.
    pub fn normalise(raw: &[u8]) -> Result<Self, InvalidName> {
        let name = hostname::check_name(raw)?;
        let mut text = [0; LONGEST];
        let text = &mut text[..name.len()];
        text.copy_from_slice(name);
        text.make_ascii_lowercase();
        let text = str::from_utf8(text).map_err(|_| InvalidName::Character(0x80))?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
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
        for (raw, want) in [
            ("foo.example.com", "foo.example.com"),
            ("FOO.Example.COM.", "foo.example.com"),
            ("_acme.a_b.example", "_acme.a_b.example"),
            ("Foo-.Example.com", "foo-.example.com"),
            ("localhost", "localhost"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ] {
            assert_eq!(ServerName::normalise(raw.as_bytes()).expect(raw).as_str(), want);
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
