use std::{process::Command, time::Duration};

use sextant_lab::postgres::query;
use sextant_model::{OperatorRole, Timestamp, aggregate::ApiTokenState, secret::Secret};
use sextant_store::{ConnectOptions, Store, StoreError};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::{ACTOR, Fixture, label};

/// Far beyond every deadline of the store, so that a busy machine does not matter.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sessions of the daemon in one database, stopped as a host is that hangs.
#[derive(Debug)]
struct Stopped(Vec<String>);

impl Stopped {
    fn all(fixture: &Fixture) -> Self {
        let sql = "SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'sextant'";
        let pids = query(&fixture.database.url, sql).expect("sessions");
        assert!(!pids.is_empty());
        signal("-STOP", &pids);
        Self(pids)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(name: &str, pids: &[String]) {
    let status = Command::new("kill").arg(name).args(pids).status().expect("kill");
    assert!(status.success());
}

/// Opens `count` connections that are then idle in the pool.
async fn warm(store: &Store, count: usize) {
    let settle = |_| {
        let store = store.clone();
        tokio::spawn(async move { store.settle().await.expect("settled") })
    };
    for task in (0..count).map(settle).collect::<Vec<_>>() {
        task.await.expect("done");
    }
}

#[tokio::test]
async fn sessions_that_stop_answering_are_given_up_and_replaced_all_at_once() {
    let fixture = Fixture::new().await;
    warm(&fixture.store, 8).await;
    let _stopped = Stopped::all(&fixture);
    let first = timeout(PATIENCE, fixture.store.settle()).await.expect("a deadline");
    assert!(matches!(first, Err(StoreError::Unavailable(_))), "{first:?}");
    // The other seven hang as well, and cost no deadline each.
    let again = Instant::now();
    timeout(PATIENCE, fixture.store.settle()).await.expect("a deadline").expect("a new session");
    assert!(again.elapsed() < Duration::from_secs(4), "{:?}", again.elapsed());
    fixture.store.close().await;
}

#[tokio::test]
async fn a_commit_without_an_answer_has_an_unknown_outcome() {
    let fixture = Fixture::new().await;
    let now = Timestamp::from_unix_seconds(0).expect("time");
    let hash = Secret::new([1; 32]).hash();
    let name = label("ops");
    let event = ApiTokenState::create(name, OperatorRole::Admin, None, None, hash, now);
    let mut unit = fixture.store.begin();
    let mut token = unit.load::<ApiTokenState>(Uuid::from_u128(1)).await.expect("loaded");
    unit.append(&mut token, &[event.expect("event")], ACTOR).await.expect("appended");
    let _stopped = Stopped::all(&fixture);
    let outcome = timeout(PATIENCE, unit.commit()).await.expect("a deadline");
    assert!(matches!(outcome, Err(StoreError::OutcomeUnknown(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_silent_database_is_noticed_by_everything_that_waits_for_it() {
    let fixture = Fixture::new().await;
    let relay = fixture.database.relay().expect("relay");
    let url = relay.url(fixture.database.name(), &fixture.database.role);
    let store = Store::connect(&ConnectOptions::new(url)).expect("store");
    warm(&store, 2).await;
    let mut wake_ups = store.wake_ups().await.expect("listening");
    relay.silence();
    let (listened, settled, pinged, projected) = timeout(PATIENCE, async {
        tokio::join!(wake_ups.next(), store.settle(), store.ping(), store.project(0))
    })
    .await
    .expect("deadlines");
    assert!(listened.is_err() && settled.is_err() && pinged.is_err() && projected.is_err());
    relay.speak();
    store.settle().await.expect("well again");
    store.wake_ups().await.expect("listening again");
    relay.cut();
    // What was idle is gone: at worst each of the connections fails once.
    let back = async { while store.settle().await.is_err() {} };
    timeout(PATIENCE, back).await.expect("well again");
}

#[tokio::test]
async fn an_ipv6_address_in_the_url_is_an_address_for_owner_and_daemon() {
    let database = sextant_lab::postgres::test_database().expect("database");
    let relay = database.relay().expect("relay");
    let owner = relay.url(database.name(), "postgres");
    Store::migrate(&owner, Some(&database.role)).await.expect("migrated");
    Store::start_epoch(&owner).await.expect("begun");
    let url = relay.url(database.name(), &database.role);
    let store = Store::connect(&ConnectOptions::new(url)).expect("store");
    store.settle().await.expect("settled");
    store.wake_ups().await.expect("listening");
}

#[tokio::test]
async fn a_host_that_is_given_by_its_name_is_never_reached_over_ipv4() {
    let fixture = Fixture::new().await;
    let relay = fixture.database.relay().expect("relay");
    let url = relay.url(fixture.database.name(), &fixture.database.role);
    let port = url.rsplit_once("]:").and_then(|(_, rest)| rest.split_once('/'));
    let port: u16 = port.and_then(|(port, _)| port.parse().ok()).expect("a port");
    let ipv4 = std::net::TcpListener::bind(("127.0.0.1", port)).expect("bound");
    ipv4.set_nonblocking(true).expect("set");
    let url = url.replacen("[::1]", "localhost", 1);
    let store = Store::connect(&ConnectOptions::new(url)).expect("store");
    let names = tokio::net::lookup_host(("localhost", port)).await.expect("looked up");
    let has_ipv6 = names.into_iter().any(|address| address.is_ipv6());
    match store.settle().await {
        Ok(_) => assert!(has_ipv6),
        Err(error) => {
            assert!(!has_ipv6 && error.to_string().contains("has no IPv6 address"), "{error}");
        }
    }
    let error = ipv4.accept().expect_err("nobody came this way");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}
