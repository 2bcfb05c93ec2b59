//! Whom a client believes and how it shows who it is.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use sextant_model::{Timestamp, secret::CaFingerprint};

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
        Trust::CaAndNamedTime(pem, time) => {
            let verifier = AnyClock { inner: of_ca(pem)?, time: Second::Named(time.clone()) };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Trust::CaAtAnyTime(pem) => {
            let verifier = AnyClock { inner: of_ca(pem)?, time: Second::OfTheCertificate };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
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

fn of_ca(pem: &str) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let setup = |error: &dyn std::fmt::Display| TlsError::Setup(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "CA certificate")? {
        roots.add(certificate).map_err(|error| setup(&error))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| setup(&error))
}

/// What time it is according to the control plane, where this machine's clock says otherwise. It goes
/// on by itself; clones share it.
#[derive(Clone, Debug, Default)]
pub struct NamedTime(Arc<Mutex<Option<(Timestamp, Instant)>>>);

impl NamedTime {
    /// It is `at` now.
    pub fn set(&self, at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, Instant::now()));
    }

    /// The machine's clock is good enough.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The time there, if it was named.
    pub fn now(&self) -> Option<Timestamp> {
        let (at, since) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(at.after(since.elapsed()))
    }
}

/// Believes servers as usual, and once more at another time if the usual one is all that is wrong.
#[derive(Debug)]
struct AnyClock {
    inner: Arc<WebPkiServerVerifier>,
    time: Second,
}

/// The other time.
#[derive(Debug)]
enum Second {
    /// What the control plane named, signed by its CA.
    Named(NamedTime),
    /// Some time within the life of the certificate.
    OfTheCertificate,
}

/// Whether a certificate was refused for nothing but the time.
pub fn is_for_time(error: &rustls::Error) -> bool {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// A moment at which the certificate (DER) is valid, if it is a certificate.
pub fn within_life(certificate: &[u8]) -> Option<UnixTime> {
    use x509_parser::{certificate::X509Certificate, prelude::FromDer};
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(end)))
}

impl ServerCertVerifier for AnyClock {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |now| {
            let inner = &self.inner;
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let refused = match verify(now) {
            Err(error) if is_for_time(&error) => error,
            settled => return settled,
        };
        let second = match &self.time {
            Second::Named(time) => time.now().and_then(|at| {
                let seconds = u64::try_from(at.unix_seconds()).ok()?;
                Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
            }),
            Second::OfTheCertificate => within_life(end_entity),
        };
        second.map_or(Err(refused), verify)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
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
