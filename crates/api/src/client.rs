//! The typed client. Several URLs may be given; a request that cannot be sent to one is sent to
//! the next.

mod addresses;
mod endpoints;
mod ingress;
pub mod standing;
mod tenancy;
pub mod tls;

pub(crate) use addresses::ipv6_addresses;
pub use endpoints::PageQuery;
pub use ingress::{ExplainQuery, RouteQuery};
pub use tenancy::{EnvironmentQuery, WorkloadQuery};

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use sextant_model::secret::CaFingerprint;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroize;

pub use tls::NamedTime;

use crate::problem::Problem;

/// How long one attempt may take, unless the caller says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may work on an answer: longer than it gives itself.
pub(crate) const SLOWEST_ANSWER: Duration = Duration::from_secs(25);
/// How long a snapshot may take, the largest answer there is.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the server's patience with idle connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Before a silent server is asked by TCP whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Largest answer the client reads, in bytes.
const ANSWER_LIMIT: usize = 256 * 1024 * 1024;

/// Which servers are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those whose certificate this CA (PEM) signed.
    Ca(String),
    /// The same, and their certificate may also be valid at the time that the control plane has named:
    /// for nodes, whose clock may be wrong (ADR 0015).
    CaAndNamedTime(String, NamedTime),
    /// Those whose certificate this CA (PEM) signed, whenever it is valid: for nothing but
    /// [`standing::StandingClient`].
    CaAtAnyTime(String),
    /// Those who present a chain that ends in the CA with this fingerprint: for enrolment only.
    Fingerprint(CaFingerprint),
}

/// Who is asking.
#[derive(Clone)]
pub enum Auth {
    /// Nobody: for enrolment.
    Nobody,
    /// An operator, by API token.
    Token(String),
    /// A node, by client certificate and key, both PEM.
    Certificate {
        /// Certificate chain.
        certificate: String,
        /// Private key.
        key: String,
    },
}

impl Drop for Auth {
    fn drop(&mut self) {
        match self {
            Self::Nobody => {}
            Self::Token(token) => token.zeroize(),
            Self::Certificate { key, .. } => key.zeroize(),
        }
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Token(_) => "Token(…)",
            Self::Certificate { .. } => "Certificate(…)",
        })
    }
}

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `https://HOST[:PORT]`, in order of preference.
    pub api_urls: Vec<Url>,
    /// Which servers are believed.
    pub trust: Trust,
    /// Who is asking.
    pub auth: Auth,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no, and why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No server could be reached.
    #[error("cannot reach the control plane at {urls}: {reason}")]
    Unreachable {
        /// The URLs that were tried.
        urls: String,
        /// What happened at the last one.
        reason: String,
    },
    /// An answer that is not of this API.
    #[error("unexpected answer from {url}: {reason}; is this the control plane's URL?")]
    Unexpected {
        /// Who answered.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A CA, certificate or key that cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// A file that should hold something cannot be read.
    #[error("cannot read \"{}\": {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No URL at all.
    #[error("no control plane URL is configured; give at least one")]
    NoUrl,
}

impl ClientError {
    /// The problem, if the server gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the server is unwell and another one may not be.
    fn is_passing(&self) -> bool {
        match self {
            Self::Problem(problem) => is_passing(problem.status),
            Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// Whether a server was reached whose certificate is not valid at the time of this machine, or
    /// of the control plane: one of the clocks is wrong.
    pub fn is_about_time(&self) -> bool {
        match self {
            Self::Unreachable { reason, .. } => is_about_time(reason),
            Self::Problem(problem) => TIME_CODES.contains(&problem.code.as_str()),
            _ => false,
        }
    }

    /// The problem's code, or an empty text.
    pub fn code(&self) -> &str {
        self.problem().map_or("", |problem| problem.code.as_str())
    }
}

/// Codes of problems that say that a certificate is not valid now.
pub const TIME_CODES: [&str; 2] = ["certificate-expired", "certificate-not-yet-valid"];

/// Whether the reason why there is no connection is that the server's certificate is not valid now.
pub fn is_about_time(reason: &str) -> bool {
    let certificate = reason.contains("certificate");
    certificate
        && ["expired", "Expired", "not valid yet", "NotValidYet"]
            .iter()
            .any(|word| reason.contains(word))
}

fn is_passing(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// A connection pool to the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) config: Arc<ClientConfig>,
    /// Index of the URL that answered last.
    last_good: Arc<AtomicUsize>,
    /// Which process asks.
    pub(crate) instance: Option<Uuid>,
}

/// Names the process that asks: two that speak as one node are told apart by it.
pub const INSTANCE: http::HeaderName = http::HeaderName::from_static("sextant-instance");

/// A resource with the `ETag` it was read with.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged<T> {
    /// The resource.
    pub value: T,
    /// Its version, as `If-Match` wants it.
    pub etag: Option<String>,
}

/// One request, before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    method: http::Method,
    path: String,
    body: Option<serde_json::Value>,
    if_match: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    repeatable: bool,
    is_snapshot: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: http::Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
            if_match: None,
            idempotency_key: None,
            repeatable: false,
            is_snapshot: false,
        }
    }

    /// Whether sending it twice does and answers what sending it once does. `If-Match` is not
    /// enough: the repeat of a change that was made is answered with "somebody changed it".
    fn is_repeatable(&self) -> bool {
        self.repeatable || self.method.is_safe() || self.idempotency_key.is_some()
    }

    /// Doing it twice is harmless by itself.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(http::Method::GET, path)
    }

    /// The answer is a snapshot: it may take long, as long as something comes.
    pub(crate) fn snapshot(mut self) -> Self {
        self.is_snapshot = true;
        self
    }

    pub(crate) fn body(mut self, body: &impl Serialize) -> Self {
        self.body = serde_json::to_value(body).ok();
        self
    }

    pub(crate) fn if_match(mut self, etag: Option<&'a str>) -> Self {
        self.if_match = etag;
        self
    }

    pub(crate) fn idempotency_key(mut self, key: Option<&'a str>) -> Self {
        self.idempotency_key = key;
        self
    }
}

impl Client {
    /// Prepares a client; nothing is sent yet.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        if config.api_urls.is_empty() {
            return Err(ClientError::NoUrl);
        }
        let tls = tls::client_config(&config.trust, &config.auth)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .read_timeout(SLOWEST_ANSWER)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_keepalive(KEEP_ALIVE)
            .dns_resolver(Arc::new(addresses::Ipv6Only))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| tls::TlsError::Setup(error.to_string()))?;
        let (tls, config) = (Arc::new(tls), Arc::new(config));
        Ok(Self { http, tls, config, last_good: Arc::default(), instance: None })
    }

    /// Says with each request which process asks.
    #[must_use]
    pub fn as_instance(mut self, instance: Uuid) -> Self {
        self.instance = Some(instance);
        self
    }

    /// A client of one server only, with the same connections.
    pub(crate) fn at(&self, url: &Url) -> Self {
        let config = ClientConfig { api_urls: vec![url.clone()], ..(*self.config).clone() };
        Self { config: Arc::new(config), last_good: Arc::default(), ..self.clone() }
    }

    /// The URLs in order of preference.
    pub fn api_urls(&self) -> &[Url] {
        &self.config.api_urls
    }

    /// Sends `call`, decodes the answer.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<Tagged<T>, ClientError> {
        let (url, etag, body) = self.exchange(call).await?;
        let value = serde_json::from_slice(&body)
            .map_err(|error| ClientError::Unexpected { url, reason: error.to_string() })?;
        Ok(Tagged { value, etag })
    }

    /// Sends `call`, decodes the answer if it has content.
    pub(crate) async fn send_optional<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<Option<T>, ClientError> {
        let (url, _, body) = self.exchange(call).await?;
        if body.is_empty() {
            return Ok(None);
        }
        let value = serde_json::from_slice(&body);
        value.map(Some).map_err(|error| ClientError::Unexpected { url, reason: error.to_string() })
    }

    /// Sends `call`, expects no content.
    pub(crate) async fn send_empty(&self, call: Call<'_>) -> Result<(), ClientError> {
        self.exchange(call).await.map(drop)
    }

    /// Tries the URLs in turn, the one that last answered first. What could not be sent at all goes
    /// to the next one; so does what a sick server has put off or not answered, if doing it twice
    /// is harmless.
    async fn exchange(&self, call: Call<'_>) -> Result<Answered, ClientError> {
        let urls = &self.config.api_urls;
        let first = self.last_good.load(Ordering::Relaxed);
        let mut failure = ClientError::NoUrl;
        for turn in 0..urls.len() {
            let index = (first + turn) % urls.len();
            let base = &urls[index];
            let outcome = match self.attempt(base, &call).await {
                Ok(response) => read(response).await,
                Err(error) => {
                    let never_sent = error.is_connect();
                    let reason = root_cause(&error);
                    let failed = ClientError::Unreachable { urls: base.to_string(), reason };
                    if !(never_sent || call.is_repeatable()) {
                        return Err(failed);
                    }
                    failure = failed;
                    continue;
                }
            };
            match outcome {
                Err(error) if error.is_passing() && call.is_repeatable() => failure = error,
                settled => {
                    self.last_good.store(index, Ordering::Relaxed);
                    return settled;
                }
            }
        }
        if let ClientError::Unreachable { urls: tried, .. } = &mut failure {
            *tried = urls.iter().map(Url::as_str).collect::<Vec<_>>().join(", ");
        }
        Err(failure)
    }

    async fn attempt(&self, base: &Url, call: &Call<'_>) -> reqwest::Result<reqwest::Response> {
        let url = format!("{}{}", base.as_str().trim_end_matches('/'), call.path);
        let mut request = self.http.request(call.method.clone(), url);
        if let Auth::Token(token) = &self.config.auth {
            request = request.bearer_auth(token);
        }
        if let Some(instance) = self.instance {
            request = request.header(INSTANCE, instance.to_string());
        }
        if let Some(etag) = call.if_match {
            request = request.header(http::header::IF_MATCH, etag);
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        if call.is_snapshot {
            request = request.timeout(SNAPSHOT_TIMEOUT);
        }
        request.send().await
    }
}

/// URL, `ETag` and body of an answer.
type Answered = (String, Option<String>, Vec<u8>);

async fn read(mut response: reqwest::Response) -> Result<Answered, ClientError> {
    let url = response.url().to_string();
    let status = response.status();
    let etag = response.headers().get(http::header::ETAG);
    let etag = etag.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| ClientError::Unreachable {
            urls: url.clone(),
            reason: root_cause(&error),
        })?;
        let Some(chunk) = chunk else { break };
        if body.len() + chunk.len() > ANSWER_LIMIT {
            return Err(ClientError::Unexpected { url, reason: "the answer is too large".into() });
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok((url, etag, body));
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
        Err(_) if is_passing(status.as_u16()) => {
            Err(ClientError::Unreachable { urls: url, reason: format!("HTTP {status}") })
        }
        Err(_) => Err(ClientError::Unexpected { url, reason: format!("HTTP {status}") }),
    }
}

/// The innermost cause says what happened; the outer ones only that something did.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
