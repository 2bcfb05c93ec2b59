//! Names and keys that belong to one owner at a time, and which network an environment lives in.

mod hostnames;
mod listeners;

use sextant_model::{AggregateKind, AppId, DnsLabel, EnvironmentId, NetworkId, OrgId, PublicKey};
use uuid::Uuid;

use crate::{error::StoreError, read::column, unit::Unit};

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
    AppsOf(OrgId),
    /// Environment names, in this app.
    EnvironmentsOf(AppId),
    /// The ids of API tokens, in this org: how many there are must be known exactly.
    ApiTokensOf(OrgId),
}

impl NameScope {
    fn columns(self) -> (Uuid, &'static str) {
        match self {
            Self::Networks => (Uuid::nil(), "network"),
            Self::NodesOf(network) => (network.0, "node"),
            Self::Orgs => (Uuid::nil(), "org"),
            Self::AppsOf(org) => (org.0, "app"),
            Self::EnvironmentsOf(app) => (app.0, "environment"),
            Self::ApiTokensOf(org) => (org.0, "api-token"),
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
        if self.claim_word(scope, name.as_str(), owner).await? {
            Ok(())
        } else {
            Err(StoreError::NameTaken(name.to_string()))
        }
    }

    /// Counts an API token of an org until it is revoked.
    pub async fn count_token(&mut self, org: OrgId, token: Uuid) -> Result<(), StoreError> {
        self.claim_word(NameScope::ApiTokensOf(org), &token.to_string(), token).await.map(drop)
    }

    /// Counts no token of an org any more.
    pub async fn forget_tokens_of(&mut self, org: OrgId) -> Result<(), StoreError> {
        let (scope, kind) = NameScope::ApiTokensOf(org).columns();
        sqlx::query!("DELETE FROM name_claims WHERE scope = $1 AND kind = $2", scope, kind)
            .execute(self.open().await?)
            .await?;
        Ok(())
    }

    async fn claim_word(
        &mut self,
        scope: NameScope,
        word: &str,
        owner: Uuid,
    ) -> Result<bool, StoreError> {
        let (scope, kind) = scope.columns();
        let claimed = sqlx::query!(
            "INSERT INTO name_claims (scope, kind, name, owner_id) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
            scope,
            kind,
            word,
            owner
        )
        .execute(self.open().await?)
        .await?;
        Ok(claimed.rows_affected() == 1)
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

    /// Which org something belongs to, whatever became of it; `None` if it never was. Said by its
    /// first event, so that asking takes no lock and costs the same for everything and nothing.
    pub async fn org_of(
        &mut self,
        kind: AggregateKind,
        id: Uuid,
    ) -> Result<Option<OrgId>, StoreError> {
        let query = sqlx::query_scalar!(
            r#"SELECT (payload->>'org_id')::uuid FROM events
               WHERE aggregate_type = $1 AND aggregate_id = $2 AND aggregate_seq = 1"#,
            kind.as_str(),
            id
        );
        let found = match &mut self.transaction {
            Some(transaction) => query.fetch_optional(&mut **transaction).await?,
            None => query.fetch_optional(&self.pool).await?,
        };
        Ok(found.flatten().map(OrgId))
    }

    /// The names of an org and of an app, as they were created: neither is ever renamed.
    pub async fn names_of(
        &mut self,
        org: OrgId,
        app: AppId,
    ) -> Result<Option<(DnsLabel, DnsLabel)>, StoreError> {
        let query = sqlx::query!(
            r#"SELECT o.payload->>'name' AS "org!", a.payload->>'name' AS "app!"
               FROM events o, events a
               WHERE o.aggregate_type = 'org' AND o.aggregate_id = $1 AND o.aggregate_seq = 1
                 AND a.aggregate_type = 'app' AND a.aggregate_id = $2 AND a.aggregate_seq = 1"#,
            org.0,
            app.0
        );
        let found = match &mut self.transaction {
            Some(transaction) => query.fetch_optional(&mut **transaction).await?,
            None => query.fetch_optional(&self.pool).await?,
        };
        found.map(|row| Ok((column("events", row.org)?, column("events", row.app)?))).transpose()
    }

    /// Lets one transaction at a time go on with `id`, until it ends. For what has no row of its own
    /// to lock.
    pub async fn take_turn(&mut self, id: Uuid) -> Result<(), StoreError> {
        // The last half of an id is random.
        let (_, random) = id.as_u64_pair();
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", random.cast_signed())
            .execute(self.open().await?)
            .await?;
        Ok(())
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
