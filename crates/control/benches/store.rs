//! What each layer of the append path costs: the same row, one event per commit, on one Postgres
//! in one run, the rungs interleaved.
//!
//! | rung | what |
//! |---|---|
//! | raw | `pgbench`: a plain INSERT into `events`, as the owner |
//! | function | `pgbench`: `append_events`, with the version check and the writers' lock |
//! | settle | the same while a reader settles and reads as fast as it can |
//! | project | the same while the projections keep up; the clock stops when they have caught up |
//! | http | `POST /v1/enrolment-tokens` over TLS at a replica of its own process |
//!
//! Run it with `cargo xtask bench store [-- --seconds N --rounds N --clients N --connections N]`.

#[path = "ladder/http.rs"]
mod http;
#[path = "ladder/pgbench.rs"]
mod pgbench;

use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use clap::Parser;
use sextant_lab::postgres::{PostgresOptions, ScratchPostgres};
use sextant_store::{ConnectOptions, Store};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug, Parser)]
struct Options {
    /// How long each rung runs in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds; medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Sessions of pgbench.
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// Connections to the HTTP API, one request in flight on each.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const RUNGS: [&str; 5] = ["raw", "function", "settle", "project", "http"];

/// The goals, as ratios to the raw insert.
const GOALS: [Option<f64>; 5] = [None, Some(0.8), None, None, Some(0.3)];

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let folder = tempfile::tempdir().expect("folder");
    let server =
        ScratchPostgres::start(&folder.path().join("postgres"), PostgresOptions::default())
            .expect("Postgres");
    server.create_database("bench").expect("database");
    let url = server.url("bench", "postgres");
    Store::migrate(&url, None).await.expect("migrated");
    let store = Store::connect(&ConnectOptions::new(&url)).expect("store");
    let replica = http::Target::start(folder.path(), &url).await;

    let mut rates: [Vec<f64>; 5] = Default::default();
    for round in 1..=options.rounds {
        for (rung, rates) in RUNGS.iter().zip(&mut rates) {
            let rate = measure(rung, &options, &url, &store, &replica, folder.path()).await;
            say(&format!("round {round}: {rung:<9}{rate:>9.0} events/s"));
            rates.push(rate);
        }
    }
    report(&options, rates);
    drop(replica);
    drop(store);
    server.stop().expect("stopped");
}

async fn measure(
    rung: &str,
    options: &Options,
    url: &str,
    store: &Store,
    replica: &http::Target,
    folder: &Path,
) -> f64 {
    let pgbench = |script| pgbench::run(url, script, options.clients, options.seconds, folder);
    match rung {
        "raw" => pgbench(pgbench::RAW).await.rate(),
        "function" => pgbench(pgbench::FUNCTION).await.rate(),
        "settle" => {
            let stop = CancellationToken::new();
            let reader = tokio::spawn(read_as_fast_as_possible(store.clone(), stop.clone()));
            let outcome = pgbench(pgbench::FUNCTION).await;
            stop.cancel();
            let read = reader.await.expect("reader");
            assert!(read >= outcome.events, "the reader has seen {read} of {}", outcome.events);
            outcome.rate()
        }
        "project" => {
            catch_up(store).await;
            let stop = CancellationToken::new();
            let projector = tokio::spawn(project_as_fast_as_possible(store.clone(), stop.clone()));
            let started = Instant::now();
            let outcome = pgbench(pgbench::FUNCTION).await;
            stop.cancel();
            projector.await.expect("projector");
            catch_up(store).await;
            // The projections have to have them too, or the rate could not be kept up.
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = outcome.events as f64 / started.elapsed().as_secs_f64();
            rate
        }
        _ => {
            catch_up(store).await;
            replica.load(options.connections, Duration::from_secs(options.seconds)).await
        }
    }
}

/// A follower that polls without pause, from the present head; returns how many events it saw.
async fn read_as_fast_as_possible(store: Store, stop: CancellationToken) -> u64 {
    let mut cursor = store.settle().await.expect("settled");
    let mut seen = 0;
    loop {
        let over = stop.is_cancelled();
        let settled = store.settle().await.expect("settled");
        let events = store.events(cursor, settled, i64::MAX).await.expect("events");
        assert!(events.iter().all(|event| event.event_id > cursor), "an event came twice");
        seen += events.len() as u64;
        cursor = settled;
        if over {
            return seen;
        }
    }
}

async fn project_as_fast_as_possible(store: Store, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let settled = store.settle().await.expect("settled");
        store.project(settled).await.expect("projected");
    }
}

async fn catch_up(store: &Store) {
    let settled = store.settle().await.expect("settled");
    store.project(settled).await.expect("projected");
}

fn report(options: &Options, rates: [Vec<f64>; 5]) {
    let medians = rates.map(median);
    say(&format!(
        "\nmedian of {} rounds of {} s, {} sessions, {} connections, fsync on, synchronous_commit on",
        options.rounds, options.seconds, options.clients, options.connections
    ));
    for ((rung, rate), goal) in RUNGS.iter().zip(medians).zip(GOALS) {
        let ratio = rate / medians[0];
        let verdict = goal.map_or(String::new(), |goal| {
            let word = if ratio >= goal { "reached" } else { "MISSED" };
            format!("   goal {goal:.2}: {word}")
        });
        say(&format!("{rung:<9}{rate:>9.0} events/s{ratio:>8.2} of raw{verdict}"));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
