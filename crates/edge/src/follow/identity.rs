//! Who the edge is: the node it runs on. The agent keeps the certificate and renews it.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sextant_api::{Auth, Client, ClientConfig, ClientError, Trust};
use sextant_daemon::private_file::{self, PrivateFileError};
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
}

/// Inode and time of change of each file: the agent replaces them.
type Stamp = [Option<(u64, i64, i64)>; 3];

impl Identity {
    /// Nothing is read yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), seen: None }
    }

    /// Whether the files are others than those the last client was made from.
    pub fn has_changed(&self) -> bool {
        self.seen.is_some_and(|seen| seen != self.stamp())
    }

    /// A client that speaks as the node.
    pub fn client(&mut self, urls: &[Url]) -> Result<Client, IdentityError> {
        self.seen = Some(self.stamp());
        let read = |name: &str| private_file::read(&self.folder.join(name));
        let trust = Trust::Ca(read(CA)?);
        let auth = Auth::Certificate { certificate: read(CERTIFICATE)?, key: read(KEY)? };
        let client = Client::new(ClientConfig { api_urls: urls.to_vec(), trust, auth });
        client.map_err(|source| IdentityError::Unusable { path: self.folder.clone(), source })
    }

    fn stamp(&self) -> Stamp {
        [CA, CERTIFICATE, KEY].map(|name| {
            let metadata = std::fs::metadata(self.folder.join(name)).ok()?;
            Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
        })
    }
}
