//! Snapshots: rows and the cursor they are true at, read in one REPEATABLE READ transaction, so
//! that a follower that goes on from the cursor misses nothing and sees nothing twice.

use std::time::{Duration, Instant};

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

use uuid::Uuid;

use super::{
    RouteFilter, WorkloadFilter, boundary, networks, nodes, orgs, releases, routes, workloads,
};
use crate::{
    Store,
    error::StoreError,
    projection::Projections,
    session::{PgConnection, Transaction},
};

/// What each snapshot reads.
const MEMBERSHIP: &[&str] = &["networks", "nodes", "workloads"];
const BOUNDED: &[&str] =
    &["networks", "nodes", "orgs", "apps", "environments", "workloads", "routes"];
const PLATFORM: &[&str] = &["networks", "nodes"];
const ORG: &[&str] = &["orgs", "apps", "environments", "releases", "workloads", "routes"];
/// How long projections that stand apart may take to come together.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(2);
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// The members of a network, as node `of` needs to know them: with the addresses of its own
    /// workloads, and, if it asks for its boundary, with the environments it runs.
    pub async fn membership(
        &self,
        network: NetworkId,
        of: NodeId,
        bounded: bool,
    ) -> Result<(Cursor, Membership), StoreError> {
        let read = if bounded { BOUNDED } else { MEMBERSHIP };
        let (mut transaction, cursor) = self.frozen_at(read).await?;
        let found = networks::list(&mut transaction, Uuid::nil(), i64::MAX).await?;
        let found = found.into_iter().find(|candidate| candidate.id == network);
        let found = found.ok_or(Refusal::NotFound(AggregateKind::Network))?;
        let prefix = found.ipv6_prefix.or(found.ipv4_prefix);
        let prefix = prefix.ok_or(Refusal::NotFound(AggregateKind::Network))?;
        let (active, gone): (Vec<Node>, Vec<Node>) = nodes::of_network(&mut transaction, network)
            .await?
            .into_iter()
            .partition(|node| node.phase == NodePhase::Active);
        let boundary = if bounded {
            Some(boundary::of_node(&mut transaction, network, of).await?)
        } else {
            None
        };
        let membership = Membership {
            network_id: network,
            name: found.name,
            prefix,
            members: active.into_iter().map(|node| (node.id, member(node))).collect(),
            departed: gone.into_iter().map(|node| node.id).collect(),
            workloads: workloads::addresses_on(&mut transaction, of).await?,
            released: workloads::released_on(&mut transaction, of).await?,
            skipped: None,
            boundary,
        };
        Ok((cursor, membership))
    }

    /// Every network and node, for operators.
    pub async fn platform(&self) -> Result<(Cursor, SnapshotState), StoreError> {
        let (mut transaction, cursor) = self.frozen_at(PLATFORM).await?;
        let networks = networks::list(&mut transaction, Uuid::nil(), i64::MAX).await?;
        let nodes = nodes::list(&mut transaction, Uuid::nil(), i64::MAX).await?;
        Ok((cursor, SnapshotState::Platform { networks, nodes }))
    }

    /// What an org owns.
    pub async fn org_snapshot(&self, id: OrgId) -> Result<(Cursor, SnapshotState), StoreError> {
        let (mut transaction, cursor) = self.frozen_at(ORG).await?;
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

    /// A transaction that sees one point of the log in all of `projections`, and that point. They
    /// differ only while some of them catch up; that is waited for, within bounds.
    pub(super) async fn frozen_at(
        &self,
        projections: &[&str],
    ) -> Result<(Transaction, Cursor), StoreError> {
        let names = Projections::named(projections).names();
        let give_up = Instant::now() + CATCH_UP_LIMIT;
        loop {
            let mut transaction = self.pool.begin().await?;
            sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                .execute(&mut *transaction)
                .await?;
            if let Some(cursor) = common_checkpoint(&mut transaction, &names).await? {
                return Ok((transaction, cursor));
            }
            drop(transaction);
            if Instant::now() >= give_up {
                return Err(StoreError::Filling(format!("the projections {}", names.join(", "))));
            }
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
    }
}

/// Where the projections stand, if all of them stand there: the log up to here is in their rows, and
/// nothing after it. One cursor cannot speak for rows of several points.
async fn common_checkpoint(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<Option<Cursor>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT e.epoch, c.count AS "count!", c.filled, c.least, c.most
           FROM stream_epoch e, (
               SELECT count(*), bool_and(filled) AS filled, min(last_applied_event_id) AS least,
                      max(last_applied_event_id) AS most
               FROM projection_checkpoints WHERE projection = ANY($1)) c"#,
        names
    )
    .fetch_one(connection)
    .await?;
    let all = usize::try_from(row.count).is_ok_and(|count| count == names.len());
    let agree = all && row.filled == Some(true) && row.least == row.most;
    let event_id = row.least.filter(|_| agree);
    Ok(event_id.map(|event_id| Cursor { epoch: Epoch(row.epoch), event_id }))
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
