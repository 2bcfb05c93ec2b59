//! The key pair a machine proves itself with, and the request for a certificate on it.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

/// A key that cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[error("the TLS key cannot be used: {0}")]
pub struct KeyError(#[from] rcgen::Error);

/// A new ECDSA P-256 private key, PEM (PKCS #8). It is made here and never leaves the machine.
pub fn generate_key() -> Result<String, KeyError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem())
}

/// A PKCS #10 request for a certificate on `key` (PEM), for the machine `name`. What the
/// certificate will say is the control plane's decision; the request only proves possession.
pub fn certificate_request(key: &str, name: &str) -> Result<String, KeyError> {
    let key = KeyPair::from_pem(key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params.serialize_request(&key)?.pem()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_made_from_a_key_and_refused_from_anything_else() {
        let key = generate_key().expect("key");
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
        let request = certificate_request(&key, "n1").expect("request");
        assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        assert!(certificate_request("not a key", "n1").is_err());
    }
}
