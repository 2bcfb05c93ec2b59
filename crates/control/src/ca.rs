//! The platform's CA: who is a replica, who is a node.
//!
//! Replicas and nodes have certificates of the same CA, told apart by extended key usage: a node's
//! certificate can never be used to pose as the control plane.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use sextant_daemon::private_file::{self, PrivateFileError};
use sextant_model::{NodeId, Timestamp, secret::CaFingerprint};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::auth::VerifiedNode;

/// Life of a node's certificate. The agent renews it after a third of it: so long may the control plane
/// be away without anybody noticing more. Access ends with the node, not with the certificate.
pub const NODE_CERTIFICATE_LIFE: Duration = Duration::from_hours(30 * 24);
/// Life of a replica's certificate; made anew at every start and well before it ends.
pub const SERVER_CERTIFICATE_LIFE: Duration = Duration::from_hours(30 * 24);
const CA_LIFE: Duration = Duration::from_hours(20 * 365 * 24);
/// Clocks of new machines are often a little behind.
const BACKDATE: Duration = Duration::from_mins(10);

/// The CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of it cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// Only one of certificate and key is there.
    #[error("of the CA, only \"{present}\" exists; restore \"{missing}\" from a backup")]
    Half {
        /// The file that is there.
        present: String,
        /// The file that is not.
        missing: String,
    },
    /// Not what it should be.
    #[error("\"{file}\" cannot be used: {reason}")]
    Unusable {
        /// Which file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("the certificate cannot be made: {0}")]
    Issue(#[from] rcgen::Error),
}

/// The CA, ready to sign.
pub struct Ca {
    issuer: Issuer<'static, SharedKey>,
    key: SharedKey,
    certificate_pem: String,
    certificate_der: Vec<u8>,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

/// The CA's private key: one copy for certificates and for statements.
#[derive(Clone)]
struct SharedKey(Arc<KeyPair>);

impl PublicKeyData for SharedKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&*self.0)
    }
}

impl SigningKey for SharedKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// A certificate for a node.
#[derive(Clone, Debug)]
pub struct NodeCertificate {
    /// PEM.
    pub pem: String,
    /// Hex.
    pub serial: String,
    /// End of validity.
    pub not_after: Timestamp,
}

/// A certificate and its key for a replica, both PEM.
#[derive(Clone)]
pub struct ServerCertificate {
    /// The chain, CA included, so that an enrolling agent can check the CA's fingerprint.
    pub chain: String,
    /// Private key; lives in memory only.
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// A checked certificate signing request.
pub struct CheckedRequest {
    params: CertificateSigningRequestParams,
}

impl std::fmt::Debug for CheckedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CheckedRequest")
    }
}

impl CheckedRequest {
    /// Parses `pem` and verifies that the sender holds the private key.
    pub fn parse(pem: &str) -> Result<Self, rcgen::Error> {
        CertificateSigningRequestParams::from_pem(pem).map(|params| Self { params })
    }

    /// SHA-256 of the public key, in hex.
    pub fn key_fingerprint(&self) -> String {
        hex(&Sha256::digest(self.params.public_key.der_bytes()))
    }
}

impl Ca {
    /// Reads the CA.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CaError> {
        let unusable = |file: &Path, reason: String| CaError::Unusable {
            file: file.display().to_string(),
            reason,
        };
        let certificate_pem = private_file::read(certificate)?;
        let key_pem = private_file::read_secret(key)?;
        let pair = KeyPair::from_pem(&key_pem).map_err(|error| unusable(key, error.to_string()))?;
        let ders = sextant_api::client::tls::certificates(&certificate_pem, "CA certificate")
            .map_err(|error| unusable(certificate, error.to_string()))?;
        let der = ders.first().map(|der| der.to_vec()).unwrap_or_default();
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&der)
            .map_err(|error| unusable(certificate, error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != pair.der_bytes() {
            return Err(unusable(key, "it is not the key of the CA certificate".into()));
        }
        let key = SharedKey(Arc::new(pair));
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key.clone())?;
        Ok(Self { issuer, key, certificate_pem, certificate_der: der })
    }

    /// Reads the CA, or makes one if there is none. Half a CA is an error, never overwritten.
    pub fn load_or_create(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, CaError> {
        match (certificate.exists(), key.exists()) {
            (true, true) => {}
            (false, false) => create(certificate, key, now)?,
            (true, false) => return Err(half(certificate, key)),
            (false, true) => return Err(half(key, certificate)),
        }
        Self::load(certificate, key)
    }

    /// The CA certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What enrolment tokens carry.
    pub fn fingerprint(&self) -> CaFingerprint {
        CaFingerprint::of_der(&self.certificate_der)
    }

    /// Signs a statement. Never one whose text somebody else has chosen.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, CaError> {
        Ok(self.key.sign(text)?)
    }

    /// A certificate that says "this is node `id`", and nothing else the request asked for.
    pub fn issue_node(
        &self,
        request: CheckedRequest,
        id: NodeId,
        serial: [u8; 16],
        now: Timestamp,
    ) -> Result<NodeCertificate, CaError> {
        let mut params = leaf(&id.to_string(), serial, now, NODE_CERTIFICATE_LIFE);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let not_after = Timestamp(params.not_after);
        let request =
            CertificateSigningRequestParams { params, public_key: request.params.public_key };
        let certificate = request.signed_by(&self.issuer)?;
        Ok(NodeCertificate { pem: certificate.pem(), serial: hex(&serial), not_after })
    }

    /// A certificate for a replica that is reached under `names`.
    pub fn issue_server(
        &self,
        names: &[String],
        serial: [u8; 16],
        now: Timestamp,
    ) -> Result<ServerCertificate, CaError> {
        let mut params = leaf("sextant-control", serial, now, SERVER_CERTIFICATE_LIFE);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.clone().try_into()?),
            });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = format!("{}{}", certificate.pem(), self.certificate_pem);
        Ok(ServerCertificate { chain, key: Zeroizing::new(key.serialize_pem()) })
    }
}

/// The node a verified client certificate (DER) stands for, and when.
pub fn node_of(certificate: &[u8]) -> Option<VerifiedNode> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let node_id = names.next()?.as_str().ok()?.parse().ok()?;
    let validity = parsed.validity();
    let moment = |time: x509_parser::time::ASN1Time| Timestamp::from_unix_seconds(time.timestamp());
    let not_before = moment(validity.not_before)?;
    Some(VerifiedNode { node_id, not_before, not_after: moment(validity.not_after)? })
}

fn leaf(name: &str, serial: [u8; 16], now: Timestamp, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = now.0 - BACKDATE;
    params.not_after = now.after(life).0;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn create(certificate: &Path, key: &Path, now: Timestamp) -> Result<(), CaError> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Sextant CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now.0 - BACKDATE;
    params.not_after = now.after(CA_LIFE).0;
    let signed = params.self_signed(&pair)?;
    for file in [certificate, key] {
        if let Some(folder) = file.parent() {
            private_file::create_folder(folder)?;
        }
    }
    let pem = Zeroizing::new(pair.serialize_pem());
    private_file::write(key, pem.as_bytes())?;
    private_file::write(certificate, signed.pem().as_bytes())?;
    Ok(())
}

fn half(present: &Path, missing: &Path) -> CaError {
    CaError::Half { present: present.display().to_string(), missing: missing.display().to_string() }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_daemon::identity;

    fn now() -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000).expect("time")
    }

    fn ca(folder: &Path) -> Ca {
        Ca::load_or_create(&folder.join("ca.crt"), &folder.join("ca.key"), now()).expect("CA")
    }

    #[test]
    fn a_ca_is_made_once_and_half_a_ca_is_never_completed() {
        let folder = tempfile::tempdir().expect("folder");
        let first = ca(folder.path()).fingerprint();
        assert_eq!(ca(folder.path()).fingerprint(), first);
        std::fs::remove_file(folder.path().join("ca.key")).expect("removed");
        let error =
            Ca::load_or_create(&folder.path().join("ca.crt"), &folder.path().join("ca.key"), now());
        assert!(matches!(error, Err(CaError::Half { .. })));
    }

    #[test]
    fn a_node_certificate_names_the_node_whatever_the_request_says() {
        let folder = tempfile::tempdir().expect("folder");
        let key = identity::generate_key().expect("key");
        let request = identity::certificate_request(&key, "sextant-control").expect("request");
        let checked = CheckedRequest::parse(&request).expect("checked");
        let id = NodeId(uuid::Uuid::from_u128(7));
        let issued = ca(folder.path()).issue_node(checked, id, [1; 16], now()).expect("issued");
        let der = sextant_api::client::tls::certificates(&issued.pem, "test").expect("PEM");
        let node = node_of(&der[0]).expect("a node");
        assert_eq!(node.node_id, id);
        assert_eq!(node.not_after, now().after(NODE_CERTIFICATE_LIFE));
        let (_, parsed) =
            x509_parser::certificate::X509Certificate::from_der(&der[0]).expect("certificate");
        let usage = parsed.extended_key_usage().expect("extension").expect("present").value;
        assert!(usage.client_auth && !usage.server_auth);
        assert!(!parsed.is_ca());
    }

    #[test]
    fn a_request_that_was_tampered_with_is_refused() {
        let key = identity::generate_key().expect("key");
        let request = identity::certificate_request(&key, "n1").expect("request");
        let line = request.lines().nth(2).expect("body").to_owned();
        let swapped: String = line.chars().rev().collect();
        assert!(CheckedRequest::parse(&request.replace(&line, &swapped)).is_err());
        assert!(CheckedRequest::parse("").is_err());
    }
}
