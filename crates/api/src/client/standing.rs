//! Asking what a node is to the control plane, where neither certificate nor clock may be right.

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::CertificateDer;
use sextant_model::{
    NodeId, Timestamp,
    standing::{Standing, signed_text},
};

use super::{Auth, Call, Client, ClientConfig, ClientError, tls};
use crate::{
    Trust,
    resource::standing::{SignedStanding, StandingRequest},
};

/// A client that can ask this one thing. It believes a server of the platform's CA at any time, and an
/// answer only if the CA itself has signed it over the number that was sent.
#[derive(Debug)]
pub struct StandingClient {
    client: Client,
    ca: String,
}

impl StandingClient {
    /// Speaks to the servers of `like` with the same certificate, believing `ca` (PEM).
    pub fn new(like: &Client, ca: String) -> Result<Self, ClientError> {
        let (api_urls, auth) = (like.config.api_urls.clone(), like.config.auth.clone());
        let trust = Trust::CaAtAnyTime(ca.clone());
        Ok(Self { client: Client::new(ClientConfig { api_urls, trust, auth })?, ca })
    }

    /// `POST /v1/node/standing`: what `node` is, and what time it is there. `nonce` must be new.
    pub async fn ask(
        &self,
        node: NodeId,
        nonce: &str,
    ) -> Result<(Standing, Timestamp), ClientError> {
        debug_assert!(matches!(self.client.config.auth, Auth::Certificate { .. }));
        let request = StandingRequest { nonce: nonce.to_owned() };
        let call = Call::new(http::Method::POST, "/v1/node/standing").repeatable();
        let answer: SignedStanding = self.client.send(call.body(&request)).await?.value;
        let text = signed_text(nonce, node, answer.standing, answer.at);
        let signature = BASE64_STANDARD.decode(&answer.signature).unwrap_or_default();
        let ca = tls::certificates(&self.ca, "CA certificate")?;
        if ca.iter().any(|ca| is_signed_by(ca, text.as_bytes(), &signature)) {
            Ok((answer.standing, answer.at))
        } else {
            let url = self.client.config.api_urls.iter().map(url::Url::as_str);
            let url = url.collect::<Vec<_>>().join(", ");
            let reason = "the answer is not signed by the platform's CA".to_owned();
            Err(ClientError::Unexpected { url, reason })
        }
    }
}

/// A nonce for [`StandingClient::ask`].
pub fn nonce(random: [u8; 32]) -> String {
    random.map(|byte| format!("{byte:02x}")).concat()
}

/// The node that a client certificate (PEM) is for.
pub fn node_of(certificate: &str) -> Option<NodeId> {
    use x509_parser::{certificate::X509Certificate, prelude::FromDer};
    let chain = tls::certificates(certificate, "client certificate").ok()?;
    let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
    let mut names = parsed.subject().iter_common_name();
    names.next()?.as_str().ok()?.parse().ok()
}

/// Whether the key of the certificate `ca` made `signature` over `message`.
pub fn is_signed_by(ca: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    use x509_parser::{certificate::X509Certificate, prelude::FromDer};
    let Ok((_, parsed)) = X509Certificate::from_der(ca) else { return false };
    let key = parsed.public_key().subject_public_key.data.as_ref();
    let algorithms = tls::provider().signature_verification_algorithms;
    algorithms
        .all
        .iter()
        .any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
}
