//! What every [`Ipam`] must do. Each function is one test body; implementations call
//! [`every_promise`] with a fresh, empty instance per promise.

use std::{collections::BTreeSet, future::Future};

use ipnet::Ipv6Net;
use uuid::Uuid;

use super::{Ipam, IpamRefusal, QUARANTINE};
use crate::timestamp::Timestamp;

/// Turns an implementation's error into the refusal it carries, or panics with what it is.
pub trait Refused {
    /// The refusal.
    fn refusal(self) -> IpamRefusal;
}

impl Refused for IpamRefusal {
    fn refusal(self) -> IpamRefusal {
        self
    }
}

/// Runs every promise, each on its own instance from `fresh`.
pub async fn every_promise<I, F, M>(mut fresh: M)
where
    I: Ipam<Error: Refused>,
    F: Future<Output = I>,
    M: FnMut() -> F,
{
    blocks_bisect_the_pool(fresh().await).await;
    addresses_are_dense_from_one(fresh().await).await;
    allocation_is_idempotent_per_owner(fresh().await).await;
    released_things_rest_before_they_return(fresh().await).await;
    freed_blocks_merge_until_the_pool_is_whole(fresh().await).await;
    pools_never_overlap(fresh().await).await;
    exhaustion_is_a_refusal(fresh().await).await;
    unknown_pools_and_blocks_are_refused(fresh().await).await;
}

fn net(text: &str) -> Ipv6Net {
    text.parse().expect("net")
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000 + seconds).expect("time")
}

async fn blocks_bisect_the_pool<I: Ipam<Error: Refused>>(mut ipam: I) {
    ipam.create_pool(id(1), net("fd00::/48")).await.expect("pool");
    let mut blocks = Vec::new();
    for owner in 10..14 {
        blocks.push(ipam.allocate_block(id(1), 64, id(owner)).await.expect("block"));
    }
    let expected = ["fd00::/64", "fd00:0:0:8000::/64", "fd00:0:0:4000::/64", "fd00:0:0:c000::/64"];
    assert_eq!(blocks, expected.map(net), "each block lands in the middle of the largest gap");
}

async fn addresses_are_dense_from_one<I: Ipam<Error: Refused>>(mut ipam: I) {
    ipam.create_pool(id(1), net("fd00::/48")).await.expect("pool");
    let block = ipam.allocate_block(id(1), 64, id(2)).await.expect("block");
    for owner in 1u128..=100 {
        let address = ipam.allocate_address(block, id(100 + owner)).await.expect("address");
        assert_eq!(u128::from(address), u128::from(block.network()) + owner);
    }
}

async fn allocation_is_idempotent_per_owner<I: Ipam<Error: Refused>>(mut ipam: I) {
    ipam.create_pool(id(1), net("fd00::/48")).await.expect("pool");
    let block = ipam.allocate_block(id(1), 64, id(2)).await.expect("block");
    assert_eq!(ipam.allocate_block(id(1), 64, id(2)).await.expect("again"), block);
    let address = ipam.allocate_address(block, id(3)).await.expect("address");
    assert_eq!(ipam.allocate_address(block, id(3)).await.expect("again"), address);
}

async fn released_things_rest_before_they_return<I: Ipam<Error: Refused>>(mut ipam: I) {
    ipam.create_pool(id(1), net("fd00::/48")).await.expect("pool");
    let block = ipam.allocate_block(id(1), 64, id(2)).await.expect("block");
    let first = ipam.allocate_address(block, id(3)).await.expect("address");
    let second = ipam.allocate_address(block, id(4)).await.expect("address");
    ipam.release(id(3), at(0)).await.expect("released");
    let rest = i64::try_from(QUARANTINE.as_secs()).expect("seconds");
    assert_eq!(ipam.reclaim(at(rest - 1)).await.expect("reclaim"), 0);
    let third = ipam.allocate_address(block, id(5)).await.expect("address");
    assert!(third != first && third != second, "{third} is still resting");
    assert_eq!(ipam.reclaim(at(rest)).await.expect("reclaim"), 1);
    // Which address comes next is the implementation's choice; that it comes back is not.
    let mut seen = BTreeSet::new();
    for owner in 100u128..300 {
        seen.insert(ipam.allocate_address(block, id(owner)).await.expect("address"));
    }
    assert_eq!(seen.len(), 200, "an address was given out twice");
    assert!(seen.contains(&first), "{first} never came back");
    assert!(!seen.contains(&second));
}

async fn freed_blocks_merge_until_the_pool_is_whole<I: Ipam<Error: Refused>>(mut ipam: I) {
    ipam.create_pool(id(1), net("fd00::/60")).await.expect("pool");
    for owner in 10..26 {
        ipam.allocate_block(id(1), 64, id(owner)).await.expect("block");
    }
    for owner in 10..26 {
        ipam.release(id(owner), at(0)).await.expect("released");
    }
    assert_eq!(ipam.reclaim(at(2 * 3600)).await.expect("reclaim"), 16);
    let whole = ipam.allocate_block(id(1), 60, id(99)).await.expect("the pool is one piece again");
    assert_eq!(whole, net("fd00::/60"));
}

async fn pools_never_overlap<I: Ipam<Error: Refused>>(mut ipam: I) {
    ipam.create_pool(id(1), net("fd00::/48")).await.expect("pool");
    for overlapping in ["fd00::/48", "fd00::/40", "fd00:0:0:1::/60"] {
        let error = ipam.create_pool(id(2), net(overlapping)).await.expect_err("overlap");
        assert_eq!(error.refusal(), IpamRefusal::Overlap(net(overlapping)));
    }
    ipam.create_pool(id(2), net("fd00:0:1::/48")).await.expect("disjoint");
    ipam.allocate_block(id(1), 64, id(7)).await.expect("block");
    let error = ipam.delete_pool(id(1)).await.expect_err("in use");
    assert_eq!(error.refusal(), IpamRefusal::PoolInUse(id(1)));
    ipam.release(id(7), at(0)).await.expect("released");
    ipam.delete_pool(id(1)).await.expect("empty");
    ipam.create_pool(id(3), net("fd00::/47")).await.expect_err("still overlaps pool 2");
    ipam.create_pool(id(3), net("fd00::/48")).await.expect("free again");
}

async fn exhaustion_is_a_refusal<I: Ipam<Error: Refused>>(mut ipam: I) {
    ipam.create_pool(id(1), net("fd00::/60")).await.expect("pool");
    for owner in 10..26 {
        ipam.allocate_block(id(1), 64, id(owner)).await.expect("block");
    }
    let error = ipam.allocate_block(id(1), 64, id(99)).await.expect_err("full");
    assert_eq!(error.refusal(), IpamRefusal::PoolExhausted { pool: id(1), length: 64 });
    let error = ipam.allocate_block(id(1), 59, id(98)).await.expect_err("wider than the pool");
    assert_eq!(error.refusal(), IpamRefusal::Length(59));

    ipam.create_pool(id(2), net("fd01::/60")).await.expect("pool");
    let tiny = ipam.allocate_block(id(2), 124, id(200)).await.expect("block");
    for owner in 300..315 {
        ipam.allocate_address(tiny, id(owner)).await.expect("address");
    }
    let error = ipam.allocate_address(tiny, id(400)).await.expect_err("full");
    assert_eq!(error.refusal(), IpamRefusal::BlockExhausted(tiny));
}

async fn unknown_pools_and_blocks_are_refused<I: Ipam<Error: Refused>>(mut ipam: I) {
    let error = ipam.allocate_block(id(9), 64, id(1)).await.expect_err("unknown");
    assert_eq!(error.refusal(), IpamRefusal::PoolUnknown(id(9)));
    let error = ipam.allocate_address(net("fd00::/64"), id(1)).await.expect_err("unknown");
    assert_eq!(error.refusal(), IpamRefusal::BlockUnknown(net("fd00::/64")));
    let error = ipam.delete_pool(id(9)).await.expect_err("unknown");
    assert_eq!(error.refusal(), IpamRefusal::PoolUnknown(id(9)));
}
