//! The end of quarantine: addresses become ranges again, blocks merge into gaps.

use ipnet::{IpNet, Ipv6Net};
use sextant_model::{
    Timestamp,
    ipam::{QUARANTINE, buddy, parent},
};
use uuid::Uuid;

use super::{PgIpam, v6};
use crate::error::StoreError;

/// Addresses that one call gives back at most, so that its transaction stays short.
pub const RECLAIMED_AT_ONCE: i64 = 1000;

impl PgIpam<'_> {
    pub(super) async fn reclaim_rested(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let cutoff = now.0 - QUARANTINE;
        // The node of a workload keeps its address until it has seen the release: one that has not
        // acknowledged it, and has not itself left, may have the address live still.
        let addresses = sqlx::query_scalar!(
            r#"WITH due AS (
                 SELECT address FROM ipam_addresses a WHERE a.released_at <= $1
                 AND NOT EXISTS (
                     SELECT FROM workloads w JOIN nodes n USING (node_id)
                     LEFT JOIN node_reports r
                            ON r.node_id = n.node_id AND r.epoch = (SELECT epoch FROM stream_epoch)
                     WHERE w.workload_id = a.owner_id AND n.phase <> 'released'
                       AND (w.released_event_id IS NULL
                            OR coalesce(r.revision, 0) < w.released_event_id))
                 ORDER BY address LIMIT $2
             ), rested AS (
                 DELETE FROM ipam_addresses a USING due WHERE a.address = due.address
                 RETURNING a.block, a.address - network(a.block)::inet AS host
             ), islands AS (
                 SELECT r.block, r.host,
                        r.host - row_number() OVER (PARTITION BY r.block ORDER BY r.host) AS island
                 FROM rested r WHERE EXISTS (SELECT FROM ipam_blocks b WHERE b.block = r.block)
             ), returned AS (
                 INSERT INTO ipam_ranges (block, first, next, last, is_tail)
                 SELECT block, min(host), min(host), max(host), false
                 FROM islands GROUP BY block, island
             )
             SELECT count(*) AS "count!" FROM rested"#,
            cutoff,
            RECLAIMED_AT_ONCE
        )
        .fetch_one(&mut *self.connection)
        .await?
        .unsigned_abs();
        // What a replica of an older version has used up.
        sqlx::query!(
            "DELETE FROM ipam_ranges WHERE range_id IN (
                 SELECT range_id FROM ipam_ranges WHERE NOT is_tail AND next > last
                 LIMIT $1 FOR UPDATE SKIP LOCKED)",
            RECLAIMED_AT_ONCE
        )
        .execute(&mut *self.connection)
        .await?;
        // Pools before blocks, in the order in which deleting a network takes them.
        sqlx::query!(
            "SELECT pool_id FROM ipam_pools WHERE pool_id IN (
                 SELECT pool_id FROM ipam_blocks WHERE released_at <= $1)
             ORDER BY pool_id FOR KEY SHARE",
            cutoff
        )
        .fetch_all(&mut *self.connection)
        .await?;
        // A block goes back only when nothing inside is held or resting.
        let blocks = sqlx::query!(
            r#"DELETE FROM ipam_blocks b USING ipam_pools p
               WHERE b.pool_id = p.pool_id AND b.released_at <= $1
                 AND NOT EXISTS (SELECT FROM ipam_addresses a WHERE a.address << b.block)
               RETURNING b.block AS "block: IpNet", b.pool_id, p.prefix AS "prefix: IpNet""#,
            cutoff
        )
        .fetch_all(&mut *self.connection)
        .await?;
        for freed in &blocks {
            self.give_back(freed.pool_id, v6(freed.prefix)?, v6(freed.block)?).await?;
        }
        Ok(addresses + blocks.len() as u64)
    }

    /// Merges the block with its free buddies as far as it goes, within the pool.
    async fn give_back(
        &mut self,
        pool: Uuid,
        prefix: Ipv6Net,
        mut block: Ipv6Net,
    ) -> Result<(), StoreError> {
        while block.prefix_len() > prefix.prefix_len() {
            let Some((buddy, parent)) = buddy(block).zip(parent(block)) else { break };
            let merged = sqlx::query!(
                "DELETE FROM ipam_gaps WHERE pool_id = $1 AND gap = $2",
                pool,
                IpNet::V6(buddy)
            )
            .execute(&mut *self.connection)
            .await?;
            if merged.rows_affected() == 0 {
                break;
            }
            block = parent;
        }
        self.insert_gaps(pool, &[block]).await
    }
}
