//! What the control plane says of a node that asks, and when: the one statement that a node believes
//! whatever the two clocks say (ADR 0015).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{id::NodeId, timestamp::Timestamp};

/// What a node is to the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// A member of its network; it may renew its certificate.
    Active,
    /// It has left or was removed.
    Left,
    /// An operator withdrew its certificates; it stays a member.
    Revoked,
}

impl Standing {
    /// The word in the signed text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Left => "left",
            Self::Revoked => "revoked",
        }
    }
}

/// Length of the number that makes a statement fresh, in hex digits.
pub const NONCE_DIGITS: usize = 64;

/// Whether `nonce` has the form of one: 64 lowercase hex digits.
pub fn is_nonce(nonce: &str) -> bool {
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    nonce.len() == NONCE_DIGITS && nonce.bytes().all(hex)
}

/// The text that the CA's key signs. It never is a certificate: those are DER, which begins with 0x30.
pub fn signed_text(nonce: &str, node: NodeId, standing: Standing, at: Timestamp) -> String {
    format!("sextant standing 1\n{nonce}\n{node}\n{}\n{at}\n", standing.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn every_part_of_a_statement_is_in_the_signed_text() {
        let at = |seconds| Timestamp::from_unix_seconds(seconds).expect("time");
        let node = |n| NodeId(Uuid::from_u128(n));
        let text = signed_text("aa", node(1), Standing::Active, at(0));
        assert!(text.as_bytes()[0] != 0x30, "no DER");
        for other in [
            signed_text("ab", node(1), Standing::Active, at(0)),
            signed_text("aa", node(2), Standing::Active, at(0)),
            signed_text("aa", node(1), Standing::Left, at(0)),
            signed_text("aa", node(1), Standing::Active, at(1)),
        ] {
            assert_ne!(text, other);
        }
    }

    #[test]
    fn a_nonce_is_64_lowercase_hex_digits() {
        assert!(is_nonce(&"0f".repeat(32)));
        for bad in ["", "0f", &"0F".repeat(32), &"0g".repeat(32), &format!("{}\n", "0f".repeat(31))]
        {
            assert!(!is_nonce(bad), "{bad}");
        }
    }
}
