//! Whom a client believes and how it shows who it is.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use sextant_model::secret::CaFingerprint;

use super::{Auth, Trust};

/// A CA, certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or not what it should be.
    #[error("the {0} is not readable as PEM: {1}")]
    Pem(&'static str, String),
    /// The parts do not fit together.
    #[error("the TLS client cannot be set up: {0}")]
    Setup(String),
}

/// The cryptography every TLS connection of Sextant uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Every certificate in a PEM text.
pub fn certificates(
    pem: &str,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Pem(what, "it holds no certificate".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Pem(what, error.to_string())),
    }
}

/// The private key in a PEM text.
pub fn private_key(pem: &str, what: &'static str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| TlsError::Pem(what, error.to_string()))
}

/// The rustls configuration for `trust` and `auth`.
pub fn client_config(trust: &Trust, auth: &Auth) -> Result<rustls::ClientConfig, TlsError> {
    let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let builder = match trust {
        Trust::Ca(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem, "CA certificate")? {
                roots.add(certificate).map_err(setup)?;
            }
            builder.with_root_certificates(roots)
        }
        Trust::Fingerprint(fingerprint) => {
            let verifier = PinnedCa { fingerprint: fingerprint.clone(), provider: provider() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    match auth {
        Auth::Certificate { certificate, key } => builder
            .with_client_auth_cert(
                certificates(certificate, "client certificate")?,
                private_key(key, "client key")?,
            )
            .map_err(setup),
        Auth::Nobody | Auth::Token(_) => Ok(builder.with_no_client_auth()),
    }
}

/// Believes a server whose chain contains the CA with the fingerprint from the enrolment token and
/// whose certificate that CA signed for the name that was dialled.
#[derive(Debug)]
struct PinnedCa {
    fingerprint: CaFingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = |der: &&CertificateDer<'_>| CaFingerprint::of_der(der) == self.fingerprint;
        let Some(ca) = intermediates.iter().find(pinned) else {
            return Err(rustls::Error::General(String::from(
                "the CA fingerprint in the token is not that of this control plane; \
                 check the URL, or create a new token on this control plane",
            )));
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
