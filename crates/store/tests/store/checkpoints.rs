//! Aggregates with a long history are not read from their beginning each time.

use sextant_lab::postgres::query;
use sextant_model::{
    EventBody,
    aggregate::EnvironmentState,
    event::{EnvironmentCreated, HostnameClaimed, HostnameReleased},
};
use sextant_store::{ConnectOptions, Loaded, Store};
use uuid::Uuid;

use crate::{ACTOR, Fixture, label};

const ENVIRONMENT: Uuid = Uuid::from_u128(0xE0);

/// An environment that has claimed and given back one hostname `times` times, and holds another.
async fn live_long(store: &Store, times: usize) -> i64 {
    let org_id = sextant_model::OrgId(Uuid::from_u128(1));
    let created = EventBody::EnvironmentCreated(EnvironmentCreated {
        org_id,
        app_id: sextant_model::AppId(Uuid::from_u128(2)),
        network_id: sextant_model::NetworkId(Uuid::from_u128(3)),
        name: label("prod"),
    });
    let claimed = |name: &str| {
        let hostname = name.parse().expect("hostname");
        EventBody::HostnameClaimed(HostnameClaimed { org_id, hostname, challenge: None })
    };
    let released = EventBody::HostnameReleased(HostnameReleased {
        org_id,
        hostname: "a.example.com".parse().expect("hostname"),
    });
    let round = [claimed("a.example.com"), released];
    let events: Vec<_> = [created, claimed("kept.example.com")]
        .into_iter()
        .chain(round.into_iter().cycle().take(2 * times))
        .collect();
    let mut unit = store.begin();
    let mut environment = Loaded::<EnvironmentState>::fresh(ENVIRONMENT);
    unit.append(&mut environment, &events, ACTOR).await.expect("appended");
    unit.commit().await.expect("committed")
}

async fn load(store: &Store) -> Loaded<EnvironmentState> {
    store.begin().load(ENVIRONMENT).await.expect("loaded")
}

fn same(one: &Loaded<EnvironmentState>, other: &Loaded<EnvironmentState>) {
    assert_eq!(one.state, other.state);
    assert_eq!(
        (one.id, one.version, one.created_at, one.first_event_id),
        (other.id, other.version, other.created_at, other.first_event_id)
    );
}

#[tokio::test]
async fn what_a_load_reads_does_not_grow_with_what_has_been() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    live_long(store, 50_000).await;
    let whole = load(store).await;
    assert_eq!(whole.events_read, 100_002);
    let kept = load(store).await;
    same(&whole, &kept);
    assert_eq!(kept.events_read, 0);

    // From then on never more than a bounded number, however often it changes.
    for n in 0..200 {
        let mut unit = store.begin();
        let mut environment = unit.load::<EnvironmentState>(ENVIRONMENT).await.expect("loaded");
        assert!(environment.events_read <= 65, "{} events", environment.events_read);
        let name = format!("n{n}.example.com").parse().expect("hostname");
        let events: Vec<_> =
            environment.state.claim_hostname(&name, None).expect("claimed").into_iter().collect();
        unit.append(&mut environment, &events, ACTOR).await.expect("appended");
        unit.commit().await.expect("committed");
    }
    let last = load(store).await;
    assert_eq!(last.state.hostnames().len(), 201);

    // It is no part of the truth.
    let app = fixture.raw(&fixture.database.app_url);
    sqlx::raw_sql("DELETE FROM aggregate_checkpoints").execute(&app).await.expect("deleted");
    same(&last, &load(store).await);
}

/// Rows of the log that sessions of the daemon, which are all over, have fetched by an index.
async fn fetched(fixture: &Fixture) -> i64 {
    let url = &fixture.database.url;
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE application_name = 'sextant' AND datname = current_database()";
    // What a session has read is counted when it ends.
    while query(url, open).expect("sessions") != ["0"] {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let rows = "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'events'";
    query(url, rows).expect("statistics")[0].parse().expect("a number")
}

#[tokio::test]
async fn the_database_looks_at_no_more_of_the_log_than_a_load_takes_in() {
    let fixture = Fixture::new().await;
    live_long(&fixture.store, 5000).await;
    load(&fixture.store).await;
    fixture.store.close().await;
    let before = fetched(&fixture).await;
    let store = Store::connect(&ConnectOptions::new(&fixture.database.app_url)).expect("store");
    for _ in 0..20 {
        assert_eq!(load(&store).await.version, 10_002);
    }
    store.close().await;
    let rows = fetched(&fixture).await - before;
    assert!(rows <= 100, "20 loads have fetched {rows} rows");
}

#[tokio::test]
async fn a_checkpoint_of_another_format_or_one_that_cannot_be_read_is_passed_over() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    live_long(store, 100).await;
    let whole = load(store).await;
    assert_eq!(load(store).await.events_read, 0);
    let app = fixture.raw(&fixture.database.app_url);
    for statement in [
        "UPDATE aggregate_checkpoints SET state = '{\"hostnames\": 7}'",
        "UPDATE aggregate_checkpoints SET state = '[]'",
        "DELETE FROM aggregate_checkpoints WHERE format = 1;
         INSERT INTO aggregate_checkpoints (aggregate_type, aggregate_id, format, version, state,
                                            first_event_id, created_at)
         SELECT aggregate_type, aggregate_id, 999, 200, '{\"from\": \"a newer version\"}', 1, now()
         FROM events WHERE aggregate_seq = 1",
    ] {
        sqlx::raw_sql(statement).execute(&app).await.expect("written");
        let loaded = load(store).await;
        same(&whole, &loaded);
        assert_eq!(loaded.events_read, 202);
    }
    let newer = "SELECT count(*) FROM aggregate_checkpoints WHERE format = 999";
    let left: i64 = sqlx::query_scalar(newer).fetch_one(&app).await.expect("count");
    assert_eq!(left, 1, "what a newer replica keeps was taken away");
}

#[tokio::test]
async fn what_may_still_come_to_nothing_is_not_kept() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    live_long(store, 10).await;
    let mut unit = store.begin();
    let mut environment = unit.load::<EnvironmentState>(ENVIRONMENT).await.expect("loaded");
    for n in 0..100 {
        let name = format!("n{n}.example.com").parse().expect("hostname");
        let events: Vec<_> =
            environment.state.claim_hostname(&name, None).expect("claimed").into_iter().collect();
        unit.append(&mut environment, &events, ACTOR).await.expect("appended");
    }
    let within = unit.load::<EnvironmentState>(ENVIRONMENT).await.expect("loaded");
    assert_eq!(within.state.hostnames().len(), 101);
    drop(unit);
    let after = load(store).await;
    assert_eq!((after.state.hostnames().len(), after.version), (1, 22));
}
