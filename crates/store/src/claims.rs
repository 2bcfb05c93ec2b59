//! Names and keys that belong to one owner at a time.

use sextant_model::{DnsLabel, PublicKey};
use uuid::Uuid;

use crate::{error::StoreError, unit::Unit};

/// Where a name must be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameScope {
    /// Network names, in the whole platform.
    Networks,
    /// Node names, in this network.
    NodesOf(sextant_model::NetworkId),
}

impl NameScope {
    fn columns(self) -> (Uuid, &'static str) {
        match self {
            Self::Networks => (Uuid::nil(), "network"),
            Self::NodesOf(network) => (network.0, "node"),
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

    /// Gives back every name `owner` holds.
    pub async fn release_names(&mut self, owner: Uuid) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM name_claims WHERE owner_id = $1", owner)
            .execute(self.open().await?)
            .await?;
        Ok(())
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
