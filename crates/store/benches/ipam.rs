//! Addresses per second from one block: with one caller and with sixteen, in an empty block and
//! with a million addresses allocated; and prefixes likewise. One transaction per allocation, as
//! commands do it.
//!
//! Run it with `cargo xtask bench ipam [-- --seconds N --rounds N --allocated N]`.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use ipnet::Ipv6Net;
use sextant_lab::postgres::{PostgresOptions, ScratchPostgres};
use sextant_model::ipam::Ipam;
use sextant_store::{ConnectOptions, Store};
use uuid::Uuid;

#[derive(Clone, Debug, Parser)]
struct Options {
    /// How long each measurement takes.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Rounds; medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Addresses that are there already in the full block.
    #[arg(long, default_value_t = 1_000_000)]
    allocated: u64,
    /// Prefixes that are there already in the full pool.
    #[arg(long, default_value_t = 100_000)]
    blocks: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Target {
    Addresses(Ipv6Net),
    Prefixes(Uuid),
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let folder = tempfile::tempdir().expect("folder");
    let server =
        ScratchPostgres::start(folder.path(), PostgresOptions::default()).expect("Postgres");
    server.create_database("bench").expect("database");
    let url = server.url("bench", "postgres");
    Store::migrate(&url, None).await.expect("migrated");
    let mut connect = ConnectOptions::new(&url);
    connect.max_connections = 20;
    let store = Store::connect(&connect).expect("store");
    let raw = sqlx::PgPool::connect(&url).await.expect("pool");

    let empty_pool = pool(&store, "fd00:1::/32").await;
    let full_pool = pool(&store, "fd00:2::/32").await;
    let empty = block(&store, empty_pool).await;
    let full = block(&store, full_pool).await;
    say(&format!(
        "allocating {} addresses and {} prefixes first …",
        options.allocated, options.blocks
    ));
    fill_block(&raw, full, options.allocated).await;
    fill_pool(&store, full_pool, options.blocks).await;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&raw).await.expect("analyzed");

    for (what, targets) in [
        ("addresses", [Target::Addresses(empty), Target::Addresses(full)]),
        ("prefixes", [Target::Prefixes(empty_pool), Target::Prefixes(full_pool)]),
    ] {
        let mut rates: [Vec<f64>; 4] = Default::default();
        for _ in 0..options.rounds {
            let cases = [(1, targets[0]), (16, targets[0]), (1, targets[1]), (16, targets[1])];
            for ((callers, target), rates) in cases.into_iter().zip(&mut rates) {
                rates.push(measure(&store, target, callers, options.seconds).await);
            }
        }
        report(what, &options, rates.map(median));
    }
    drop(store);
    raw.close().await;
    server.stop().expect("stopped");
}

async fn pool(store: &Store, prefix: &str) -> Uuid {
    let id = Uuid::now_v7();
    let prefix: Ipv6Net = prefix.parse().expect("prefix");
    let mut unit = store.begin();
    unit.ipam().await.expect("ipam").create_pool(id, prefix.trunc()).await.expect("pool");
    unit.commit().await.expect("committed");
    id
}

async fn block(store: &Store, pool: Uuid) -> Ipv6Net {
    let mut unit = store.begin();
    let block = unit
        .ipam()
        .await
        .expect("ipam")
        .allocate_block(pool, 64, Uuid::now_v7())
        .await
        .expect("block");
    unit.commit().await.expect("committed");
    block
}

/// The rows a million calls would have left behind, in one statement.
async fn fill_block(raw: &sqlx::PgPool, block: Ipv6Net, count: u64) {
    let statement = format!(
        "INSERT INTO ipam_addresses (address, block, owner_id)
         SELECT set_masklen('{block}'::cidr::inet, 128) + n, '{block}', gen_random_uuid()
         FROM generate_series(1, {count}) n;
         DELETE FROM ipam_ranges WHERE block = '{block}' AND NOT is_tail;
         UPDATE ipam_ranges SET next = {count} + 1 WHERE block = '{block}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(raw).await.expect("filled");
}

async fn fill_pool(store: &Store, pool: Uuid, count: u64) {
    let mut left = count;
    while left > 0 {
        let mut unit = store.begin();
        for _ in 0..left.min(1000) {
            unit.ipam()
                .await
                .expect("ipam")
                .allocate_block(pool, 64, Uuid::now_v7())
                .await
                .expect("block");
        }
        unit.commit().await.expect("committed");
        left = left.saturating_sub(1000);
    }
}

async fn measure(store: &Store, target: Target, callers: u32, seconds: u64) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let time = Duration::from_secs(seconds);
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (store, done) = (store.clone(), done.clone());
            tokio::spawn(async move {
                while started.elapsed() < time {
                    let mut unit = store.begin();
                    let owner = Uuid::now_v7();
                    match target {
                        Target::Addresses(block) => unit
                            .ipam()
                            .await
                            .expect("ipam")
                            .allocate_address(block, owner)
                            .await
                            .map(drop),
                        Target::Prefixes(pool) => unit
                            .ipam()
                            .await
                            .expect("ipam")
                            .allocate_block(pool, 64, owner)
                            .await
                            .map(drop),
                    }
                    .expect("allocated");
                    unit.commit().await.expect("committed");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("caller");
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    rate
}

fn report(what: &str, options: &Options, rates: [f64; 4]) {
    let there = if what == "addresses" { options.allocated } else { options.blocks };
    say(&format!(
        "\n{what}: median of {} rounds of {} s, fsync on",
        options.rounds, options.seconds
    ));
    let names = ["1 caller, empty", "16 callers, empty", "1 caller, full", "16 callers, full"];
    for (name, rate) in names.iter().zip(rates) {
        say(&format!("{name:<18}{rate:>8.0} per second{:>8.2} of the first", rate / rates[0]));
    }
    let verdict = if rates[3] >= rates[0] / 2.0 { "reached" } else { "MISSED" };
    say(&format!("goal: with {there} there and 16 callers at least 0.50 of the first: {verdict}"));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
