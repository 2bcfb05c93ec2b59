//! Who the edge is: the node it runs on. The agent keeps the certificate and renews it.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sextant_api::{
    Auth, Client, ClientConfig, ClientError, Trust,
    client::{
        NamedTime,
        standing::{StandingClient, node_of, nonce},
    },
};
use sextant_daemon::{
    clock::{Entropy, SystemEntropy},
    private_file::{self, PrivateFileError, Readers},
};
use url::Url;

const CA: &str = "ca.crt";
const CERTIFICATE: &str = "client.crt";
const KEY: &str = "client.key";

/// Why the edge cannot say who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is not there, or not readable.
    #[error(
        "{0}; the edge speaks as its node: enrol the node with sextant-agent, and let the edge read its files (control_plane.identity)"
    )]
    File(#[from] PrivateFileError),
    /// The files do not work together.
    #[error("ca.crt, client.crt and client.key in \"{}\" cannot be used: {source}", path.display())]
    Unusable {
        /// Where they are.
        path: PathBuf,
        /// Why not.
        source: ClientError,
    },
}

/// The folder with the files, and how they were when they were last read.
#[derive(Debug)]
pub struct Identity {
    folder: PathBuf,
    seen: Option<Stamp>,
    /// The control plane's time, where this machine's clock is wrong (ADR 0015).
    time: NamedTime,
    asked_at: Option<Instant>,
}

/// Between two questions for the time.
const ASK_INTERVAL: Duration = Duration::from_mins(1);

/// Inode and time of change of each file: the agent replaces them.
type Stamp = [Option<(u64, i64, i64)>; 3];

impl Identity {
    /// Nothing is read yet.
    pub fn new(folder: &Path) -> Self {
        let (folder, time) = (folder.to_owned(), NamedTime::default());
        Self { folder, seen: None, time, asked_at: None }
    }

    /// Whether the files are others than those the last client was made from.
    pub fn has_changed(&self) -> bool {
        self.seen.is_some_and(|seen| seen != self.stamp())
    }

    /// A client that speaks as the node.
    pub fn client(&mut self, urls: &[Url]) -> Result<Client, IdentityError> {
        self.seen = Some(self.stamp());
        let read = |name: &str| private_file::read(&self.folder.join(name));
        let trust = Trust::CaAndNamedTime(read(CA)?, self.time.clone());
        // The agent may have made this copy for the edge's group.
        let key = private_file::read_secret_of(&self.folder.join(KEY), Readers::Group)?;
        let auth = Auth::Certificate { certificate: read(CERTIFICATE)?, key: key.to_string() };
        let client = Client::new(ClientConfig { api_urls: urls.to_vec(), trust, auth });
        client.map_err(|source| IdentityError::Unusable { path: self.folder.clone(), source })
    }

    /// Asks the control plane what time it is there, because a certificate was refused for the time. The
    /// answer is signed by the CA itself, and the clients made here believe it.
    pub fn learn_time(&mut self, client: &Client) {
        if self.asked_at.is_some_and(|at| at.elapsed() < ASK_INTERVAL) {
            return;
        }
        self.asked_at = Some(Instant::now());
        let read = |name: &str| private_file::read(&self.folder.join(name)).ok();
        let node = read(CERTIFICATE).and_then(|pem| node_of(&pem));
        let asking = read(CA).and_then(|ca| StandingClient::new(client, ca).ok());
        let (Some(node), Some(asking)) = (node, asking) else { return };
        let (time, random) = (self.time.clone(), SystemEntropy.bytes());
        tokio::spawn(async move {
            match asking.ask(node, &nonce(random)).await {
                Ok((_, at)) => {
                    tracing::warn!(%at, "the control plane's time is used for certificates; is the clock of this machine right?");
                    time.set(at);
                }
                Err(error) => tracing::debug!(%error, "the control plane's time is not known"),
            }
        });
    }

    fn stamp(&self) -> Stamp {
        [CA, CERTIFICATE, KEY].map(|name| {
            let metadata = std::fs::metadata(self.folder.join(name)).ok()?;
            Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
        })
    }
}
