//! Workloads that have not been withdrawn, and the numbers of releases: what must be known exactly
//! by the command that decides, and is written with its events.

use std::collections::BTreeMap;

use sextant_model::{
    DnsLabel, EnvironmentId, NetworkId, NodeId, ReleaseId, Timestamp, WorkloadId,
    event::WorkloadHealth, placement::Load,
};

use uuid::Uuid;

use crate::{Store, error::StoreError, read::column, unit::Unit};

/// A workload that has not been withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Which workload.
    pub workload_id: WorkloadId,
    /// Which environment runs in it.
    pub environment_id: EnvironmentId,
    /// The release that placed it, with its number; none if it was registered by itself.
    pub release: Option<(ReleaseId, i32)>,
    /// What it runs.
    pub process_type: DnsLabel,
    /// The network it lives in.
    pub network_id: NetworkId,
    /// Where it runs.
    pub node_id: NodeId,
    /// How it is.
    pub health: WorkloadHealth,
}

/// A release that no later one has replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRelease {
    /// Which release.
    pub release_id: ReleaseId,
    /// Counts the environment's releases, from 1.
    pub number: i32,
}

impl Unit {
    /// Keeps what one release, or nobody, has placed in one environment.
    pub async fn add_placements(&mut self, placements: &[Placement]) -> Result<(), StoreError> {
        let Some(first) = placements.first() else { return Ok(()) };
        let column =
            |value: fn(&Placement) -> Uuid| placements.iter().map(value).collect::<Vec<_>>();
        let types: Vec<_> = placements.iter().map(|p| p.process_type.to_string()).collect();
        let healths: Vec<_> = placements.iter().map(|p| p.health.as_str().to_owned()).collect();
        sqlx::query!(
            "INSERT INTO placements (workload_id, environment_id, release_id, release_number,
                                     process_type, network_id, node_id, health)
             SELECT p.workload_id, $1, $2, $3, p.process_type, p.network_id, p.node_id, p.health
             FROM unnest($4::uuid[], $5::text[], $6::uuid[], $7::uuid[], $8::text[])
                  AS p (workload_id, process_type, network_id, node_id, health)",
            first.environment_id.0,
            first.release.map(|(id, _)| id.0),
            first.release.map(|(_, number)| number),
            &column(|p| p.workload_id.0),
            &types,
            &column(|p| p.network_id.0),
            &column(|p| p.node_id.0),
            &healths
        )
        .execute(self.open().await?)
        .await?;
        Ok(())
    }

    /// Keeps how workloads are.
    pub async fn set_placement_health(
        &mut self,
        workloads: &[WorkloadId],
        health: WorkloadHealth,
    ) -> Result<(), StoreError> {
        let ids: Vec<_> = workloads.iter().map(|id| id.0).collect();
        sqlx::query!(
            "UPDATE placements SET health = $2 WHERE workload_id = ANY($1)",
            &ids,
            health.as_str()
        )
        .execute(self.open().await?)
        .await?;
        Ok(())
    }

    /// Forgets workloads that were withdrawn.
    pub async fn remove_placements(&mut self, workloads: &[Uuid]) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM placements WHERE workload_id = ANY($1)", workloads)
            .execute(self.open().await?)
            .await?;
        Ok(())
    }

    /// What runs in an environment now.
    pub async fn placements_in(
        &mut self,
        environment: EnvironmentId,
    ) -> Result<Vec<Placement>, StoreError> {
        let rows = sqlx::query!(
            "SELECT workload_id, release_id, release_number, process_type, network_id, node_id,
                    health
             FROM placements WHERE environment_id = $1 ORDER BY workload_id",
            environment.0
        )
        .fetch_all(self.open().await?)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Placement {
                    workload_id: WorkloadId(row.workload_id),
                    environment_id: environment,
                    release: row.release_id.map(ReleaseId).zip(row.release_number),
                    process_type: column("placements", row.process_type)?,
                    network_id: NetworkId(row.network_id),
                    node_id: NodeId(row.node_id),
                    health: column("placements", row.health)?,
                })
            })
            .collect()
    }

    /// What runs on a node now.
    pub async fn placements_on(&mut self, node: NodeId) -> Result<Vec<WorkloadId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "SELECT workload_id FROM placements WHERE node_id = $1 ORDER BY workload_id",
            node.0
        )
        .fetch_all(self.open().await?)
        .await?;
        Ok(ids.into_iter().map(WorkloadId).collect())
    }

    /// Active nodes of a network with the role worker, and what they carry, without what releases
    /// of `environment` have placed if `replacing` them. A node may have begun to leave meanwhile.
    pub async fn workers(
        &mut self,
        network: NetworkId,
        environment: EnvironmentId,
        replacing: bool,
    ) -> Result<BTreeMap<NodeId, Load>, StoreError> {
        let nodes = sqlx::query!(
            r#"SELECT n.node_id, coalesce(r.reported_at, n.enrolled_at) AS "last_contact!",
                      (SELECT count(*) FROM placements p WHERE p.node_id = n.node_id) AS "total!"
               FROM nodes n LEFT JOIN node_reports r USING (node_id)
               WHERE n.network_id = $1 AND n.phase = 'active' AND 'worker' = ANY(n.roles)"#,
            network.0
        )
        .fetch_all(self.open().await?)
        .await?;
        let load = |last_contact, total: i64| Load {
            last_contact: Timestamp(last_contact),
            total: total.unsigned_abs(),
            own: BTreeMap::new(),
        };
        let nodes = nodes.into_iter();
        let mut loads: BTreeMap<NodeId, Load> =
            nodes.map(|row| (NodeId(row.node_id), load(row.last_contact, row.total))).collect();
        let own = sqlx::query!(
            r#"SELECT node_id, process_type, count(*) AS "count!" FROM placements
               WHERE environment_id = $1 AND NOT ($2 AND release_id IS NOT NULL)
               GROUP BY node_id, process_type"#,
            environment.0,
            replacing
        )
        .fetch_all(self.open().await?)
        .await?;
        for row in own {
            if let Some(load) = loads.get_mut(&NodeId(row.node_id)) {
                let process_type = column("placements", row.process_type)?;
                load.own.insert(process_type, row.count.unsigned_abs());
            }
        }
        Ok(loads)
    }

    /// Gives a release the next number of its environment, which the caller has seized.
    pub async fn number_release(
        &mut self,
        environment: EnvironmentId,
        release: ReleaseId,
    ) -> Result<i32, StoreError> {
        let number = sqlx::query_scalar!(
            "INSERT INTO release_numbers (environment_id, number, release_id)
             SELECT $1, coalesce(max(number), 0) + 1, $2 FROM release_numbers
             WHERE environment_id = $1 RETURNING number",
            environment.0,
            release.0
        )
        .fetch_one(self.open().await?)
        .await?;
        Ok(number)
    }

    /// Releases of an environment that no later one has replaced, oldest first.
    pub async fn open_releases(
        &mut self,
        environment: EnvironmentId,
    ) -> Result<Vec<OpenRelease>, StoreError> {
        let rows = sqlx::query!(
            "SELECT release_id, number FROM release_numbers
             WHERE environment_id = $1 AND NOT superseded ORDER BY number",
            environment.0
        )
        .fetch_all(self.open().await?)
        .await?;
        let open = |id, number| OpenRelease { release_id: ReleaseId(id), number };
        Ok(rows.into_iter().map(|row| open(row.release_id, row.number)).collect())
    }

    /// Keeps that the release of this number has replaced all that came before it.
    pub async fn close_releases_before(
        &mut self,
        environment: EnvironmentId,
        number: i32,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE release_numbers SET superseded = true
             WHERE environment_id = $1 AND number < $2 AND NOT superseded",
            environment.0,
            number
        )
        .execute(self.open().await?)
        .await?;
        Ok(())
    }
}

impl Store {
    /// Workloads on a node whose address was not known to be live, by environment.
    pub async fn starting_workloads(
        &self,
        node: NodeId,
    ) -> Result<BTreeMap<EnvironmentId, Vec<WorkloadId>>, StoreError> {
        let rows = sqlx::query!(
            "SELECT workload_id, environment_id FROM placements
             WHERE node_id = $1 AND health = 'starting' ORDER BY workload_id",
            node.0
        )
        .fetch_all(&self.pool)
        .await?;
        let mut starting = BTreeMap::<_, Vec<_>>::new();
        for row in rows {
            let environment = starting.entry(EnvironmentId(row.environment_id)).or_default();
            environment.push(WorkloadId(row.workload_id));
        }
        Ok(starting)
    }

    /// Workloads withdrawn at `before` or earlier that nobody sends to any more: their addresses
    /// may be released.
    ///
    /// The node a workload ran on must have acknowledged the withdrawal; one that has itself left
    /// must be released, which says that its peers have dropped it. Every edge of the network that
    /// was there before must have acknowledged it too (see [`Store::edges_acknowledged`]).
    ///
    /// At most `limit`, the first of every org before the second of any: what one org has withdrawn
    /// does not hold up what another has.
    pub async fn releasable_workloads(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<WorkloadId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "SELECT w.workload_id FROM workloads w
             JOIN nodes n USING (node_id)
             LEFT JOIN node_reports r
                    ON r.node_id = n.node_id AND r.epoch = (SELECT epoch FROM stream_epoch)
             JOIN events e ON e.event_id = w.withdrawn_event_id
             WHERE w.phase = 'withdrawn' AND e.occurred_at <= $1 AND CASE n.phase
                 WHEN 'active' THEN coalesce(r.revision, 0) >= w.withdrawn_event_id
                 ELSE n.phase = 'released' END
               AND NOT EXISTS (
                 SELECT FROM nodes edge
                 LEFT JOIN edge_reports s
                        ON s.node_id = edge.node_id AND s.epoch = (SELECT epoch FROM stream_epoch)
                 WHERE edge.network_id = w.network_id AND edge.phase = 'active'
                   AND 'edge' = ANY(edge.roles) AND edge.enrolled_event_id < w.withdrawn_event_id
                   AND coalesce(s.revision, 0) < w.withdrawn_event_id)
             ORDER BY row_number() OVER (PARTITION BY w.org_id ORDER BY w.workload_id),
                      w.workload_id
             LIMIT $2",
            before.0,
            i64::try_from(limit).unwrap_or(i64::MAX)
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(WorkloadId).collect())
    }
}
