//! The part that runs on the client's host: it changes routes and sees when the change is live.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sextant_api::{Auth, Client, ClientConfig, Trust};
use sextant_model::EnvironmentId;
use url::Url;

use super::fill;
use crate::bench::figures::Figures;
use crate::{
    command::run_with_file,
    control_plane::PLATFORM_DOMAIN,
    description::{LabDescription, NodeDescription},
    error::{LabError, Result},
    lab::Lab,
    serve::ECHO_PORT,
    tenant::tls_route,
    traffic::{Service, Visit, attempt::Visitor},
};

/// Connections before those that count.
const WARM_UP: usize = 100;
/// Whatever is not live by then is lost.
const LIMIT: Duration = Duration::from_secs(20);
const HTTPS: u16 = 443;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Probe {
    /// Make routes one at a time, and see when each edge serves it.
    Changes {
        /// The replicas, as the client reaches them.
        urls: Vec<Url>,
        /// The platform's CA.
        ca_file: PathBuf,
        /// The token to use.
        token_file: PathBuf,
        /// Whose routes.
        environment: EnvironmentId,
        /// How many.
        count: u32,
        /// The edges.
        edges: Vec<SocketAddr>,
    },
    /// Make one connection after the other.
    Connections {
        /// The edge.
        edge: SocketAddr,
        /// Its process.
        pid: u32,
        /// The names to ask for, in turn.
        names: Vec<String>,
        /// How many connections.
        count: usize,
    },
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(super) enum Found {
    Changes(Latencies),
    Connections(Connections),
}

/// Times of changes, in order of the changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latencies {
    /// From the request to the API's answer.
    pub(super) answer: Vec<Duration>,
    /// From the answer until a connection was routed by the last edge.
    pub(super) live: Vec<Duration>,
}

/// Connections, one at a time, to an echo.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Connections {
    /// From connect until the ClientHello was back.
    pub(super) times: Vec<Duration>,
    /// What the edge computed for all of them.
    pub(super) cpu: Duration,
}

impl Connections {
    pub(super) fn median(&self) -> Duration {
        Figures::new(self.times.clone()).percentile(50)
    }
}

impl Probe {
    pub(super) fn changes(lab: &Lab, environment: EnvironmentId, count: u32) -> Result<Self> {
        let description = lab.description();
        Ok(Self::Changes {
            urls: lab.underlay_api_urls()?,
            ca_file: description.ca_file.clone(),
            token_file: description.admin_token_file.clone(),
            environment,
            count,
            edges: description.edges().map(https).collect(),
        })
    }

    pub(super) fn connections(edge: &NodeDescription, names: Vec<String>, count: usize) -> Self {
        let pid = edge.pids.edge.unwrap_or_default();
        Self::Connections { edge: https(edge), pid, names, count }
    }
}

impl Found {
    pub(super) fn latencies(self) -> Latencies {
        match self {
            Self::Changes(latencies) => latencies,
            Self::Connections(_) => Latencies::default(),
        }
    }

    pub(super) fn connections(self) -> Connections {
        match self {
            Self::Connections(connections) => connections,
            Self::Changes(_) => Connections::default(),
        }
    }
}

fn https(edge: &NodeDescription) -> SocketAddr {
    SocketAddr::new(edge.underlay.into(), HTTPS)
}

/// Has it done on the client's host.
pub(super) fn ask(lab: &LabDescription, probe: &Probe) -> Result<Found> {
    let unreadable = |source| LabError::Malformed {
        what: "what a probe found",
        path: PathBuf::from("stdout"),
        source,
    };
    let program = crate::Programs::in_directory(&lab.binaries).lab()?;
    let mut command = lab.client_host()?.command(&lab.lab_id, program);
    let plan = serde_json::to_string(probe).map_err(unreadable)?;
    let found = run_with_file(command.arg("probe"), &plan)?;
    serde_json::from_str(&found).map_err(unreadable)
}

/// What the process does: reads a probe from stdin, writes what it found to stdout.
pub fn run() -> Result<()> {
    let failed = |source| LabError::Spawn { program: "a probe".to_owned(), source };
    let plan = io::read_to_string(io::stdin()).map_err(LabError::file("read", "stdin"))?;
    let plan = serde_json::from_str(&plan).map_err(io::Error::other).map_err(failed)?;
    let visitor = Visitor::new().map_err(io::Error::other).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let found = match plan {
        Probe::Changes { urls, ca_file, token_file, environment, count, edges } => {
            let client = client(urls, &ca_file, &token_file)?;
            let work = changes(&client, &visitor, environment, count, &edges);
            Found::Changes(runtime.block_on(work)?)
        }
        Probe::Connections { edge, pid, names, count } => {
            Found::Connections(runtime.block_on(connections(&visitor, edge, pid, &names, count))?)
        }
    };
    let text = serde_json::to_string(&found).map_err(io::Error::other).map_err(failed)?;
    io::stdout().write_all(text.as_bytes()).map_err(LabError::file("write", "stdout"))
}

fn client(urls: Vec<Url>, ca: &std::path::Path, token: &std::path::Path) -> Result<Client> {
    let read =
        |path: &std::path::Path| fs::read_to_string(path).map_err(LabError::file("read", path));
    let config = ClientConfig {
        api_urls: urls,
        trust: Trust::Ca(read(ca)?),
        auth: Auth::Token(read(token)?.trim().to_owned()),
    };
    Client::new(config).map_err(|error| fill::failed(error.to_string()))
}

async fn changes(
    client: &Client,
    visitor: &Visitor,
    environment: EnvironmentId,
    count: u32,
    edges: &[SocketAddr],
) -> Result<Latencies> {
    let mut found = Latencies::default();
    let run = uuid::Uuid::new_v4().simple().to_string();
    for number in 0..count {
        let name = format!("change-{number}-{}.{PLATFORM_DOMAIN}", &run[..8]);
        let new = tls_route(&name, ECHO_PORT)?;
        let begin = Instant::now();
        let route = fill::create(client, environment, &new).await?;
        let answered = Instant::now();
        let mut last = Duration::ZERO;
        // All at once: a wait for one must not count for the next.
        let waits = edges.iter().map(|edge| routed(visitor, *edge, &name, answered));
        for wait in join_all(waits).await {
            last = last.max(wait?);
        }
        found.answer.push(answered - begin);
        found.live.push(last);
        let deleted = client.delete_route(route.value.id, None).await;
        deleted.map_err(|error| fill::failed(error.to_string()))?;
    }
    Ok(found)
}

async fn join_all<T: 'static>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = work.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in work.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// How long after `since` the first connection was routed.
async fn routed(
    visitor: &Visitor,
    edge: SocketAddr,
    name: &str,
    since: Instant,
) -> Result<Duration> {
    let visit = Visit { address: edge, name: name.to_owned(), service: Service::Echo };
    loop {
        match visitor.visit(&visit).await {
            Ok(()) => return Ok(since.elapsed()),
            Err(error) if since.elapsed() > LIMIT => {
                return Err(LabError::Timeout {
                    what: format!("{edge} to serve {name}"),
                    limit: LIMIT,
                    state: error.to_string(),
                });
            }
            // Not live yet; asked again soon, without keeping the edge from its work.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn connections(
    visitor: &Visitor,
    edge: SocketAddr,
    pid: u32,
    names: &[String],
    count: usize,
) -> Result<Connections> {
    let mut found = Connections::default();
    let failed = |name: &str, error: io::Error| LabError::Command {
        command: format!("connect to {name} through {edge}"),
        status: "failed".to_owned(),
        output: error.to_string(),
    };
    let mut before = Duration::ZERO;
    let order = names.iter().cycle().take(WARM_UP + count);
    for (number, name) in order.enumerate() {
        if number == WARM_UP {
            before = cpu(pid);
        }
        let visit = Visit { address: edge, name: name.clone(), service: Service::Echo };
        let begin = Instant::now();
        visitor.visit(&visit).await.map_err(|error| failed(name, error))?;
        if number >= WARM_UP {
            found.times.push(begin.elapsed());
        }
    }
    found.cpu = cpu(pid).saturating_sub(before);
    Ok(found)
}

/// What the threads of a process have computed, by the scheduler's clock.
fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
        })
        .sum()
}
