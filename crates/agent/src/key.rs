//! The node's WireGuard private key. It is made here, lives in one file and in the interface, and
//! shows in no output.

use std::path::PathBuf;

use sextant_daemon::clock::Entropy;
use sextant_model::{NodeId, PublicKey, key::InvalidPublicKey, membership::Membership};
use wireguard_control::Key;
use zeroize::{Zeroize, Zeroizing};

/// A Curve25519 private key, clamped (RFC 7748 section 5). `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PrivateKey(Key);

/// A text that is no private key. Never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a WireGuard private key (44 characters of base64)")]
pub struct InvalidPrivateKey;

/// A valid key that is not the one the network knows the node by: with it no peer would answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{}\" does not hold the key the network knows this node by ({known}); the interface is left as it is; restore the key from a backup and restart sextant-agent, or remove the node and enrol it again",
    file.display()
)]
pub struct SwappedKey {
    /// The file of the key.
    pub file: PathBuf,
    /// The public key that the network knows.
    pub known: PublicKey,
}

impl PrivateKey {
    /// Makes a new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new(entropy.bytes());
        bytes[0] &= 0xf8;
        bytes[31] &= 0x7f;
        bytes[31] |= 0x40;
        Self(Key(*bytes))
    }

    /// Reads what [`PrivateKey::reveal`] wrote.
    pub fn parse(text: &str) -> Result<Self, InvalidPrivateKey> {
        let key = Self(Key::from_base64(text.trim()).map_err(|_| InvalidPrivateKey)?);
        if key.0 == Key::zero() { Err(InvalidPrivateKey) } else { Ok(key) }
    }

    /// The key as `wg` writes it, for its private file.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_base64())
    }

    /// The half that others may know.
    pub fn public(&self) -> Result<PublicKey, InvalidPublicKey> {
        PublicKey::new(self.0.get_public().0)
    }

    /// Whether `membership` knows node `me`, if at all, by this key; it comes from `file`.
    pub fn check(
        &self,
        file: PathBuf,
        membership: &Membership,
        me: NodeId,
    ) -> Result<(), SwappedKey> {
        let own = self.0.get_public().0;
        match membership.members.get(&me).map(|member| member.public_key) {
            Some(known) if *known.as_bytes() != own => Err(SwappedKey { file, known }),
            Some(_) | None => Ok(()),
        }
    }

    /// For the interface.
    pub(crate) fn as_key(&self) -> &Key {
        &self.0
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.0.zeroize();
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{mesh, node_id};
    use sextant_daemon::clock::SystemEntropy;

    #[test]
    fn a_key_survives_its_text_and_gives_the_public_key_that_wg_gives() {
        let key = PrivateKey::generate(&SystemEntropy);
        let again = PrivateKey::parse(&format!("{}\n", key.reveal().as_str())).expect("key");
        assert_eq!(again.public().expect("public"), key.public().expect("public"));
        let known = PrivateKey::parse("SGb+ojrRNDuMePufwtIYhXzA//k6wF3R21tEBgKlzlM=").expect("key");
        let public = known.public().expect("public").to_string();
        assert_eq!(public, "DD5yKRfzExcV5+kDnTroDgCU15latdMjiQ59j1hEuk8=");
    }

    #[test]
    fn what_is_no_key_is_refused_and_nothing_of_a_key_shows() {
        for bad in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            assert!(PrivateKey::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(format!("{:?}", PrivateKey::generate(&SystemEntropy)), "PrivateKey(…)");
    }

    #[test]
    fn a_valid_key_that_is_not_the_nodes_is_named_with_its_file_and_a_remedy() {
        let key = PrivateKey::generate(&SystemEntropy);
        let file = PathBuf::from("/var/lib/sextant/wireguard.key");
        let mut membership = mesh([1, 2]);
        let known = membership.members[&node_id(1)].public_key;
        let error = key.check(file.clone(), &membership, node_id(1)).expect_err("swapped");
        assert_eq!(error, SwappedKey { file: file.clone(), known });
        let text = error.to_string();
        for what in ["\"/var/lib/sextant/wireguard.key\"", "restore the key", "enrol it again"] {
            assert!(text.contains(what), "{text}");
        }
        assert!(text.len() <= 300, "a report would cut it: {}", text.len());
        let own = membership.members.get_mut(&node_id(1)).expect("member");
        own.public_key = key.public().expect("public");
        assert_eq!(key.check(file.clone(), &membership, node_id(1)), Ok(()));
        assert_eq!(key.check(file, &membership, node_id(9)), Ok(()), "no member");
    }
}
