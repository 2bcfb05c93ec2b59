use std::collections::BTreeSet;

use ipnet::Ipv6Net;
use sextant_model::{
    Timestamp,
    ipam::{Ipam, IpamRefusal, conformance},
};
use sextant_store::{Store, StoreError};
use uuid::Uuid;

use crate::Fixture;

/// Each call in a transaction of its own, as commands do it.
struct Committing(Fixture);

#[derive(Debug)]
struct Failed(StoreError);

impl From<IpamRefusal> for Failed {
    fn from(refusal: IpamRefusal) -> Self {
        Self(refusal.into())
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl conformance::Refused for Failed {
    fn refusal(self) -> IpamRefusal {
        match self.0 {
            StoreError::Ipam(refusal) => refusal,
            other => panic!("not a refusal: {other}"),
        }
    }
}

macro_rules! committed {
    ($self:ident, $unit:ident => $call:expr) => {{
        let mut $unit = $self.0.store.begin();
        let result = $call.await?;
        $unit.commit().await?;
        Ok(result)
    }};
}

impl Ipam for Committing {
    type Error = Failed;

    async fn create_pool(&mut self, pool: Uuid, prefix: Ipv6Net) -> Result<(), Failed> {
        committed!(self, unit => unit.ipam().await.expect("ipam").create_pool(pool, prefix))
    }

    async fn delete_pool(&mut self, pool: Uuid) -> Result<(), Failed> {
        committed!(self, unit => unit.ipam().await.expect("ipam").delete_pool(pool))
    }

    async fn allocate_block(
        &mut self,
        pool: Uuid,
        length: u8,
        owner: Uuid,
    ) -> Result<Ipv6Net, Failed> {
        committed!(self, unit => unit.ipam().await.expect("ipam").allocate_block(pool, length, owner))
    }

    async fn allocate_address(
        &mut self,
        block: Ipv6Net,
        owner: Uuid,
    ) -> Result<std::net::Ipv6Addr, Failed> {
        committed!(self, unit => unit.ipam().await.expect("ipam").allocate_address(block, owner))
    }

    async fn release(&mut self, owner: Uuid, now: Timestamp) -> Result<(), Failed> {
        committed!(self, unit => unit.ipam().await.expect("ipam").release(owner, now))
    }

    async fn reclaim(&mut self, now: Timestamp) -> Result<u64, Failed> {
        committed!(self, unit => unit.ipam().await.expect("ipam").reclaim(now))
    }
}

#[tokio::test]
async fn the_allocator_on_postgres_keeps_every_promise() {
    conformance::every_promise(|| async { Committing(Fixture::new().await) }).await;
}

async fn pool(store: &Store, prefix: &str) -> Uuid {
    let pool = Uuid::now_v7();
    let mut unit = store.begin();
    unit.ipam()
        .await
        .expect("ipam")
        .create_pool(pool, prefix.parse().expect("prefix"))
        .await
        .expect("pool");
    unit.commit().await.expect("committed");
    pool
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_callers_never_get_the_same_block_or_address() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let pool = pool(&store, "fd00::/48").await;
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                for _ in 0..8 {
                    let mut unit = store.begin();
                    let block = unit
                        .ipam()
                        .await
                        .expect("ipam")
                        .allocate_block(pool, 64, Uuid::now_v7())
                        .await
                        .expect("block");
                    unit.commit().await.expect("committed");
                    got.push(block);
                }
                got
            })
        })
        .collect();
    let mut blocks = BTreeSet::new();
    for caller in callers {
        for block in caller.await.expect("caller") {
            assert!(blocks.insert(block), "{block} was given out twice");
        }
    }
    let block = *blocks.first().expect("a block");
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                for _ in 0..25 {
                    let mut unit = store.begin();
                    let address = unit
                        .ipam()
                        .await
                        .expect("ipam")
                        .allocate_address(block, Uuid::now_v7())
                        .await
                        .expect("address");
                    unit.commit().await.expect("committed");
                    got.push(address);
                }
                got
            })
        })
        .collect();
    let mut addresses = BTreeSet::new();
    for caller in callers {
        for address in caller.await.expect("caller") {
            assert!(addresses.insert(address), "{address} was given out twice");
        }
    }
    assert_eq!(addresses.len(), 400);
    let dense = u128::from(block.network()) + 400 + 17 * 64;
    let highest = u128::from(*addresses.last().expect("an address"));
    assert!(highest <= dense, "sixteen callers may leave sixteen ranges open, not more");
}

#[tokio::test]
async fn an_allocation_in_progress_does_not_block_another_caller() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let pool = pool(&store, "fd00::/48").await;
    let mut setup = store.begin();
    let block = setup
        .ipam()
        .await
        .expect("ipam")
        .allocate_block(pool, 64, Uuid::now_v7())
        .await
        .expect("block");
    setup.commit().await.expect("committed");

    let mut open = store.begin();
    let held = open
        .ipam()
        .await
        .expect("ipam")
        .allocate_address(block, Uuid::now_v7())
        .await
        .expect("address");
    // lock_timeout would turn waiting into an error; the other transaction stays open all along.
    let mut other = store.begin();
    let got = other
        .ipam()
        .await
        .expect("ipam")
        .allocate_address(block, Uuid::now_v7())
        .await
        .expect("not blocked");
    assert_ne!(held, got);
    other
        .ipam()
        .await
        .expect("ipam")
        .allocate_block(pool, 64, Uuid::now_v7())
        .await
        .expect("not blocked");
    other.commit().await.expect("committed");
    drop(open);
}

#[tokio::test]
async fn a_pool_is_not_deleted_under_a_block_that_is_just_being_allocated() {
    let Fixture { store, database } = Fixture::new().await;
    let pool = pool(&store, "fd00::/48").await;
    let mut allocating = store.begin();
    let ipam = allocating.ipam().await;
    ipam.expect("ipam").allocate_block(pool, 64, Uuid::now_v7()).await.expect("block");
    let deleting = tokio::spawn({
        let store = store.clone();
        async move {
            let mut unit = store.begin();
            unit.ipam().await.expect("ipam").delete_pool(pool).await?;
            unit.commit().await
        }
    });
    // Until it waits for the allocation's lock on the pool.
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let raw = sqlx::PgPool::connect(&database.url).await.expect("pool");
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&raw).await.expect("read") == 0 {
        assert!(!deleting.is_finished(), "deleted without waiting");
    }
    allocating.commit().await.expect("committed");
    let refused = deleting.await.expect("task").expect_err("the pool is in use");
    assert!(matches!(refused, StoreError::Ipam(IpamRefusal::PoolInUse(_))), "{refused}");
}

#[tokio::test]
async fn the_database_itself_refuses_overlap() {
    let fixture = Fixture::new().await;
    let pool = pool(&fixture.store, "fd00::/48").await;
    let mut unit = fixture.store.begin();
    let block = unit
        .ipam()
        .await
        .expect("ipam")
        .allocate_block(pool, 64, Uuid::now_v7())
        .await
        .expect("block");
    let address = unit
        .ipam()
        .await
        .expect("ipam")
        .allocate_address(block, Uuid::now_v7())
        .await
        .expect("address");
    unit.commit().await.expect("committed");
    let owner = fixture.raw(&fixture.database.url);
    let wider = "fd00::/60";
    for statement in [
        format!("INSERT INTO ipam_pools VALUES (gen_random_uuid(), '{wider}')"),
        format!("INSERT INTO ipam_blocks VALUES ('{wider}', '{pool}', gen_random_uuid())"),
        format!("INSERT INTO ipam_blocks VALUES ('{block}', '{pool}', gen_random_uuid())"),
        format!("INSERT INTO ipam_addresses VALUES ('{address}', '{block}', gen_random_uuid())"),
        format!("INSERT INTO ipam_addresses VALUES ('fd01::1', '{block}', gen_random_uuid())"),
    ] {
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(&owner).await;
        assert!(refused.is_err(), "accepted: {statement}");
    }
}

#[tokio::test]
async fn ranges_that_are_used_up_go_and_deploys_leave_none_behind() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let pool = Uuid::now_v7();
    let mut unit = store.begin();
    let mut ipam = unit.ipam().await.expect("ipam");
    ipam.create_pool(pool, "fd00::/48".parse().expect("prefix")).await.expect("pool");
    let block = ipam.allocate_block(pool, 64, Uuid::now_v7()).await.expect("block");
    unit.commit().await.expect("committed");
    let owner = fixture.raw(&fixture.database.url);
    let ranges = async || -> i64 {
        let count = "SELECT count(*) FROM ipam_ranges";
        sqlx::query_scalar(count).fetch_one(&owner).await.expect("count")
    };
    let start = Timestamp::from_unix_seconds(1_800_000_000).expect("time");
    let mut before: Vec<Uuid> = vec![];
    let mut seen = 0;
    // Each deploy places twenty, then the twenty before go and come back from quarantine.
    for round in 0..60_u32 {
        let now = start.after(std::time::Duration::from_secs(u64::from(round) * 7 * 86_400));
        let next: Vec<_> = (0..20).map(|_| Uuid::now_v7()).collect();
        let mut unit = store.begin();
        let mut ipam = unit.ipam().await.expect("ipam");
        let given = ipam.allocate_addresses(block, &next).await.expect("addresses");
        assert_eq!(given.values().collect::<BTreeSet<_>>().len(), 20);
        ipam.release_addresses(&before, now).await.expect("released");
        ipam.reclaim(now).await.expect("reclaimed");
        unit.commit().await.expect("committed");
        before = next;
        seen = seen.max(ranges().await);
    }
    assert!(seen <= 8, "{seen} ranges for 20 addresses in use");
    let used_up: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ipam_ranges WHERE NOT is_tail AND next > last")
            .fetch_one(&owner)
            .await
            .expect("count");
    assert_eq!(used_up, 0);
}

#[tokio::test]
async fn many_addresses_come_in_one_go_across_ranges_and_a_rollback_gives_them_back() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let pool = Uuid::now_v7();
    let mut unit = store.begin();
    let mut ipam = unit.ipam().await.expect("ipam");
    ipam.create_pool(pool, "fd00::/48".parse().expect("prefix")).await.expect("pool");
    let block = ipam.allocate_block(pool, 64, Uuid::now_v7()).await.expect("block");
    unit.commit().await.expect("committed");
    let owners: Vec<_> = (0..200).map(|_| Uuid::now_v7()).collect();
    let take = async |unit: &mut sextant_store::Unit| {
        let mut ipam = unit.ipam().await.expect("ipam");
        ipam.allocate_addresses(block, &owners).await.expect("addresses")
    };
    let mut given_up = store.begin();
    let first = take(&mut given_up).await;
    drop(given_up);
    let mut unit = store.begin();
    let second = take(&mut unit).await;
    unit.commit().await.expect("committed");
    assert_eq!(second.len(), 200);
    let given: BTreeSet<_> = second.values().collect();
    assert_eq!(given.len(), 200);
    assert!(given.iter().all(|address| block.contains(*address)));
    assert!(first.values().any(|address| given.contains(address)), "numbers were lost");
}
