//! From start to end: lock, keys, enrolment, the last good state, and then the loop.

mod agent;
mod background;
mod pulse;
mod timers;
pub mod view;

use std::sync::Arc;

use sextant_api::{Auth, Client, ClientConfig, ClientError, Trust, client::NamedTime};
use sextant_daemon::clock::{Entropy, SystemClock, SystemEntropy};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    config::AgentConfig,
    enrol::{self, EnrolError, Keys},
    probe,
    reconcile::{Reconciler, ReconcilerError},
    state::{LoadedState, SavedState, StateError, StateFolder},
    wireguard::WireGuardError,
};

/// How a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was told to stop; the interface is as it was.
    Stopped,
    /// The node has left its network; the interface is gone.
    Left,
}

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// Enrolment.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The interface's name, or the key.
    #[error(transparent)]
    Reconciler(#[from] ReconcilerError),
    /// The interface's name is not free.
    #[error(transparent)]
    Interface(WireGuardError),
    /// The client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node has left and its interface cannot be removed.
    #[error("the node has left its network, and its interface cannot be removed: {0}")]
    Remove(#[source] WireGuardError),
    /// A part of the agent ended by itself.
    #[error("the agent's stream task ended; this is a defect, please report it")]
    Broken,
}

impl RunError {
    /// 2 where a restart cannot help, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Enrol(EnrolError::State(error)) | Self::State(error) => error.exit_code(),
            Self::Enrol(_) | Self::Reconciler(_) => 2,
            Self::Interface(error) if error.is_taken() => 2,
            Self::Client(_) | Self::Interface(_) | Self::Remove(_) | Self::Broken => 1,
        }
    }
}

/// Runs until `stop` is cancelled or the node has left.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<Exit, RunError> {
    let folder = StateFolder::new(&config.state_dir);
    let _lock = folder.lock()?;
    let entropy = Arc::new(SystemEntropy);
    let wireguard_key = folder.wireguard_key(entropy.as_ref())?;
    let key_file = folder.wireguard_key_file();
    let mut reconciler = Reconciler::new(&config.wireguard, wireguard_key.clone(), key_file)?;
    reconciler.carry(&config.workloads);
    if folder.has_left() {
        // The process may have been killed between the decision and the deed.
        reconciler.remove().await.map_err(RunError::Remove)?;
        let folder = folder.path().display();
        tracing::warn!("this node has left its network; empty \"{folder}\" to enrol it again");
        return Ok(Exit::Left);
    }
    let client_key = folder.client_key()?;
    let node = if let Some(node) = folder.node()? {
        node
    } else {
        // A token is good for one enrolment: it is not spent on a node that cannot have a mesh.
        reconciler.check_usable().await.map_err(RunError::Interface)?;
        let keys = Keys { wireguard: &wireguard_key, client: &client_key };
        let Some(node) = enrol::enrol(&config, &folder, keys, &stop).await? else {
            return Ok(Exit::Stopped);
        };
        sextant_daemon::readiness::ready("enrolled");
        node
    };
    let saved = load_state(&folder)?;
    let process = entropy.id();
    let probe = match probe::start(entropy.clone()) {
        Ok(probe) => Some(probe),
        Err(error) => {
            tracing::error!(%error, "round trips cannot be measured; the agent needs CAP_NET_RAW");
            None
        }
    };
    let view = match view::View::new(node.clone(), saved) {
        Ok(view) => view,
        Err(fault) => {
            set_aside(&folder, &fault)?;
            view::View::without_state(node.clone())
        }
    };
    for fault in view.faults() {
        tracing::warn!(%fault, "what was saved is against the rules");
    }
    let parts = agent::Parts {
        config,
        folder,
        node,
        client_key,
        view,
        reconciler,
        probe,
        process,
        clock: Arc::new(SystemClock),
        entropy,
    };
    agent::run(parts, stop).await
}

/// The last good state. A damaged one is set aside, and its loss is not mistaken for emptiness.
fn load_state(folder: &StateFolder) -> Result<Option<SavedState>, StateError> {
    match folder.state()? {
        LoadedState::Good(state) => Ok(Some(*state)),
        LoadedState::Missing => {
            tracing::warn!(
                "there is no saved state; waiting for a snapshot from the control plane"
            );
            Ok(None)
        }
        LoadedState::Unreadable(damage) => {
            set_aside(folder, &damage)?;
            Ok(None)
        }
    }
}

fn set_aside(folder: &StateFolder, reason: &dyn std::fmt::Display) -> Result<(), StateError> {
    let aside = folder.set_state_aside()?;
    tracing::error!(
        %reason, kept_as = %aside.display(),
        "the saved state cannot be believed; the interface stays exactly as it is until a snapshot \
         comes from the control plane"
    );
    Ok(())
}

/// The client that speaks as this node.
fn node_client(
    config: &AgentConfig,
    folder: &StateFolder,
    certificate: String,
    key: &str,
    time: &NamedTime,
    instance: Uuid,
) -> Result<Client, RunError> {
    let trust = Trust::CaAndNamedTime(folder.ca()?, time.clone());
    let auth = Auth::Certificate { certificate, key: key.to_owned() };
    let client = Client::new(ClientConfig { api_urls: config.api_urls.clone(), trust, auth });
    client.map(|client| client.as_instance(instance)).map_err(|error| match error {
        ClientError::Tls(reason) => folder.unusable_identity(reason).into(),
        error => error.into(),
    })
}
