//! API tokens with the role admin that are made at the database: the first one, and one for an
//! operator who has lost theirs.

use std::path::Path;

use anyhow::bail;
use sextant_daemon::{
    clock::{Clock, Entropy, SystemClock, SystemEntropy},
    private_file,
};
use sextant_model::{
    ActorId, ApiTokenId, DnsLabel, OperatorRole,
    aggregate::ApiTokenState,
    secret::{ApiToken, Secret},
};
use sextant_store::{Store, read::PageRequest};

use crate::config::Config;

/// Makes another token and writes it to a new file; returns what was done, a line each.
pub async fn create(config: &Config, name: DnsLabel, file: &Path) -> anyhow::Result<Vec<String>> {
    if file.exists() {
        bail!("\"{}\" is there already; remove it or choose another file", file.display());
    }
    let store = Store::connect(&config.database.connect_options()?)?;
    let made = hand_out(&store, name, file).await;
    store.close().await;
    let next = "revoke the lost one now: `sextant api-token list` shows it, `sextant api-token \
                revoke NAME` takes it back";
    Ok(vec![made?, next.into()])
}

/// Whether a token was ever made.
pub async fn exists(store: &Store) -> anyhow::Result<bool> {
    let page = PageRequest { after: None, limit: 1 };
    Ok(!store.api_tokens(None, page).await?.items.is_empty())
}

/// Makes a token and writes it to `file`; says so.
pub async fn hand_out(store: &Store, name: DnsLabel, file: &Path) -> anyhow::Result<String> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_file::create_folder(folder)?;
    }
    // The file first: a token that could not be handed over must not exist.
    let entropy = SystemEntropy;
    let token = ApiToken { id: ApiTokenId(entropy.id()), secret: Secret::new(entropy.bytes()) };
    private_file::write(file, format!("{}\n", token.reveal()).as_bytes())?;
    if let Err(error) = record(store, name.clone(), &token).await {
        let _ = std::fs::remove_file(file);
        return Err(error.context("the API token could not be made"));
    }
    Ok(format!("the API token \"{name}\" with the role admin is in \"{}\"", file.display()))
}

async fn record(store: &Store, name: DnsLabel, new: &ApiToken) -> anyhow::Result<()> {
    let (role, hash) = (OperatorRole::Admin, new.secret.hash());
    let event = ApiTokenState::create(name, role, None, None, hash, SystemClock.now())?;
    let mut unit = store.begin();
    let mut token = unit.load::<ApiTokenState>(new.id.0).await?;
    unit.append(&mut token, &[event], ActorId::SYSTEM).await?;
    let event_id = unit.commit().await?;
    let settled = store.settle().await?;
    if store.project(settled).await? < event_id {
        bail!("the projections did not reach the new token");
    }
    Ok(())
}
