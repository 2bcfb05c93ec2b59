//! The text form of tokens. Only [`SecretHash`] is ever stored; the secret itself exists in the
//! text the operator was shown and nowhere else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::id::{ApiTokenId, EnrolmentTokenId};

const ENROLMENT_PREFIX: &str = "sxe_";
const API_PREFIX: &str = "sxa_";

/// 32 random bytes. `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// SHA-256 of a [`Secret`], in hex. The secret has 256 bits of entropy, so no slow hash is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(String);

/// SHA-256 of the control plane's CA certificate (DER), in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaFingerprint(String);

/// What `sextant token create` prints: everything a new machine needs to enrol safely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Which token it is.
    pub id: EnrolmentTokenId,
    /// Proof of possession.
    pub secret: Secret,
    /// The CA the machine must find at the other end.
    pub ca: CaFingerprint,
}

/// What an operator's client sends as a bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Which token it is.
    pub id: ApiTokenId,
    /// Proof of possession.
    pub secret: Secret,
}

/// A text that is no token. Never quotes the text: it may be a secret with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedToken {
    /// Does not start like one, or has the wrong length or alphabet.
    #[error(
        "the enrolment token is malformed; it starts with \"sxe_\", copy it whole from `sextant token create`"
    )]
    Enrolment,
    /// Does not start like one, or has the wrong length or alphabet.
    #[error(
        "the API token is malformed; it starts with \"sxa_\", copy it whole from where it was created"
    )]
    Api,
}

impl Secret {
    /// Keeps 32 random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// What may be stored of the secret.
    pub fn hash(&self) -> SecretHash {
        SecretHash(hex(&Sha256::digest(self.0)))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl SecretHash {
    /// The hash in hex. Compare it in constant time.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretHash {
    fn from(hex: String) -> Self {
        Self(hex)
    }
}

impl CaFingerprint {
    /// Fingerprint of a certificate in DER.
    pub fn of_der(certificate: &[u8]) -> Self {
        Self(hex(&Sha256::digest(certificate)))
    }

    /// 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(self.0.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(pair).unwrap_or("0");
            *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
        }
        bytes
    }
}

impl std::fmt::Display for CaFingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl EnrolmentToken {
    /// The text to hand to the new machine. It is a secret.
    pub fn reveal(&self) -> String {
        let mut bytes = Vec::with_capacity(80);
        bytes.extend_from_slice(self.id.0.as_bytes());
        bytes.extend_from_slice(&self.secret.0);
        bytes.extend_from_slice(&self.ca.to_bytes());
        format!("{ENROLMENT_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl ApiToken {
    /// The text to hand to the operator. It is a secret.
    pub fn reveal(&self) -> String {
        let mut bytes = Vec::with_capacity(48);
        bytes.extend_from_slice(self.id.0.as_bytes());
        bytes.extend_from_slice(&self.secret.0);
        format!("{API_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl std::str::FromStr for EnrolmentToken {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; 80] = decode(text, ENROLMENT_PREFIX).ok_or(MalformedToken::Enrolment)?;
        Ok(Self {
            id: EnrolmentTokenId(uuid_at(&bytes)),
            secret: Secret(array_at(&bytes, 16)),
            ca: CaFingerprint(hex(&bytes[48..])),
        })
    }
}

impl std::str::FromStr for ApiToken {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; 48] = decode(text, API_PREFIX).ok_or(MalformedToken::Api)?;
        Ok(Self { id: ApiTokenId(uuid_at(&bytes)), secret: Secret(array_at(&bytes, 16)) })
    }
}

fn decode<const N: usize>(text: &str, prefix: &str) -> Option<[u8; N]> {
    let encoded = text.trim().strip_prefix(prefix)?;
    // Bounded before decoding: a token is short, whatever was pasted may not be.
    (encoded.len() == N.div_ceil(3) * 4 - (3 - N % 3) % 3)
        .then(|| URL_SAFE_NO_PAD.decode(encoded).ok()?.try_into().ok())
        .flatten()
}

fn uuid_at(bytes: &[u8]) -> Uuid {
    Uuid::from_bytes(array_at(bytes, 0))
}

fn array_at<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[start..start + N]);
    array
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_survive_their_text(id: u128, secret: [u8; 32], ca: Vec<u8>) {
            let token = EnrolmentToken {
                id: EnrolmentTokenId(Uuid::from_u128(id)),
                secret: Secret::new(secret),
                ca: CaFingerprint::of_der(&ca),
            };
            prop_assert_eq!(token.reveal().parse::<EnrolmentToken>(), Ok(token));
            let token = ApiToken { id: ApiTokenId(Uuid::from_u128(id)), secret: Secret::new(secret) };
            prop_assert_eq!(token.reveal().parse::<ApiToken>(), Ok(token));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(sx[ae]_)?[A-Za-z0-9_-]{0,120}") {
            let _ = text.parse::<EnrolmentToken>();
            let _ = text.parse::<ApiToken>();
        }
    }

    #[test]
    fn nothing_of_a_secret_shows_in_debug_output() {
        let token = ApiToken { id: ApiTokenId(Uuid::nil()), secret: Secret::new([7; 32]) };
        assert!(!format!("{token:?}").contains('7'));
    }
}
