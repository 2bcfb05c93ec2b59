//! Names and keys that belong to one owner at a time, and which network an environment lives in.

mod hostnames;
mod listeners;

use sextant_model::{DnsLabel, EnvironmentId, NetworkId, PublicKey};
use uuid::Uuid;

use crate::{error::StoreError, unit::Unit};

pub use {
    hostnames::{HostnameHolder, HostnameTaking, HostnameWish},
    listeners::{ListenerHolder, ListenerWish},
};

/// Where a name must be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameScope {
    /// Network names, in the whole platform.
    Networks,
    /// Node names, in this network.
    NodesOf(NetworkId),
    /// Org names, in the whole platform.
    Orgs,
    /// App names, in this org.
    AppsOf(sextant_model::OrgId),
    /// Environment names, in this app.
    EnvironmentsOf(sextant_model::AppId),
}

impl NameScope {
    fn columns(self) -> (Uuid, &'static str) {
        match self {
            Self::Networks => (Uuid::nil(), "network"),
            Self::NodesOf(network) => (network.0, "node"),
            Self::Orgs => (Uuid::nil(), "org"),
            Self::AppsOf(org) => (org.0, "app"),
            Self::EnvironmentsOf(app) => (app.0, "environment"),
        }
    }
}

impl Unit {
    /// Takes `name` for `owner`.
    pub async fn claim_name(
        &mut self,
        scope: NameScope,
        name: &DnsLabel,
        owner: Uuid,
    ) -> Result<(), StoreError> {
        let (scope, kind) = scope.columns();
        let claimed = sqlx::query!(
            "INSERT INTO name_claims (scope, kind, name, owner_id) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
            scope,
            kind,
            name.as_str(),
            owner
        )
        .execute(self.open().await?)
        .await?;
        if claimed.rows_affected() == 1 {
            Ok(())
        } else {
            Err(StoreError::NameTaken(name.to_string()))
        }
    }

    /// How many names are taken in `scope`.
    pub async fn names_in(&mut self, scope: NameScope) -> Result<u64, StoreError> {
        let (scope, kind) = scope.columns();
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM name_claims WHERE scope = $1 AND kind = $2"#,
            scope,
            kind
        )
        .fetch_one(self.open().await?)
        .await?;
        Ok(count.unsigned_abs())
    }

    /// Keeps whoever has a name from losing it until this transaction ends: what is made for an
    /// owner now does not outlive it. `false` if the owner has none, or no longer.
    pub async fn hold(&mut self, owner: Uuid) -> Result<bool, StoreError> {
        let held =
            sqlx::query!("SELECT name FROM name_claims WHERE owner_id = $1 FOR SHARE", owner)
                .fetch_optional(self.open().await?)
                .await?;
        Ok(held.is_some())
    }

    /// The same, alone: nobody else holds the owner, or seizes it, until this transaction ends.
    /// Whoever needs several takes environments before nodes, and nodes in the order of their ids.
    pub async fn seize(&mut self, owner: Uuid) -> Result<bool, StoreError> {
        let held =
            sqlx::query!("SELECT name FROM name_claims WHERE owner_id = $1 FOR UPDATE", owner)
                .fetch_optional(self.open().await?)
                .await?;
        Ok(held.is_some())
    }

    /// The same without waiting for long: `None` if somebody else has it all that time. For those
    /// whom others wait for while they wait.
    pub async fn seize_soon(&mut self, owner: Uuid) -> Result<Option<bool>, StoreError> {
        sqlx::query!("SELECT set_config('lock_timeout', '300ms', true)")
            .fetch_one(self.open().await?)
            .await?;
        let seized = match self.seize(owner).await {
            Ok(seized) => seized,
            Err(StoreError::Contended(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        sqlx::query!("SELECT set_config('lock_timeout', $1, true)", crate::connect::LOCK_LIMIT)
            .fetch_one(self.open().await?)
            .await?;
        Ok(Some(seized))
    }

    /// Gives back every name `owner` holds.
    pub async fn release_names(&mut self, owner: Uuid) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM name_claims WHERE owner_id = $1", owner)
            .execute(self.open().await?)
            .await?;
        Ok(())
    }

    /// Keeps that an environment lives in a network that the caller holds.
    pub async fn enter_network(
        &mut self,
        environment: EnvironmentId,
        network: NetworkId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO environment_networks (environment_id, network_id) VALUES ($1, $2)",
            environment.0,
            network.0
        )
        .execute(self.open().await?)
        .await?;
        Ok(())
    }

    /// Forgets where an environment lived that is deleted.
    pub async fn leave_network(&mut self, environment: EnvironmentId) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM environment_networks WHERE environment_id = $1", environment.0)
            .execute(self.open().await?)
            .await?;
        Ok(())
    }

    /// How many environments live in a network.
    pub async fn environments_in(&mut self, network: NetworkId) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM environment_networks WHERE network_id = $1"#,
            network.0
        )
        .fetch_one(self.open().await?)
        .await?;
        Ok(count.unsigned_abs())
    }

    /// Takes a WireGuard key for `owner`, for ever: a withdrawn key is never given to another node.
    pub async fn claim_key(&mut self, key: &PublicKey, owner: Uuid) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO key_claims (public_key, owner_id) VALUES ($1, $2)",
            key.to_string(),
            owner
        )
        .execute(self.open().await?)
        .await?;
        Ok(())
    }
}
