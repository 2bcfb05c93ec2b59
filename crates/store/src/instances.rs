//! Which processes speak as a node. All ages are by the database's clock: those of the replicas may
//! differ.

use std::{collections::BTreeMap, time::Duration};

use sextant_model::{
    NodeId,
    instance::{Instance, InstanceRole, OTHERS_LIFE, arrive},
};
use uuid::Uuid;

use crate::{Store, error::StoreError, read::column};

struct Row {
    instance_id: Uuid,
    role: String,
    address: String,
    role_age: f64,
    seen_age: f64,
}

impl TryFrom<Row> for Instance {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let age = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok(Self {
            id: row.instance_id,
            role: column::<InstanceRole>("node_instances", row.role)?,
            address: row.address,
            role_age: age(row.role_age),
            seen_age: age(row.seen_age),
        })
    }
}

impl Store {
    /// All processes that speak as `node`.
    pub async fn instances(&self, node: NodeId) -> Result<Vec<Instance>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT instance_id, role, address,
                      extract(epoch FROM clock_timestamp() - since)::float8 AS "role_age!",
                      extract(epoch FROM clock_timestamp() - seen_at)::float8 AS "seen_age!"
               FROM node_instances WHERE node_id = $1 ORDER BY since"#,
            node.0
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Instance::try_from).collect()
    }

    /// Where processes connect from that run beside the holder of a node's identity, which stands
    /// first; nodes that only one process speaks for are left out.
    pub async fn duplicates(&self) -> Result<BTreeMap<NodeId, Vec<String>>, StoreError> {
        let rows = sqlx::query!(
            "SELECT node_id, address FROM node_instances n
             WHERE (role = 'holder' OR seen_at > clock_timestamp() - make_interval(secs => $1))
               AND EXISTS (SELECT FROM node_instances r
                   WHERE r.node_id = n.node_id AND r.role = 'refused'
                     AND r.seen_at > clock_timestamp() - make_interval(secs => $1))
             ORDER BY node_id, role = 'holder' DESC, since",
            OTHERS_LIFE.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        let mut duplicates = BTreeMap::<NodeId, Vec<String>>::new();
        for row in rows {
            let addresses = duplicates.entry(NodeId(row.node_id)).or_default();
            // A copy that was restarted counts once.
            if addresses.len() < 2 || !addresses[1..].contains(&row.address) {
                addresses.push(row.address);
            }
        }
        Ok(duplicates)
    }

    /// Takes in that the process `me` opens a stream as `node`, and says what it is.
    pub async fn instance_arrives(
        &self,
        node: NodeId,
        me: Uuid,
        address: &str,
    ) -> Result<InstanceRole, StoreError> {
        sqlx::query!(
            "DELETE FROM node_instances WHERE node_id = $1 AND role <> 'holder'
                AND seen_at < clock_timestamp() - make_interval(secs => $2)",
            node.0,
            OTHERS_LIFE.as_secs_f64()
        )
        .execute(&self.pool)
        .await?;
        let role = arrive(&self.instances(node).await?, me);
        // The index that allows one holder decides between two that arrive at once.
        let kept = sqlx::query!(
            "INSERT INTO node_instances (node_id, instance_id, role, address)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (node_id, instance_id) DO UPDATE SET
                 address = excluded.address, role = excluded.role, seen_at = clock_timestamp(),
                 since = CASE WHEN node_instances.role = excluded.role
                         THEN node_instances.since ELSE clock_timestamp() END",
            node.0,
            me,
            role.as_str(),
            address
        )
        .execute(&self.pool)
        .await;
        match kept {
            Err(error) if role == InstanceRole::Holder && is_second_holder(&error) => {
                Box::pin(self.instance_arrives(node, me, address)).await
            }
            kept => kept.map(|_| role).map_err(StoreError::from),
        }
    }

    /// The holder `me` has proved that it is alive: these others are refused. Says how many of them
    /// were not refused before.
    pub async fn instance_proved(
        &self,
        node: NodeId,
        me: Uuid,
        others: &[Uuid],
    ) -> Result<u64, StoreError> {
        let still = sqlx::query!(
            "UPDATE node_instances SET seen_at = clock_timestamp()
             WHERE node_id = $1 AND instance_id = $2 AND role = 'holder'",
            node.0,
            me
        )
        .execute(&self.pool)
        .await?;
        if still.rows_affected() == 0 {
            return Ok(0);
        }
        let refused = sqlx::query!(
            "UPDATE node_instances SET role = 'refused', since = clock_timestamp()
             WHERE node_id = $1 AND role = 'rival' AND instance_id = ANY($2)",
            node.0,
            others
        )
        .execute(&self.pool)
        .await?;
        Ok(refused.rows_affected())
    }

    /// The rival `me` takes the place of a holder that has proved nothing.
    pub async fn instance_takes_over(&self, node: NodeId, me: Uuid) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query!(
            "DELETE FROM node_instances WHERE node_id = $1 AND role <> 'refused' AND instance_id <> $2
                AND EXISTS (SELECT FROM node_instances
                    WHERE node_id = $1 AND instance_id = $2 AND role = 'rival')",
            node.0,
            me
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query!(
            "UPDATE node_instances
             SET role = 'holder', since = clock_timestamp(), seen_at = clock_timestamp()
             WHERE node_id = $1 AND instance_id = $2 AND role = 'rival'",
            node.0,
            me
        )
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// Whether the process `me` may not speak as `node`.
    pub async fn is_refused(&self, node: NodeId, me: Uuid) -> Result<bool, StoreError> {
        let refused = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM node_instances
                WHERE node_id = $1 AND instance_id = $2 AND role = 'refused') AS "refused!""#,
            node.0,
            me
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(refused)
    }

    /// Forgets who spoke as a node that is gone.
    pub async fn forget_instances(&self, node: NodeId) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM node_instances WHERE node_id = $1", node.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn is_second_holder(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().and_then(sqlx::error::DatabaseError::constraint);
    constraint == Some("node_instances_one_holder")
}
