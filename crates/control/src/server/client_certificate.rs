//! Which client certificates the TLS layer lets in: those that the platform's CA signed, at any time.
//! Whether one is valid now is decided for each request, so that it holds on kept connections, on
//! streams and on resumed sessions too, and so that a node whose certificate has expired can be told
//! so and renew it (ADR 0015).

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use sextant_api::client::tls::{is_for_time, provider, within_life};

/// Checks everything but the time.
#[derive(Debug)]
pub struct AtAnyTime(Arc<dyn ClientCertVerifier>);

impl AtAnyTime {
    /// Lets in those without a certificate, and those with one of `roots`.
    pub fn new(roots: RootCertStore) -> Result<Self, VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        builder.allow_unauthenticated().build().map(Self)
    }
}

impl ClientCertVerifier for AtAnyTime {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.0.verify_client_cert(end_entity, intermediates, now) {
            Err(error) if is_for_time(&error) => match within_life(end_entity) {
                Some(then) => self.0.verify_client_cert(end_entity, intermediates, then),
                None => Err(error),
            },
            settled => settled,
        }
    }

    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
