//! Work that goes on while parts are killed: every request is correct, and noted with its outcome.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sextant_api::{
    Client, ClientError,
    client::Tagged,
    resource::{
        api_token::NewApiToken,
        enrolment::NewEnrolmentToken,
        network::{Network, NetworkPatch, NewNetwork},
    },
};
use sextant_model::{
    ApiTokenId, DnsLabel, EnrolmentTokenId, IpStackMode, NetworkId, NodeRole, OperatorRole,
    Topology,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::journal::{Outcome, Write};

/// Workers, each with one request under way.
const WORKERS: u64 = 8;
/// Most networks one worker keeps.
const MOST_NETWORKS: usize = 8;
/// Longest pause between two requests of a worker, in milliseconds.
const LONGEST_PAUSE: u64 = 30;
/// Between two attempts of one request.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const MOST_ATTEMPTS: u32 = 100;
/// The code by which the control plane says that nothing was changed.
const UNCHANGED: &str = "database-unavailable";
const LIFETIME: u64 = 3600;

/// The workers.
#[derive(Debug)]
pub(super) struct Work {
    workers: Vec<JoinHandle<Vec<Write>>>,
    stop: CancellationToken,
}

struct Worker {
    client: Client,
    /// The network that enrolment tokens are for.
    mesh: NetworkId,
    number: u64,
    random: StdRng,
    /// Networks whose version is known beyond doubt, with their `ETag`.
    networks: Vec<(NetworkId, String)>,
    tokens: Vec<Revocable>,
    journal: Vec<Write>,
}

/// What is made, mostly under an Idempotency-Key.
enum Creation {
    Network(NewNetwork),
    Enrolment(NewEnrolmentToken),
    Api(NewApiToken),
}

/// What came of it.
enum Made {
    Network(NetworkId, String),
    Token(Revocable),
}

#[derive(Clone, Copy)]
enum Revocable {
    Enrolment(EnrolmentTokenId),
    Api(ApiTokenId),
}

impl Creation {
    async fn ask(&self, client: &Client, key: Option<&str>) -> Result<Made, ClientError> {
        Ok(match self {
            Self::Network(new) => {
                let made = client.create_network(new, key).await?;
                Made::Network(made.value.id, etag_of(made))
            }
            Self::Enrolment(new) => {
                let made = client.create_enrolment_token(new, key).await?;
                Made::Token(Revocable::Enrolment(made.id))
            }
            Self::Api(new) => {
                let made = client.create_api_token(new, key).await?;
                Made::Token(Revocable::Api(made.id))
            }
        })
    }
}

impl Made {
    fn id(&self) -> Uuid {
        match self {
            Self::Network(id, _) => id.0,
            Self::Token(Revocable::Enrolment(id)) => id.0,
            Self::Token(Revocable::Api(id)) => id.0,
        }
    }
}

impl Work {
    /// Starts working. Must be called inside a tokio runtime.
    pub(super) fn start(client: &Client, mesh: NetworkId, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let worker = |number| Worker {
            client: client.clone(),
            mesh,
            number,
            random: StdRng::seed_from_u64(seed.wrapping_add(number)),
            networks: Vec::new(),
            tokens: Vec::new(),
            journal: Vec::new(),
        };
        let workers = (1..=WORKERS).map(|n| tokio::spawn(worker(n).run(stop.clone()))).collect();
        Self { workers, stop }
    }

    /// Lets what is under way come to its end; returns everything that was asked.
    pub(super) async fn finish(self) -> Vec<Write> {
        self.stop.cancel();
        let mut journal = Vec::new();
        for worker in self.workers {
            journal.extend(worker.await.expect("a worker does not panic"));
        }
        journal
    }
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) -> Vec<Write> {
        while !stop.is_cancelled() {
            match self.random.random_range(0..10) {
                0..=2 if self.networks.len() < MOST_NETWORKS => self.create_network().await,
                0..=4 if !self.networks.is_empty() => self.rename_network().await,
                5 if !self.networks.is_empty() => self.delete_network().await,
                6 => self.create_enrolment_token().await,
                7 => self.create_api_token().await,
                8 if !self.tokens.is_empty() => self.revoke().await,
                _ => {}
            }
            let pause = Duration::from_millis(self.random.random_range(0..=LONGEST_PAUSE));
            tokio::time::sleep(pause).await;
        }
        self.journal
    }

    /// A name that nothing else has.
    fn name(&self, what: &str) -> DnsLabel {
        let text = format!("{what}-{}-{}", self.number, self.journal.len());
        DnsLabel::new(text).expect("letters, digits and hyphens")
    }

    async fn create_network(&mut self) {
        let name = self.name("net");
        let new = NewNetwork {
            name: name.clone(),
            ip_stack_mode: IpStackMode::Ipv6,
            topology: Topology::FullMesh,
            ipv6_prefix: None,
            ipv4_prefix: None,
        };
        self.insist("network-created", name, Creation::Network(new)).await;
    }

    async fn create_enrolment_token(&mut self) {
        let node_name = self.name("machine");
        let new = NewEnrolmentToken {
            network_id: self.mesh,
            node_name: node_name.clone(),
            roles: vec![NodeRole::Worker],
            expires_in: LIFETIME,
        };
        self.insist("enrolment-token-created", node_name, Creation::Enrolment(new)).await;
    }

    async fn create_api_token(&mut self) {
        let name = self.name("access");
        let role = OperatorRole::Viewer;
        let new =
            NewApiToken { name: name.clone(), role, org_id: None, expires_in: Some(LIFETIME) };
        self.insist("api-token-created", name, Creation::Api(new)).await;
    }

    /// Repeats a request under one Idempotency-Key until it is acknowledged. A quarter of those
    /// that fail is given up at once, so that there are some whose fate nobody was told. Another
    /// quarter has no key, takes another path through the control plane, and is sent once.
    async fn insist(&mut self, event_type: &'static str, name: DnsLabel, creation: Creation) {
        let keyed = self.random.random_ratio(3, 4);
        let key = keyed.then(|| format!("kill-{}-{}", self.number, self.journal.len()));
        let gives_up = !keyed || self.random.random_ratio(1, 3);
        let mut attempts = 0;
        let mut unchanged = true;
        let result = loop {
            attempts += 1;
            let result = creation.ask(&self.client, key.as_deref()).await;
            unchanged &= matches!(outcome(&result), Outcome::Unchanged(_));
            let again = matches!(&result, Err(error) if is_transient(error));
            if !again || gives_up || attempts == MOST_ATTEMPTS {
                break result;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        };
        self.journal.push(Write {
            event_type,
            name: name.into(),
            id: result.as_ref().ok().map(Made::id),
            key,
            attempts,
            outcome: match outcome(&result) {
                // Of this attempt only: one before it may have been more successful.
                Outcome::Unchanged(reason) if !unchanged => Outcome::Unknown(reason),
                outcome => outcome,
            },
        });
        match result {
            Ok(Made::Network(id, etag)) => self.networks.push((id, etag)),
            Ok(Made::Token(token)) => self.tokens.push(token),
            Err(_) => {}
        }
    }

    async fn rename_network(&mut self) {
        let (id, etag) = self.take_network();
        let name = self.name("renamed");
        let patch = NetworkPatch { name: name.clone() };
        let result = self.client.patch_network(id, &patch, &etag).await;
        self.note("network-renamed", name.into(), id.0, &result);
        if let Ok(renamed) = result {
            self.networks.push((id, etag_of(renamed)));
        }
    }

    async fn delete_network(&mut self) {
        let (id, etag) = self.take_network();
        let result = self.client.delete_network(id, Some(&etag)).await;
        self.note("network-deleted", String::new(), id.0, &result);
    }

    async fn revoke(&mut self) {
        let token = self.tokens.swap_remove(self.random.random_range(0..self.tokens.len()));
        match token {
            Revocable::Enrolment(id) => {
                let result = self.client.revoke_enrolment_token(id).await;
                self.note("enrolment-token-revoked", String::new(), id.0, &result);
            }
            Revocable::Api(id) => {
                let result = self.client.revoke_api_token(id).await;
                self.note("api-token-revoked", String::new(), id.0, &result);
            }
        }
    }

    /// Takes a network out: it is put back only with a version that is known.
    fn take_network(&mut self) -> (NetworkId, String) {
        self.networks.swap_remove(self.random.random_range(0..self.networks.len()))
    }

    fn note<T>(
        &mut self,
        event_type: &'static str,
        name: String,
        id: Uuid,
        result: &Result<T, ClientError>,
    ) {
        let (id, outcome) = (Some(id), outcome(result));
        self.journal.push(Write { event_type, name, id, key: None, attempts: 1, outcome });
    }
}

/// The version that a change must name.
fn etag_of(network: Tagged<Network>) -> String {
    network.etag.unwrap_or_else(|| format!("\"{}\"", network.value.version))
}

/// Whether to ask again.
fn is_transient(error: &ClientError) -> bool {
    match error {
        ClientError::Problem(problem) => problem.status >= 500,
        ClientError::Unreachable { .. } | ClientError::Unexpected { .. } => true,
        ClientError::Tls(_) | ClientError::File { .. } | ClientError::NoUrl => false,
    }
}

fn outcome<T>(result: &Result<T, ClientError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Acknowledged,
        Err(error) if error.code() == UNCHANGED => Outcome::Unchanged(error.to_string()),
        Err(error) if is_transient(error) => Outcome::Unknown(error.to_string()),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}
