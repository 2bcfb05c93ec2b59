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
    AggregateKind, Cursor, Epoch, NetworkId, Refusal,
    membership::{Member, Membership},
};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{networks, nodes};
use crate::{Store, error::StoreError};

impl Store {
    /// The members of a network.
    pub async fn membership(&self, network: NetworkId) -> Result<(Cursor, Membership), StoreError> {
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

    /// How far each projection is.
    pub async fn projections(&self) -> Result<Vec<ProjectionStatus>, StoreError> {
        let rows = sqlx::query_as!(
            ProjectionStatus,
            "SELECT projection AS name, last_applied_event_id AS checkpoint
             FROM projection_checkpoints ORDER BY projection"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    async fn frozen(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }
}

/// Where the projections stand: the log up to here is in their rows.
async fn checkpoint(connection: &mut PgConnection) -> Result<Cursor, StoreError> {
    let row = sqlx::query!(
        r#"SELECT e.epoch, (SELECT min(last_applied_event_id) FROM projection_checkpoints
                            WHERE projection IN ('networks', 'nodes')) AS at
           FROM stream_epoch e"#
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
