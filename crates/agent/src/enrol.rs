//! Enrolment: from a token and two fresh keys to a node. May be interrupted anywhere and repeated:
//! the same token with the same keys gives the same node.

use std::{path::PathBuf, time::Duration};

use sextant_api::{
    Auth, Client, ClientConfig, ClientError, Trust,
    resource::enrolment::{EnrolRequest, Enrolment},
};
use sextant_daemon::{
    identity::{KeyError, certificate_request},
    private_file::PrivateFileError,
};
use sextant_model::{
    PublicKey,
    aggregate::node::check_endpoint,
    key::InvalidPublicKey,
    secret::{EnrolmentToken, MalformedToken},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    config::AgentConfig,
    endpoint,
    key::PrivateKey,
    state::{NodeIdentity, SavedState, StateError, StateFolder},
};

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Problems that no repetition cures, besides those of the token.
const FINAL: [&str; 3] = ["endpoint-unusable", "key-taken", "node-left"];
/// What the pinned verifier's refusal says, and what rustls puts in front of it.
const WRONG_CA: &str = "CA fingerprint";
const RUSTLS_PREFIX: &str = "unexpected error: ";

/// Why the machine cannot become a node, whatever is repeated.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No token is configured.
    #[error(
        "this machine is not enrolled and enrolment_token_file is not set; create a token with `sextant token create` and name its file there"
    )]
    NoToken,
    /// The token cannot be read.
    #[error("{0}; put the text from `sextant token create` there")]
    TokenFile(#[source] PrivateFileError),
    /// The token is none.
    #[error("\"{}\": {source}", path.display())]
    MalformedToken {
        /// Where it was read.
        path: PathBuf,
        /// What is wrong with it.
        source: MalformedToken,
    },
    /// The control plane said no.
    #[error("the control plane refuses to enrol this machine: {0}")]
    Refused(#[source] ClientError),
    /// Who answers is not the control plane that the token is from.
    #[error("{reason} (asked: {urls})")]
    WrongCa {
        /// The URLs that were tried.
        urls: String,
        /// What the verifier found, and what to do.
        reason: String,
    },
    /// Somebody else answers, or the answer is about another machine.
    #[error("the control plane's answer cannot be used: {0}")]
    WrongAnswer(String),
    /// The address that peers should use is none they can reach.
    #[error("peers cannot reach this machine at {endpoint}: {reason}; set endpoint")]
    Endpoint {
        /// What was found.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The TLS key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The WireGuard key.
    #[error(transparent)]
    PublicKey(#[from] InvalidPublicKey),
}

/// The machine's two keys, on disk already.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// For WireGuard.
    pub wireguard: &'a PrivateKey,
    /// For TLS, PEM.
    pub client: &'a str,
}

/// Enrols, trying again as long as the control plane is out of reach. `None` if stopped meanwhile.
pub async fn enrol(
    config: &AgentConfig,
    folder: &StateFolder,
    keys: Keys<'_>,
    stop: &CancellationToken,
) -> Result<Option<NodeIdentity>, EnrolError> {
    let text = read_token(config)?;
    let (token, reveal) = text;
    let trust = Trust::Fingerprint(token.ca.clone());
    let client_config =
        ClientConfig { api_urls: config.api_urls.clone(), trust, auth: Auth::Nobody };
    let client = Client::new(client_config).map_err(EnrolError::Refused)?;
    let public_key = keys.wireguard.public()?;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let attempt = attempt(config, &client, &reveal, public_key, keys.client);
        let result = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            result = attempt => result?,
        };
        match result {
            Ok(enrolment) => {
                let found_itself = config.endpoint.is_none();
                return save(folder, enrolment, public_key, found_itself).map(Some);
            }
            Err(reason) => {
                let seconds = pause.as_secs();
                tracing::warn!(%reason, retry_in_s = seconds, "enrolment has to wait");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn read_token(config: &AgentConfig) -> Result<(EnrolmentToken, Zeroizing<String>), EnrolError> {
    let path = config.enrolment_token_file.as_ref().ok_or(EnrolError::NoToken)?;
    let text = sextant_daemon::private_file::read_secret(path).map_err(EnrolError::TokenFile)?;
    let malformed = |source| EnrolError::MalformedToken { path: path.clone(), source };
    let token = text.trim().parse::<EnrolmentToken>().map_err(malformed)?;
    Ok((token, Zeroizing::new(text.trim().to_owned())))
}

/// One attempt; the inner error is worth another one.
async fn attempt(
    config: &AgentConfig,
    client: &Client,
    token: &str,
    public_key: PublicKey,
    client_key: &str,
) -> Result<Result<Enrolment, String>, EnrolError> {
    let endpoint = match config.endpoint {
        Some(endpoint) => endpoint,
        None => match endpoint::find(&config.api_urls, config.wireguard.listen_port).await {
            Ok(endpoint) => endpoint,
            Err(reason) => return Ok(Err(reason)),
        },
    };
    check_endpoint(endpoint).map_err(|refusal| EnrolError::Endpoint {
        endpoint: endpoint.to_string(),
        reason: refusal.to_string(),
    })?;
    let request = EnrolRequest {
        token: token.to_owned(),
        node_name: config.node_name.clone(),
        public_key,
        endpoint,
        certificate_request: certificate_request(client_key, config.node_name.as_str())?,
    };
    tracing::info!(%endpoint, name = %config.node_name, "enrolling");
    match client.enrol(&request).await {
        Ok(enrolment) => Ok(Ok(enrolment)),
        Err(error) if is_final(&error) => Err(refused(error)),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Whether repeating the request cannot help.
pub(crate) fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Problem(problem) => {
            let curable = matches!(problem.status, 404 | 408 | 409 | 425 | 429 | 500..);
            let code = problem.code.as_str();
            let named = code.starts_with("token-") || FINAL.contains(&code);
            named || !curable
        }
        // The pinned verifier's refusal comes back as a connection that failed.
        ClientError::Unreachable { reason, .. } => reason.contains(WRONG_CA),
        ClientError::Tls(_) | ClientError::File { .. } | ClientError::NoUrl => true,
        ClientError::Unexpected { .. } => false,
    }
}

/// One true sentence: a server with another CA was reached and has refused nothing.
fn refused(error: ClientError) -> EnrolError {
    match error {
        ClientError::Unreachable { urls, reason } if reason.contains(WRONG_CA) => {
            let reason = reason.strip_prefix(RUSTLS_PREFIX).unwrap_or(&reason).to_owned();
            EnrolError::WrongCa { urls, reason }
        }
        error => EnrolError::Refused(error),
    }
}

/// Keeps what came back. `node.json` is last: only with it is the machine enrolled.
fn save(
    folder: &StateFolder,
    enrolment: Enrolment,
    public_key: PublicKey,
    found_itself: bool,
) -> Result<NodeIdentity, EnrolError> {
    let Enrolment { node, certificate, ca, cursor, membership } = enrolment;
    if node.public_key != public_key {
        let reason = "it is about a node with another WireGuard key".to_owned();
        return Err(EnrolError::WrongAnswer(reason));
    }
    if !membership.members.contains_key(&node.id) || membership.network_id != node.network_id {
        let reason = format!("node \"{}\" is not in the membership that came with it", node.name);
        return Err(EnrolError::WrongAnswer(reason));
    }
    membership.sound(node.id).map_err(|fault| EnrolError::WrongAnswer(fault.to_string()))?;
    folder.save_certificate(&certificate, &ca)?;
    if found_itself {
        folder.save_endpoint(node.endpoint)?;
    }
    folder.save_state(&SavedState { cursor, membership })?;
    let identity = NodeIdentity { node_id: node.id, network_id: node.network_id, name: node.name };
    folder.save_node(&identity)?;
    tracing::info!(node_id = %identity.node_id, name = %identity.name, "enrolled");
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_api::Problem;

    fn problem(status: u16, code: &str) -> ClientError {
        ClientError::Problem(Box::new(Problem::new(status, code, "…")))
    }

    #[test]
    fn only_what_time_can_cure_is_repeated() {
        for code in [
            "token-used",
            "token-expired",
            "token-revoked",
            "token-invalid",
            "token-for-other-node",
            "endpoint-unusable",
            "node-left",
        ] {
            for status in [401, 403, 404, 409, 422] {
                assert!(is_final(&problem(status, code)), "{status} {code}");
            }
        }
        assert!(is_final(&problem(400, "invalid-body")));
        for (status, code) in
            [(429, "too-many"), (503, "unavailable"), (409, "network-full"), (409, "name-taken")]
        {
            assert!(!is_final(&problem(status, code)), "{status} {code}");
        }
        let unreachable = |reason: &str| ClientError::Unreachable {
            urls: "https://[fd5e::1]:7443/".into(),
            reason: reason.into(),
        };
        assert!(!is_final(&unreachable("connection refused")));
        assert!(is_final(&unreachable(
            "unexpected error: the CA fingerprint in the token is not …"
        )));
    }

    #[test]
    fn another_ca_is_said_in_one_true_sentence() {
        let error = refused(ClientError::Unreachable {
            urls: "https://[fd5e::1]:7443/".into(),
            reason: "unexpected error: the CA fingerprint in the token is not that of this control plane; check the URL".into(),
        });
        let text = "the CA fingerprint in the token is not that of this control plane; check the \
                    URL (asked: https://[fd5e::1]:7443/)";
        assert_eq!(error.to_string(), text);
        let other = refused(problem(409, "token-used")).to_string();
        assert!(other.starts_with("the control plane refuses"), "{other}");
    }
}
