//! WireGuard public keys. Private keys never appear in this crate: they stay on the node.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A Curve25519 public key as WireGuard writes it: 44 characters of base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 44, max_length = 44, examples("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="))]
pub struct PublicKey([u8; 32]);

/// Why a text is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublicKey {
    /// Not 32 bytes in standard base64.
    #[error("WireGuard public key is not 44 characters of base64")]
    Encoding,
    /// A point of small order, with which no secret can be agreed (RFC 7748 section 6.1).
    #[error("WireGuard public key is a point of small order; make a new key pair")]
    SmallOrder,
    /// Not the one way of writing its point: 2^255 - 19 or more.
    #[error("WireGuard public key is not in canonical form; take it from `wg pubkey`")]
    NotCanonical,
}

/// Whether the little-endian number is below 2^255 - 19.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let highest = bytes[31] == 0x7f && bytes[1..31].iter().all(|byte| *byte == 0xff);
    bytes[31] & 0x80 == 0 && !(highest && bytes[0] >= 0xed)
}

/// The points of small order on Curve25519, little endian, top bit clear.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
];

impl PublicKey {
    /// Accepts 32 bytes unless they are a point of small order or a second spelling of a key: two
    /// nodes must never have the same one.
    pub fn new(bytes: [u8; 32]) -> Result<Self, InvalidPublicKey> {
        if !is_canonical(&bytes) {
            Err(InvalidPublicKey::NotCanonical)
        } else if SMALL_ORDER.contains(&bytes) {
            Err(InvalidPublicKey::SmallOrder)
        } else {
            Ok(Self(bytes))
        }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl std::str::FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = STANDARD.decode(text).map_err(|_| InvalidPublicKey::Encoding)?;
        Self::new(bytes.try_into().map_err(|_| InvalidPublicKey::Encoding)?)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidPublicKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_text_and_weak_ones_are_refused() {
        let text = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        assert_eq!(text.parse::<PublicKey>().expect("key").to_string(), text);
        assert_eq!("AAAA".parse::<PublicKey>(), Err(InvalidPublicKey::Encoding));
        for weak in SMALL_ORDER {
            assert_eq!(PublicKey::new(weak), Err(InvalidPublicKey::SmallOrder));
        }
    }

    #[test]
    fn a_key_has_one_spelling_only() {
        let mut twin = *text_key().as_bytes();
        twin[31] |= 0x80;
        assert_eq!(PublicKey::new(twin), Err(InvalidPublicKey::NotCanonical));
        for low in 0xed..=0xff {
            let mut wrapped = [0xff; 32];
            (wrapped[0], wrapped[31]) = (low, 0x7f);
            assert_eq!(PublicKey::new(wrapped), Err(InvalidPublicKey::NotCanonical));
        }
    }

    fn text_key() -> PublicKey {
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().expect("key")
    }
}
