//! The allocator on Postgres. Exclusion and unique constraints make overlap impossible even if
//! this code is wrong; `SKIP LOCKED` lets parallel callers take different gaps and ranges.
//!
//! Host numbers come from *ranges*. A caller takes the next number of the lowest range that no
//! other transaction holds; if all are held, it carves a new range off the block's tail in a short
//! transaction of its own, so nobody waits for another caller's commit.

mod reclaim;

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};
use sextant_model::{
    Timestamp,
    ipam::{Ipam, IpamRefusal, cut, last_host},
};

use uuid::Uuid;

use crate::{
    error::StoreError,
    session::{PgConnection, Pool},
};

/// Host numbers a range is carved with: the slack parallel callers may leave in a block.
const RANGE: i64 = 64;

/// The allocator inside one transaction.
#[derive(Debug)]
pub struct PgIpam<'u> {
    pub(crate) connection: &'u mut PgConnection,
    pub(crate) carver: &'u Pool,
}

impl Ipam for PgIpam<'_> {
    type Error = StoreError;

    async fn create_pool(&mut self, pool: Uuid, prefix: Ipv6Net) -> Result<(), StoreError> {
        let created = sqlx::query!(
            "INSERT INTO ipam_pools (pool_id, prefix) VALUES ($1, $2)",
            pool,
            IpNet::V6(prefix)
        )
        .execute(&mut *self.connection)
        .await;
        match created.map_err(StoreError::from) {
            Err(StoreError::PrefixTaken) => return Err(IpamRefusal::Overlap(prefix).into()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.insert_gaps(pool, &[prefix]).await
    }

    async fn delete_pool(&mut self, pool: Uuid) -> Result<(), StoreError> {
        let prefix = sqlx::query_scalar!(
            r#"SELECT prefix AS "prefix: IpNet" FROM ipam_pools WHERE pool_id = $1 FOR UPDATE"#,
            pool
        )
        .fetch_optional(&mut *self.connection)
        .await?
        .ok_or(IpamRefusal::PoolUnknown(pool))?;
        // A statement of its own: the lock may have waited for an allocation, and only a snapshot
        // taken afterwards shows it.
        if self.blocks_in_use(pool).await? > 0 {
            return Err(IpamRefusal::PoolInUse(pool).into());
        }
        sqlx::query!("DELETE FROM ipam_addresses WHERE address << $1", prefix)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query!(
            "DELETE FROM ipam_blocks WHERE pool_id = $1 AND released_at IS NOT NULL",
            pool
        )
        .execute(&mut *self.connection)
        .await?;
        sqlx::query!("DELETE FROM ipam_pools WHERE pool_id = $1", pool)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn allocate_block(
        &mut self,
        pool: Uuid,
        length: u8,
        owner: Uuid,
    ) -> Result<Ipv6Net, StoreError> {
        let held = sqlx::query_scalar!(
            r#"SELECT block AS "block: IpNet" FROM ipam_blocks
               WHERE pool_id = $1 AND owner_id = $2 AND released_at IS NULL"#,
            pool,
            owner
        )
        .fetch_optional(&mut *self.connection)
        .await?;
        if let Some(block) = held {
            return v6(block);
        }
        let Some(gap) = self.take_gap(pool, length).await? else {
            return Err(self.no_gap(pool, length).await?.into());
        };
        let exhausted = IpamRefusal::PoolExhausted { pool, length };
        let (block, siblings) = cut(gap, length).ok_or(exhausted)?;
        self.insert_gaps(pool, &siblings).await?;
        let last = last_host(block);
        // The first range comes with the block, so that its owner need not carve one.
        sqlx::query!(
            "WITH block AS (
                 INSERT INTO ipam_blocks (block, pool_id, owner_id) VALUES ($1, $2, $3)
                 RETURNING block
             )
             INSERT INTO ipam_ranges (block, first, next, last, is_tail)
             SELECT block, r.first, r.first, r.last, r.is_tail
             FROM block, (VALUES (1::bigint, least($4, $5::bigint), false),
                                 ($4 + 1, $5, true)) AS r (first, last, is_tail)
             WHERE r.first <= r.last",
            IpNet::V6(block),
            pool,
            owner,
            RANGE,
            last
        )
        .execute(&mut *self.connection)
        .await?;
        Ok(block)
    }

    async fn allocate_address(
        &mut self,
        block: Ipv6Net,
        owner: Uuid,
    ) -> Result<Ipv6Addr, StoreError> {
        let held = sqlx::query_scalar!(
            r#"SELECT address AS "address: IpNet" FROM ipam_addresses
               WHERE block = $1 AND owner_id = $2 AND released_at IS NULL"#,
            IpNet::V6(block),
            owner
        )
        .fetch_optional(&mut *self.connection)
        .await?;
        if let Some(address) = held {
            return Ok(v6(address)?.addr());
        }
        loop {
            if let Some(address) = self.take_host(block, owner).await? {
                return Ok(address);
            }
            match self.carve(block).await? {
                Carved::Range => {}
                Carved::Nothing => {
                    // Every range is held by others: wait for one of them.
                    if !self.await_range(block).await? {
                        return Err(self.no_host(block).await?.into());
                    }
                }
            }
        }
    }

    async fn release(&mut self, owner: Uuid, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE ipam_addresses SET released_at = $2 WHERE owner_id = $1 AND released_at IS NULL",
            owner,
            now.0
        )
        .execute(&mut *self.connection)
        .await?;
        sqlx::query!(
            "UPDATE ipam_blocks SET released_at = $2 WHERE owner_id = $1 AND released_at IS NULL",
            owner,
            now.0
        )
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn reclaim(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        self.reclaim_rested(now).await
    }
}

enum Carved {
    /// There is a new range.
    Range,
    /// The tail is used up.
    Nothing,
}

impl PgIpam<'_> {
    /// Nodes that hold a prefix of the pool now.
    pub async fn blocks_in_use(&mut self, pool: Uuid) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM ipam_blocks WHERE pool_id = $1 AND released_at IS NULL"#,
            pool
        )
        .fetch_one(&mut *self.connection)
        .await?;
        Ok(count.unsigned_abs())
    }

    async fn insert_gaps(&mut self, pool: Uuid, gaps: &[Ipv6Net]) -> Result<(), StoreError> {
        let gaps: Vec<IpNet> = gaps.iter().copied().map(IpNet::V6).collect();
        sqlx::query!(
            "INSERT INTO ipam_gaps (pool_id, gap) SELECT $1, unnest($2::cidr[])",
            pool,
            &gaps
        )
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// Takes the largest, lowest gap that is free of other callers; waits for one if all are held.
    async fn take_gap(&mut self, pool: Uuid, length: u8) -> Result<Option<Ipv6Net>, StoreError> {
        loop {
            let gap = sqlx::query_scalar!(
                r#"DELETE FROM ipam_gaps WHERE pool_id = $1 AND gap = (
                       SELECT gap FROM ipam_gaps WHERE pool_id = $1 AND masklen(gap) <= $2
                       ORDER BY masklen(gap), gap LIMIT 1 FOR UPDATE SKIP LOCKED
                   ) RETURNING gap AS "gap: IpNet""#,
                pool,
                i32::from(length)
            )
            .fetch_optional(&mut *self.connection)
            .await?;
            if let Some(gap) = gap {
                return v6(gap).map(Some);
            }
            // Two statements: once the wait is over, a fresh look at what the other one left.
            let held = sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT FROM ipam_gaps WHERE pool_id = $1 AND masklen(gap) <= $2)
                   AS "held!""#,
                pool,
                i32::from(length)
            )
            .fetch_one(&mut *self.connection)
            .await?;
            if !held {
                return Ok(None);
            }
            sqlx::query!(
                "SELECT gap FROM ipam_gaps WHERE pool_id = $1 AND masklen(gap) <= $2
                 ORDER BY masklen(gap), gap LIMIT 1 FOR UPDATE",
                pool,
                i32::from(length)
            )
            .fetch_optional(&mut *self.connection)
            .await?;
        }
    }

    async fn no_gap(&mut self, pool: Uuid, length: u8) -> Result<IpamRefusal, StoreError> {
        let prefix = sqlx::query_scalar!(
            r#"SELECT prefix AS "prefix: IpNet" FROM ipam_pools WHERE pool_id = $1"#,
            pool
        )
        .fetch_optional(&mut *self.connection)
        .await?;
        Ok(match prefix {
            None => IpamRefusal::PoolUnknown(pool),
            Some(prefix) if length < prefix.prefix_len() || length > 128 => {
                IpamRefusal::Length(length)
            }
            Some(_) => IpamRefusal::PoolExhausted { pool, length },
        })
    }

    async fn take_host(
        &mut self,
        block: Ipv6Net,
        owner: Uuid,
    ) -> Result<Option<Ipv6Addr>, StoreError> {
        let address = sqlx::query_scalar!(
            r#"WITH free AS (
                   SELECT range_id FROM ipam_ranges
                   WHERE block = $1 AND NOT is_tail AND next <= last
                   ORDER BY first LIMIT 1 FOR UPDATE SKIP LOCKED
               ), taken AS (
                   UPDATE ipam_ranges r SET next = r.next + 1 FROM free
                   WHERE r.range_id = free.range_id RETURNING r.next - 1 AS host
               )
               INSERT INTO ipam_addresses (address, block, owner_id)
               SELECT set_masklen($1::cidr::inet, 128) + host, $1, $2 FROM taken
               RETURNING address AS "address: IpNet""#,
            IpNet::V6(block),
            owner
        )
        .fetch_optional(&mut *self.connection)
        .await?;
        address.map(|address| Ok(v6(address)?.addr())).transpose()
    }

    /// Adds a range from the block's tail in a transaction of its own; in this one, if the block
    /// itself is not committed yet.
    async fn carve(&mut self, block: Ipv6Net) -> Result<Carved, StoreError> {
        let mut own = self.carver.begin().await?;
        let carved = carve_on(&mut own, block).await?;
        own.commit().await?;
        match carved {
            Some(carved) => Ok(carved),
            None => Ok(carve_on(self.connection, block).await?.unwrap_or(Carved::Nothing)),
        }
    }

    /// Waits until a range with free numbers is no longer held by another transaction. `false` if
    /// there is none at all.
    async fn await_range(&mut self, block: Ipv6Net) -> Result<bool, StoreError> {
        let range = sqlx::query_scalar!(
            "SELECT range_id FROM ipam_ranges WHERE block = $1 AND NOT is_tail AND next <= last
             ORDER BY first LIMIT 1 FOR UPDATE",
            IpNet::V6(block)
        )
        .fetch_optional(&mut *self.connection)
        .await?;
        Ok(range.is_some())
    }

    async fn no_host(&mut self, block: Ipv6Net) -> Result<IpamRefusal, StoreError> {
        let exists = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM ipam_blocks WHERE block = $1) AS "exists!""#,
            IpNet::V6(block)
        )
        .fetch_one(&mut *self.connection)
        .await?;
        Ok(if exists {
            IpamRefusal::BlockExhausted(block)
        } else {
            IpamRefusal::BlockUnknown(block)
        })
    }
}

/// `None` if the block has no tail that this connection can see.
async fn carve_on(
    connection: &mut PgConnection,
    block: Ipv6Net,
) -> Result<Option<Carved>, StoreError> {
    let block = IpNet::V6(block);
    let tail = sqlx::query!(
        "SELECT range_id, next, last FROM ipam_ranges WHERE block = $1 AND is_tail FOR UPDATE",
        block
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(tail) = tail else { return Ok(None) };
    if tail.next > tail.last {
        return Ok(Some(Carved::Nothing));
    }
    let last = tail.next.saturating_add(RANGE - 1).min(tail.last);
    sqlx::query!(
        "INSERT INTO ipam_ranges (block, first, next, last, is_tail) VALUES ($1, $2, $2, $3, false)",
        block,
        tail.next,
        last
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("UPDATE ipam_ranges SET next = $2 WHERE range_id = $1", tail.range_id, last + 1)
        .execute(&mut *connection)
        .await?;
    // Used-up ranges would be stepped over by every allocation to come.
    sqlx::query!(
        "DELETE FROM ipam_ranges WHERE range_id IN (
             SELECT range_id FROM ipam_ranges WHERE block = $1 AND NOT is_tail AND next > last
             FOR UPDATE SKIP LOCKED)",
        block
    )
    .execute(&mut *connection)
    .await?;
    Ok(Some(Carved::Range))
}

fn v6(net: IpNet) -> Result<Ipv6Net, StoreError> {
    match net {
        IpNet::V6(net) => Ok(net),
        IpNet::V4(net) => Err(StoreError::Inconsistent {
            table: "ipam_blocks",
            reason: format!("\"{net}\" is not IPv6"),
        }),
    }
}
