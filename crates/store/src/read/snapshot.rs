//! Snapshots: rows and the cursor they are true at, read in one REPEATABLE READ transaction, so
//! that a follower that goes on from the cursor misses nothing and sees nothing twice.

use sextant_api::{
    frame::SnapshotState,
    resource::{
        node::{Node, NodePhase},
        status::ProjectionStatus,
    },
};
use sextant_model::{
    AggregateKind, Cursor, Epoch, NetworkId, NodeId, OrgId, Refusal,
    membership::{Member, Membership},
};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{RouteFilter, WorkloadFilter, networks, nodes, orgs, releases, routes, workloads};
use crate::{Store, error::StoreError, projection::ALL};

impl Store {
    /// The members of a network, as node `of` needs to know them: with the addresses of its own
    /// workloads.
    pub async fn membership(
        &self,
        network: NetworkId,
        of: NodeId,
    ) -> Result<(Cursor, Membership), StoreError> {
        let mut transaction = self.frozen().await?;
        let cursor = checkpoint(&mut transaction).await?;
        let found = networks::list(&mut transaction, Uuid::nil(), i64::MAX).await?;
        let found = found.into_iter().find(|candidate| candidate.id == network);
        let found = found.ok_or(Refusal::NotFound(AggregateKind::Network))?;
        let prefix = found.ipv6_prefix.or(found.ipv4_prefix);
        let prefix = prefix.ok_or(Refusal::NotFound(AggregateKind::Network))?;
        let (active, gone): (Vec<Node>, Vec<Node>) = nodes::of_network(&mut transaction, network)
            .await?
            .into_iter()
            .partition(|node| node.phase == NodePhase::Active);
        let membership = Membership {
            network_id: network,
            name: found.name,
            prefix,
            members: active.into_iter().map(|node| (node.id, member(node))).collect(),
            departed: gone.into_iter().map(|node| node.id).collect(),
            workloads: workloads::addresses_on(&mut transaction, of).await?,
            released: workloads::released_on(&mut transaction, of).await?,
        };
        Ok((cursor, membership))
    }

    /// Every network and node, for operators.
    pub async fn platform(&self) -> Result<(Cursor, SnapshotState), StoreError> {
        let mut transaction = self.frozen().await?;
        let cursor = checkpoint(&mut transaction).await?;
        let networks = networks::list(&mut transaction, Uuid::nil(), i64::MAX).await?;
        let nodes = nodes::list(&mut transaction, Uuid::nil(), i64::MAX).await?;
        Ok((cursor, SnapshotState::Platform { networks, nodes }))
    }

    /// What an org owns.
    pub async fn org_snapshot(&self, id: OrgId) -> Result<(Cursor, SnapshotState), StoreError> {
        let mut transaction = self.frozen().await?;
        let cursor = checkpoint(&mut transaction).await?;
        let org = orgs::org(&mut transaction, id).await?;
        let org = org.ok_or(Refusal::NotFound(AggregateKind::Org))?;
        let (nil, all) = (Uuid::nil(), i64::MAX);
        let apps = orgs::apps(&mut transaction, Some(id), nil, all).await?;
        let environments = orgs::environments(&mut transaction, Some(id), None, nil, all).await?;
        let releases = releases::open(&mut transaction, id).await?;
        let filter = WorkloadFilter { org: Some(id), ..WorkloadFilter::default() };
        let workloads = workloads::list(&mut transaction, filter, nil, all).await?;
        let filter = RouteFilter { org: Some(id), ..RouteFilter::default() };
        let routes = routes::list(&mut transaction, &filter, nil, all).await?;
        let state = SnapshotState::Org { org, apps, environments, releases, workloads, routes };
        Ok((cursor, state))
    }

    /// How far each projection is.
    pub async fn projections(&self) -> Result<Vec<ProjectionStatus>, StoreError> {
        let rows = sqlx::query!(
            "SELECT projection AS name, last_applied_event_id AS checkpoint
             FROM projection_checkpoints ORDER BY projection"
        )
        .fetch_all(&self.pool)
        .await?;
        let status = rows.into_iter().map(|row| ProjectionStatus {
            name: row.name,
            checkpoint: row.checkpoint,
            behind_s: None,
        });
        Ok(status.collect())
    }

    pub(super) async fn frozen(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }
}

/// Where the projections stand: the log up to here is in their rows.
pub(super) async fn checkpoint(connection: &mut PgConnection) -> Result<Cursor, StoreError> {
    let row = sqlx::query!(
        r#"SELECT e.epoch, (SELECT min(last_applied_event_id) FROM projection_checkpoints
                            WHERE projection = ANY($1)) AS at
           FROM stream_epoch e"#,
        &ALL.map(String::from)
    )
    .fetch_one(connection)
    .await?;
    Ok(Cursor { epoch: Epoch(row.epoch), event_id: row.at.unwrap_or(0) })
}

fn member(node: Node) -> Member {
    Member {
        node_id: node.id,
        name: node.name,
        roles: node.roles,
        public_key: node.public_key,
        endpoint: node.endpoint,
        addresses: node.addresses,
        prefix: node.prefix,
    }
}
