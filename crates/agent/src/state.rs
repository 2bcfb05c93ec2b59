//! What the agent keeps on disk: keys, certificate, who it is, and the last good state.
//!
//! ```text
//! wireguard.key client.key      made before enrolment, never replaced
//! ca.crt client.crt             from enrolment and renewal
//! endpoint                      where the machine said that peers reach it
//! state.json                    membership and cursor, with a checksum
//! node.json                     who the node is; written last: it means "enrolled"
//! left                          the node was told to leave; nothing is done any more
//! ```

use std::{
    fs::{File, TryLockError},
    io,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sextant_daemon::{
    clock::Entropy,
    identity::{self, KeyError},
    private_file::{self, PrivateFileError},
};
use sextant_model::{Cursor, DnsLabel, NetworkId, NodeId, membership::Membership};
use zeroize::Zeroizing;

use crate::{
    certificate::Validity,
    key::{InvalidPrivateKey, PrivateKey},
};

mod exposure;
pub mod published;
mod saved;

pub use exposure::ExposedFile;
pub use saved::Damage;

/// Who the node is, since it enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeIdentity {
    /// Which node.
    pub node_id: NodeId,
    /// Its network.
    pub network_id: NetworkId,
    /// Its name in the network.
    pub name: DnsLabel,
}

/// The last good state: everything that happened up to the cursor.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedState {
    /// Where the stream goes on.
    pub cursor: Cursor,
    /// Who is in the network.
    pub membership: Membership,
}

/// What `state.json` turned out to be.
#[derive(Debug)]
pub enum LoadedState {
    /// There is none yet.
    Missing,
    /// Complete and unchanged since it was written.
    Good(SavedState),
    /// There is a file, and it cannot be believed.
    Unreadable(Damage),
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A file holds something else than it should. It is never overwritten.
    #[error("\"{}\" is damaged: {reason}; {remedy}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another agent works in the folder.
    #[error("another sextant-agent runs on \"{}\"; stop it first, or use another state_dir", .0.display())]
    Locked(PathBuf),
    /// The folder cannot be locked.
    #[error("cannot lock \"{}\": {source}", path.display())]
    Lock {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No TLS key can be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl StateError {
    /// 2 where a person must act first, 1 where a restart may help.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged { .. } => 2,
            Self::File(error) if error.is_exposed() => 2,
            Self::File(_) | Self::Locked(_) | Self::Lock { .. } | Self::Key(_) => 1,
        }
    }
}

const REMEDY_KEY: &str = "restore it from a backup, or remove the node, empty the state folder and enrol with a new token";
const REMEDY_CERTIFICATE: &str = "restore them from a backup, or remove the node, empty the state folder and enrol with a new token";
const REMEDY_NODE: &str =
    "restore it from a backup, or delete it and enrol again with the same token and keys";

/// The folder `state_dir`.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

/// Held as long as the agent runs: one agent per folder. The kernel releases it, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl StateFolder {
    /// Names the folder; nothing is touched yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the folder if it is missing, and keeps other agents out.
    pub fn lock(&self) -> Result<FolderLock, StateError> {
        private_file::create_folder(&self.path)?;
        private_file::check_folder(&self.path)?;
        let path = self.file("lock");
        let failed = |source| StateError::Lock { path: path.clone(), source };
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                private_file::remove_leftovers(&self.path);
                Ok(FolderLock { _file: file })
            }
            Err(TryLockError::WouldBlock) => Err(StateError::Locked(self.path.clone())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The WireGuard key; made and on disk before anybody hears of it.
    pub fn wireguard_key(&self, entropy: &dyn Entropy) -> Result<PrivateKey, StateError> {
        if let Some(key) = self.existing_wireguard_key()? {
            return Ok(key);
        }
        let path = self.wireguard_key_file();
        self.check_not_enrolled(&path)?;
        let key = PrivateKey::generate(entropy);
        private_file::write(&path, key.reveal().as_bytes())?;
        Ok(key)
    }

    /// The WireGuard key, if there is one.
    pub fn existing_wireguard_key(&self) -> Result<Option<PrivateKey>, StateError> {
        let path = self.wireguard_key_file();
        let Some(text) = secret_if_there(&path)? else { return Ok(None) };
        let key = PrivateKey::parse(&text).and_then(|key| match key.public() {
            Ok(_) => Ok(Some(key)),
            Err(_) => Err(InvalidPrivateKey),
        });
        key.map_err(|error| damaged(path, error, REMEDY_KEY))
    }

    /// The TLS key, PEM; made and on disk before a certificate is asked for.
    pub fn client_key(&self) -> Result<Zeroizing<String>, StateError> {
        if let Some(pem) = self.existing_client_key()? {
            return Ok(pem);
        }
        let path = self.client_key_file();
        self.check_not_enrolled(&path)?;
        let pem = Zeroizing::new(identity::generate_key()?);
        private_file::write(&path, pem.as_bytes())?;
        Ok(pem)
    }

    /// The TLS key, PEM, if there is one.
    pub fn existing_client_key(&self) -> Result<Option<Zeroizing<String>>, StateError> {
        let path = self.client_key_file();
        let Some(pem) = secret_if_there(&path)? else { return Ok(None) };
        // Only the attempt to use it shows whether it is a key.
        match identity::certificate_request(&pem, "check") {
            Ok(_) => Ok(Some(pem)),
            Err(error) => Err(damaged(path, error, REMEDY_KEY)),
        }
    }

    /// A new key would be one that nobody knows the enrolled node by.
    fn check_not_enrolled(&self, key: &Path) -> Result<(), StateError> {
        let reason = "it is missing, and the node is enrolled with it";
        match self.node()? {
            Some(_) => Err(damaged(key.to_owned(), reason, REMEDY_KEY)),
            None => Ok(()),
        }
    }

    /// Where the WireGuard key is.
    pub fn wireguard_key_file(&self) -> PathBuf {
        self.file("wireguard.key")
    }

    /// Where the TLS key is.
    pub fn client_key_file(&self) -> PathBuf {
        self.file("client.key")
    }

    /// The client certificate, PEM.
    pub fn certificate(&self) -> Result<String, StateError> {
        read_certificate(self.file("client.crt"))
    }

    /// The control plane's CA, PEM.
    pub fn ca(&self) -> Result<String, StateError> {
        read_certificate(self.file("ca.crt"))
    }

    /// The certificate, the CA and the client key, each readable, do not work together.
    pub fn unusable_identity(&self, reason: impl ToString) -> StateError {
        let reason =
            format!("ca.crt, client.crt and client.key cannot be used: {}", reason.to_string());
        damaged(self.path.clone(), reason, REMEDY_CERTIFICATE)
    }

    /// Keeps a certificate and the CA that signed it.
    pub fn save_certificate(&self, certificate: &str, ca: &str) -> Result<(), StateError> {
        private_file::write(&self.file("ca.crt"), ca.as_bytes())?;
        Ok(private_file::write(&self.file("client.crt"), certificate.as_bytes())?)
    }

    /// Keeps the endpoint that this machine found and told of itself.
    pub fn save_endpoint(&self, endpoint: SocketAddr) -> Result<(), StateError> {
        Ok(private_file::write(&self.file("endpoint"), endpoint.to_string().as_bytes())?)
    }

    /// The endpoint that this machine last found and told; `None` if it told none, or is of before.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        private_file::read(&self.file("endpoint")).ok()?.trim().parse().ok()
    }

    /// Who the node is; `None` before it has enrolled.
    pub fn node(&self) -> Result<Option<NodeIdentity>, StateError> {
        let path = self.file("node.json");
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| damaged(path, error, REMEDY_NODE))
    }

    /// Says that the machine is enrolled.
    pub fn save_node(&self, node: &NodeIdentity) -> Result<(), StateError> {
        let path = self.file("node.json");
        let json = serde_json::to_vec(node).map_err(|e| damaged(path.clone(), e, REMEDY_NODE))?;
        Ok(private_file::write(&path, &json)?)
    }

    /// The last good state. Only a file that cannot even be read is an error.
    pub fn state(&self) -> Result<LoadedState, StateError> {
        match private_file::read(&self.file("state.json")) {
            Ok(text) => Ok(match saved::decode(&text) {
                Ok(state) => LoadedState::Good(state),
                Err(damage) => LoadedState::Unreadable(damage),
            }),
            Err(error) if error.is_missing() => Ok(LoadedState::Missing),
            Err(error) if error.source.kind() == io::ErrorKind::InvalidData => {
                Ok(LoadedState::Unreadable(Damage::NotText))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the last good state.
    pub fn save_state(&self, state: &SavedState) -> Result<(), StateError> {
        let path = self.file("state.json");
        Ok(private_file::write(&path, saved::encode(state).as_bytes())?)
    }

    /// Moves a state that cannot be believed aside, for those who want to know what happened.
    pub fn set_state_aside(&self) -> Result<PathBuf, StateError> {
        let (from, to) = (self.file("state.json"), self.file("state.json.unreadable"));
        std::fs::rename(&from, &to).map_err(|error| damaged(from, error, "move it away"))?;
        Ok(to)
    }

    /// Whether the node was told to leave.
    pub fn has_left(&self) -> bool {
        // A marker that cannot be examined counts: a departed node must not come back by accident.
        self.file("left").try_exists().unwrap_or(true)
    }

    /// Remembers that the node was told to leave.
    pub fn save_left(&self, reason: &str) -> Result<(), StateError> {
        Ok(private_file::write(&self.file("left"), reason.as_bytes())?)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The same for a secret, which nobody else may read.
fn secret_if_there(path: &Path) -> Result<Option<Zeroizing<String>>, StateError> {
    match private_file::read_secret(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A missing file is `None`; one that exists and cannot be read is an error.
fn read_if_there(path: &Path) -> Result<Option<String>, StateError> {
    match private_file::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A certificate is only there, or whole, if it can be read as one.
fn read_certificate(path: PathBuf) -> Result<String, StateError> {
    match private_file::read(&path) {
        Ok(pem) => match Validity::of(&pem) {
            Ok(_) => Ok(pem),
            Err(error) => Err(damaged(path, error.reason(), REMEDY_KEY)),
        },
        Err(error) if error.is_missing() => {
            Err(damaged(path, "it is missing, and the node is enrolled with it", REMEDY_KEY))
        }
        Err(error) if error.source.kind() == io::ErrorKind::InvalidData => {
            Err(damaged(path, "it is not text", REMEDY_KEY))
        }
        Err(error) => Err(error.into()),
    }
}

fn damaged(path: PathBuf, reason: impl ToString, remedy: &'static str) -> StateError {
    StateError::Damaged { path, reason: reason.to_string(), remedy }
}

#[cfg(test)]
pub(crate) mod tests;
