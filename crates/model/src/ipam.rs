//! Allocation of prefixes and addresses.
//!
//! A **pool** is a network's prefix. **Blocks** are cut from it by bisection: each new block lands
//! in the middle of the largest gap (RFC 3531, leftmost), so that its neighbours can grow. Inside
//! a block **addresses** are dense from 1: nothing is ever enumerated, a /64 costs what a /124
//! costs. What is released rests in quarantine before it can be given out again, so that a host
//! with stale state never sends to a stranger.
//!
//! [`Ipam`] is implemented by [`memory::MemoryIpam`] here and on Postgres by the store; both pass
//! [`conformance`].

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod memory;

use std::{future::Future, net::Ipv6Addr, time::Duration};

use ipnet::Ipv6Net;
use uuid::Uuid;

use crate::timestamp::Timestamp;

/// How long a released prefix or address rests before it is given out again.
pub const QUARANTINE: Duration = Duration::from_secs(3600);

/// Why nothing was allocated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpamRefusal {
    /// The pool's prefix shares addresses with that of another pool.
    #[error("prefix \"{0}\" overlaps the prefix of another network; choose another one")]
    Overlap(Ipv6Net),
    /// There is no such pool.
    #[error("address pool {0} does not exist")]
    PoolUnknown(Uuid),
    /// There is no such block.
    #[error("block \"{0}\" is not allocated")]
    BlockUnknown(Ipv6Net),
    /// No gap of that size is left.
    #[error("pool {pool} has no free /{length}; give the network a shorter prefix or remove nodes")]
    PoolExhausted {
        /// Which pool.
        pool: Uuid,
        /// Length asked for.
        length: u8,
    },
    /// Every address is taken or in quarantine.
    #[error("block \"{0}\" has no free address")]
    BlockExhausted(Ipv6Net),
    /// A length that is no length inside the pool.
    #[error("/{0} is not a block length inside the pool")]
    Length(u8),
    /// Something still lives in the pool.
    #[error("address pool {0} still has blocks in use")]
    PoolInUse(Uuid),
}

/// Prefixes and addresses, each with an owner.
///
/// Asking again for the same owner gives the same block or address: allocation is idempotent.
pub trait Ipam {
    /// What can go wrong besides a refusal.
    type Error: From<IpamRefusal> + std::fmt::Debug;

    /// Makes a pool of `prefix`; pools never overlap.
    fn create_pool(
        &mut self,
        pool: Uuid,
        prefix: Ipv6Net,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Removes a pool without blocks in use; what is in quarantine goes with it.
    fn delete_pool(&mut self, pool: Uuid) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Gives `owner` a block of `length` from the pool.
    fn allocate_block(
        &mut self,
        pool: Uuid,
        length: u8,
        owner: Uuid,
    ) -> impl Future<Output = Result<Ipv6Net, Self::Error>> + Send;

    /// Gives `owner` an address from the block.
    fn allocate_address(
        &mut self,
        block: Ipv6Net,
        owner: Uuid,
    ) -> impl Future<Output = Result<Ipv6Addr, Self::Error>> + Send;

    /// Puts everything `owner` holds into quarantine.
    fn release(
        &mut self,
        owner: Uuid,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Frees what was released before `now - QUARANTINE`; returns how many blocks and addresses.
    fn reclaim(&mut self, now: Timestamp) -> impl Future<Output = Result<u64, Self::Error>> + Send;
}

/// Cuts a block of `length` off the front of the free block `free`: the block, and the free
/// siblings that remain, largest first. Bisection follows from always cutting the largest free
/// block, the lowest of equals first.
///
/// `None` if `free` is too small.
pub fn cut(free: Ipv6Net, length: u8) -> Option<(Ipv6Net, Vec<Ipv6Net>)> {
    if length < free.prefix_len() || length > 128 {
        return None;
    }
    let block = Ipv6Net::new(free.network(), length).ok()?;
    let siblings = (free.prefix_len() + 1..=length).filter_map(|length| {
        let half = u128::from(free.network()) | 1u128 << (128 - u32::from(length));
        Ipv6Net::new(half.into(), length).ok()
    });
    Some((block, siblings.collect()))
}

/// The other half of the block's parent, with which it can merge; `None` at `::/0`.
pub fn buddy(block: Ipv6Net) -> Option<Ipv6Net> {
    let length = block.prefix_len();
    let bit = 1u128 << (128 - u32::from(length)).min(127);
    (length > 0)
        .then(|| Ipv6Net::new((u128::from(block.network()) ^ bit).into(), length).ok())
        .flatten()
}

/// The block and its buddy together; `None` at `::/0`.
pub fn parent(block: Ipv6Net) -> Option<Ipv6Net> {
    block.supernet()
}

/// Last host number a block can give out. Host 0 is the subnet-router anycast address (RFC 4291
/// section 2.6.1). Bounded by what a Postgres `bigint` holds, which no block will ever reach.
pub fn last_host(block: Ipv6Net) -> i64 {
    match 128 - u32::from(block.prefix_len()) {
        0 => 0,
        bits @ 1..=62 => (1 << bits) - 1,
        _ => i64::MAX,
    }
}

/// Address number `host` of the block.
pub fn address(block: Ipv6Net, host: i64) -> Ipv6Addr {
    (u128::from(block.network()) | u128::from(host.unsigned_abs())).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> Ipv6Net {
        text.parse().expect(text)
    }

    #[test]
    fn cutting_leaves_exactly_the_siblings() {
        let (block, siblings) = cut(net("fd00::/48"), 50).expect("fits");
        assert_eq!(block, net("fd00::/50"));
        assert_eq!(siblings, [net("fd00:0:0:8000::/49"), net("fd00:0:0:4000::/50")]);
        assert_eq!(cut(net("fd00::/64"), 64), Some((net("fd00::/64"), vec![])));
        assert_eq!(cut(net("fd00::/64"), 63), None);
        assert_eq!(cut(net("fd00::/64"), 129), None);
    }

    #[test]
    fn buddies_are_mutual_and_share_a_parent() {
        let (left, right) = (net("fd00::/64"), net("fd00:0:0:1::/64"));
        assert_eq!(buddy(left), Some(right));
        assert_eq!(buddy(right), Some(left));
        assert_eq!(parent(left), parent(right));
        assert_eq!(buddy(net("::/0")), None);
    }

    #[test]
    fn hosts_start_at_one_and_never_overflow() {
        assert_eq!(address(net("fd00::/64"), 1), "fd00::1".parse::<Ipv6Addr>().expect("address"));
        assert_eq!(last_host(net("fd00::/124")), 15);
        assert_eq!(last_host(net("fd00::/64")), i64::MAX);
        assert_eq!(last_host(net("fd00::1/128")), 0);
    }

    proptest! {
        #[test]
        fn a_cut_block_and_its_siblings_cover_the_free_block_without_overlap(
            bits: u128, free_length in 1u8..=100, more in 0u8..=28,
        ) {
            let free = Ipv6Net::new(bits.into(), free_length).expect("net").trunc();
            let (block, siblings) = cut(free, free_length + more).expect("fits");
            let size = |net: &Ipv6Net| 1u128 << (128 - u32::from(net.prefix_len()));
            prop_assert_eq!(size(&block) + siblings.iter().map(size).sum::<u128>(), size(&free));
            for (i, sibling) in siblings.iter().enumerate() {
                prop_assert!(free.contains(sibling));
                prop_assert!(!sibling.contains(&block));
                for other in &siblings[i + 1..] {
                    prop_assert!(!sibling.contains(other) && !other.contains(sibling));
                }
            }
        }
    }
}
