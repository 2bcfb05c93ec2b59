//! The allocator in memory: the reference the Postgres one is held against.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use ipnet::Ipv6Net;
use uuid::Uuid;

use super::{Ipam, IpamRefusal, QUARANTINE, address, buddy, cut, last_host, parent};
use crate::timestamp::Timestamp;

/// Pools, blocks and addresses in maps.
#[derive(Debug, Default)]
pub struct MemoryIpam {
    pools: BTreeMap<Uuid, Pool>,
    blocks: BTreeMap<Ipv6Net, Block>,
}

#[derive(Debug)]
struct Pool {
    prefix: Ipv6Net,
    /// Free blocks, largest first, then lowest: the order bisection takes them in.
    free: BTreeSet<(u8, Ipv6Addr)>,
}

#[derive(Debug)]
struct Block {
    pool: Uuid,
    holding: Holding,
    hosts: BTreeMap<i64, Holding>,
    free_hosts: BTreeSet<i64>,
    next_host: i64,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    owner: Uuid,
    released_at: Option<Timestamp>,
}

impl Holding {
    fn held_by(owner: Uuid) -> Self {
        Self { owner, released_at: None }
    }

    fn is_held_by(&self, owner: Uuid) -> bool {
        self.owner == owner && self.released_at.is_none()
    }

    fn release(&mut self, owner: Uuid, now: Timestamp) {
        if self.is_held_by(owner) {
            self.released_at = Some(now);
        }
    }

    fn rested(&self, now: Timestamp) -> bool {
        self.released_at.is_some_and(|at| now >= at.after(QUARANTINE))
    }
}

impl Pool {
    fn give_back(&mut self, mut block: Ipv6Net) {
        while block.prefix_len() > self.prefix.prefix_len() {
            let Some((buddy, parent)) = buddy(block).zip(parent(block)) else { break };
            if !self.free.remove(&(buddy.prefix_len(), buddy.network())) {
                break;
            }
            block = parent;
        }
        self.free.insert((block.prefix_len(), block.network()));
    }
}

impl Ipam for MemoryIpam {
    type Error = IpamRefusal;

    async fn create_pool(&mut self, pool: Uuid, prefix: Ipv6Net) -> Result<(), IpamRefusal> {
        let overlaps =
            |other: &Pool| other.prefix.contains(&prefix) || prefix.contains(&other.prefix);
        if self.pools.values().any(overlaps) {
            return Err(IpamRefusal::Overlap(prefix));
        }
        let free = BTreeSet::from([(prefix.prefix_len(), prefix.network())]);
        self.pools.insert(pool, Pool { prefix, free });
        Ok(())
    }

    async fn delete_pool(&mut self, pool: Uuid) -> Result<(), IpamRefusal> {
        let in_use = |block: &Block| block.pool == pool && block.holding.released_at.is_none();
        if self.blocks.values().any(in_use) {
            return Err(IpamRefusal::PoolInUse(pool));
        }
        self.pools.remove(&pool).ok_or(IpamRefusal::PoolUnknown(pool))?;
        self.blocks.retain(|_, block| block.pool != pool);
        Ok(())
    }

    async fn allocate_block(
        &mut self,
        pool: Uuid,
        length: u8,
        owner: Uuid,
    ) -> Result<Ipv6Net, IpamRefusal> {
        let held =
            |(_, block): &(&Ipv6Net, &Block)| block.pool == pool && block.holding.is_held_by(owner);
        if let Some((net, _)) = self.blocks.iter().find(held) {
            return Ok(*net);
        }
        let entry = self.pools.get_mut(&pool).ok_or(IpamRefusal::PoolUnknown(pool))?;
        if !(entry.prefix.prefix_len()..=128).contains(&length) {
            return Err(IpamRefusal::Length(length));
        }
        let exhausted = IpamRefusal::PoolExhausted { pool, length };
        let largest = *entry.free.first().ok_or(exhausted.clone())?;
        let free = Ipv6Net::new(largest.1, largest.0).map_err(|_| exhausted.clone())?;
        let (net, siblings) = cut(free, length).ok_or(exhausted)?;
        entry.free.remove(&largest);
        entry.free.extend(siblings.iter().map(|net| (net.prefix_len(), net.network())));
        let block = Block {
            pool,
            holding: Holding::held_by(owner),
            hosts: BTreeMap::new(),
            free_hosts: BTreeSet::new(),
            next_host: 1,
        };
        self.blocks.insert(net, block);
        Ok(net)
    }

    async fn allocate_address(
        &mut self,
        block: Ipv6Net,
        owner: Uuid,
    ) -> Result<Ipv6Addr, IpamRefusal> {
        let entry = self.blocks.get_mut(&block).ok_or(IpamRefusal::BlockUnknown(block))?;
        if let Some((host, _)) = entry.hosts.iter().find(|(_, holding)| holding.is_held_by(owner)) {
            return Ok(address(block, *host));
        }
        let host = match entry.free_hosts.pop_first() {
            Some(host) => host,
            None if entry.next_host > last_host(block) => {
                return Err(IpamRefusal::BlockExhausted(block));
            }
            None => {
                entry.next_host += 1;
                entry.next_host - 1
            }
        };
        entry.hosts.insert(host, Holding::held_by(owner));
        Ok(address(block, host))
    }

    async fn release(&mut self, owner: Uuid, now: Timestamp) -> Result<(), IpamRefusal> {
        for block in self.blocks.values_mut() {
            block.holding.release(owner, now);
            for holding in block.hosts.values_mut() {
                holding.release(owner, now);
            }
        }
        Ok(())
    }

    async fn reclaim(&mut self, now: Timestamp) -> Result<u64, IpamRefusal> {
        let mut reclaimed = 0;
        for block in self.blocks.values_mut() {
            let rested: Vec<i64> =
                block.hosts.iter().filter(|(_, h)| h.rested(now)).map(|(host, _)| *host).collect();
            reclaimed += rested.len() as u64;
            for host in rested {
                block.hosts.remove(&host);
                block.free_hosts.insert(host);
            }
        }
        // A block goes back only when nothing inside is held or resting.
        let rested = |block: &Block| block.holding.rested(now) && block.hosts.is_empty();
        let free: Vec<(Ipv6Net, Uuid)> =
            self.blocks.iter().filter(|(_, b)| rested(b)).map(|(net, b)| (*net, b.pool)).collect();
        reclaimed += free.len() as u64;
        for (net, pool) in free {
            self.blocks.remove(&net);
            if let Some(pool) = self.pools.get_mut(&pool) {
                pool.give_back(net);
            }
        }
        Ok(reclaimed)
    }
}
