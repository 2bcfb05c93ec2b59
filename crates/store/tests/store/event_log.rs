use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sextant_model::{
    AggregateKind, EventBody, IpStackMode, Topology,
    aggregate::NetworkState,
    event::{NetworkCreated, NetworkDeleted, NetworkRenamed},
};
use sextant_store::{FirstEvent, Store, StoreError};
use uuid::Uuid;

use crate::{ACTOR, Fixture, label};

fn created(name: &str) -> EventBody {
    EventBody::NetworkCreated(NetworkCreated {
        name: label(name),
        ip_stack_mode: IpStackMode::Ipv6,
        topology: Topology::FullMesh,
        ipv6_prefix: "fd00::/48".parse().ok(),
        ipv4_prefix: None,
    })
}

async fn append(store: &Store, id: Uuid, events: &[EventBody]) -> Result<i64, StoreError> {
    let mut unit = store.begin();
    let mut network = unit.load::<NetworkState>(id).await?;
    unit.append(&mut network, events, ACTOR).await?;
    unit.commit().await
}

#[tokio::test]
async fn events_come_back_as_they_were_appended() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let id = Uuid::now_v7();
    let renamed = EventBody::NetworkRenamed(NetworkRenamed { name: label("b") });
    let last = append(&store, id, &[created("a"), renamed.clone()]).await.expect("appended");
    let settled = store.settle().await.expect("settled");
    assert_eq!(settled, last);
    let events = store.events(0, settled, 10).await.expect("events");
    assert_eq!(events.iter().map(|event| event.aggregate_seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(events[1].body, renamed);
    assert_eq!(events[1].actor_id, ACTOR);
    let mut unit = store.begin();
    let loaded = unit.load::<NetworkState>(id).await.expect("loaded");
    assert_eq!(loaded.version, 2);
    assert_eq!(loaded.state.live().expect("live").name, label("b"));
}

#[tokio::test]
async fn of_two_commands_on_the_same_version_one_is_a_conflict() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let id = Uuid::now_v7();
    append(&store, id, &[created("a")]).await.expect("appended");
    let mut first = store.begin();
    let mut second = store.begin();
    let mut seen_first = first.load::<NetworkState>(id).await.expect("loaded");
    let mut seen_second = second.load::<NetworkState>(id).await.expect("loaded");
    let deleted = [EventBody::NetworkDeleted(NetworkDeleted {})];
    first.append(&mut seen_first, &deleted, ACTOR).await.expect("first");
    first.commit().await.expect("committed");
    let error = second.append(&mut seen_second, &deleted, ACTOR).await.expect_err("conflict");
    assert!(matches!(error, StoreError::VersionConflict), "{error}");
}

#[tokio::test]
async fn nobody_changes_or_removes_an_event_or_appends_past_the_function() {
    let fixture = Fixture::new().await;
    append(&fixture.store, Uuid::now_v7(), &[created("a")]).await.expect("appended");
    let owner = fixture.raw(&fixture.database.url);
    let app = fixture.raw(&fixture.database.app_url);
    for statement in ["UPDATE events SET event_type = 'x'", "DELETE FROM events", "TRUNCATE events"]
    {
        let by_owner = sqlx::raw_sql(statement).execute(&owner).await.expect_err(statement);
        assert!(by_owner.to_string().contains("never updated or deleted"), "{by_owner}");
        let by_app = sqlx::raw_sql(statement).execute(&app).await.expect_err(statement);
        assert!(by_app.to_string().contains("permission denied"), "{by_app}");
    }
    let insert = "INSERT INTO events (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload)
                  VALUES ('network', gen_random_uuid(), 1, 'x', gen_random_uuid(), '{}')";
    let by_app = sqlx::raw_sql(insert).execute(&app).await.expect_err("insert");
    assert!(by_app.to_string().contains("permission denied"), "{by_app}");
}

#[tokio::test]
async fn settling_waits_for_the_writer_that_holds_a_lower_id() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let mut slow = store.begin();
    let mut network = slow.load::<NetworkState>(Uuid::now_v7()).await.expect("loaded");
    slow.append(&mut network, &[created("slow")], ACTOR).await.expect("appended");
    let fast = append(&store, Uuid::now_v7(), &[created("fast")]).await.expect("appended");

    let settling = tokio::spawn({
        let store = store.clone();
        async move { store.settle().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!settling.is_finished(), "settled although a lower id may still appear");
    let low = slow.commit().await.expect("committed");
    let settled = settling.await.expect("task").expect("settled");
    assert!(low < fast && settled == fast);
    assert_eq!(store.events(0, settled, 10).await.expect("events").len(), 2);
}

#[tokio::test]
async fn a_writer_that_gives_up_leaves_a_gap_that_stalls_nobody() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let mut abandoned = store.begin();
    let mut network = abandoned.load::<NetworkState>(Uuid::now_v7()).await.expect("loaded");
    abandoned.append(&mut network, &[created("a")], ACTOR).await.expect("appended");
    drop(abandoned);
    let last = append(&store, Uuid::now_v7(), &[created("b")]).await.expect("appended");
    assert_eq!(store.settle().await.expect("settled"), last);
    assert_eq!(store.events(0, last, 10).await.expect("events").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_follower_of_sixteen_writers_sees_every_event_once_and_in_order() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let writing = Arc::new(AtomicBool::new(true));
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let (store, writing) = (store.clone(), writing.clone());
            tokio::spawn(async move {
                let mut written = Vec::new();
                while writing.load(Ordering::Relaxed) {
                    // The pool is smaller than the crowd: waiting for a connection is no failure.
                    if let Ok(id) = append(&store, Uuid::now_v7(), &[created("a")]).await {
                        written.push(id);
                    }
                }
                written
            })
        })
        .collect();

    let mut seen = Vec::new();
    let started = Instant::now();
    let mut cursor = 0;
    loop {
        let over = started.elapsed() > Duration::from_secs(10);
        if over {
            writing.store(false, Ordering::Relaxed);
        }
        let settled = store.settle().await.expect("settled");
        let events = store.events(cursor, settled, 100_000).await.expect("events");
        seen.extend(events.iter().map(|event| event.event_id));
        cursor = settled;
        if over && writers.iter().all(tokio::task::JoinHandle::is_finished) && events.is_empty() {
            break;
        }
    }
    let mut written = BTreeSet::new();
    for writer in writers {
        written.extend(writer.await.expect("writer"));
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "out of order or twice");
    assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), written);
    assert!(seen.len() > 100, "only {} events: nothing was tested", seen.len());
}

#[tokio::test]
async fn a_new_epoch_leaves_room_above_every_id_that_may_have_been_sent() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let before = store.epoch().await.expect("epoch");
    let last = append(store, Uuid::now_v7(), &[created("a")]).await.expect("appended");
    let after = Store::start_epoch(&fixture.database.url).await.expect("started");
    assert_ne!(before, after);
    assert_eq!(store.epoch().await.expect("epoch"), after);
    let next = append(store, Uuid::now_v7(), &[created("b")]).await.expect("appended");
    assert!(next > last + 1_000_000, "{next}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let mut options = sextant_store::ConnectOptions::new(format!(
        "postgresql:///nothing?host={}&user=nobody",
        folder.path().display()
    ));
    options.acquire_timeout = Duration::from_millis(300);
    let store = Store::connect(&options).expect("lazy");
    let error = store.ping().await.expect_err("nobody there");
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn first_events_of_many_commands_share_one_commit_and_keep_their_order() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let batch: Vec<_> = (0..20)
        .map(|n| FirstEvent {
            aggregate_id: Uuid::now_v7(),
            actor: ACTOR,
            body: created(&format!("net-{n}")),
        })
        .collect();
    let (ids, at) = store.append_first(&batch).await.expect("appended");
    let settled = store.settle().await.expect("settled");
    let events = store.events(0, settled, 100).await.expect("events");
    assert_eq!(events.iter().map(|event| event.event_id).collect::<Vec<_>>(), ids);
    for (event, first) in events.iter().zip(&batch) {
        assert_eq!((event.aggregate_id, event.aggregate_seq), (first.aggregate_id, 1));
        assert_eq!((&event.body, event.occurred_at), (&first.body, at));
    }
    let again = store.append_first(&batch[..1]).await.expect_err("it exists now");
    assert!(matches!(again, StoreError::VersionConflict), "{again}");
}

#[tokio::test]
async fn the_schema_knows_every_event_and_every_kind_of_aggregate() {
    let fixture = Fixture::new().await;
    let owner = fixture.raw(&fixture.database.url);
    let column = async |query: &'static str| -> BTreeSet<String> {
        let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&owner).await.expect("rows");
        rows.into_iter().collect()
    };
    let known = column("SELECT event_type FROM event_types").await;
    let types = EventBody::TYPES.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert!(types.is_subset(&known), "a migration must add {:?}", types.difference(&known));
    let known = column("SELECT aggregate_type FROM aggregate_types").await;
    let kinds = AggregateKind::ALL.iter().map(|kind| kind.as_str().to_owned());
    let kinds = kinds.collect::<BTreeSet<_>>();
    assert!(kinds.is_subset(&known), "a migration must add {:?}", kinds.difference(&known));
    fixture.store.ping().await.expect("prepared for this version");
}

#[tokio::test]
async fn the_log_takes_no_event_that_its_schema_does_not_know() {
    let fixture = Fixture::new().await;
    let app = fixture.raw(&fixture.database.app_url);
    for statement in [
        "SELECT append_events('network', gen_random_uuid(), 0, gen_random_uuid(),
                              '{comet-landed}', ARRAY['{}'::jsonb])",
        "SELECT append_events('network', gen_random_uuid(), 0, gen_random_uuid(),
                              '{network-deleted,comet-landed}', ARRAY['{}'::jsonb, '{}'])",
        "SELECT append_events('comet', gen_random_uuid(), 0, gen_random_uuid(),
                              '{network-deleted}', ARRAY['{}'::jsonb])",
        "SELECT append_first_events('{network}', ARRAY[gen_random_uuid()],
                                    ARRAY[gen_random_uuid()], '{comet-landed}', ARRAY['{}'::jsonb])",
        "SELECT append_first_events('{network,comet}', ARRAY[gen_random_uuid(), gen_random_uuid()],
                                    ARRAY[gen_random_uuid(), gen_random_uuid()],
                                    '{network-deleted,network-deleted}', ARRAY['{}'::jsonb, '{}'])",
    ] {
        let error = sqlx::raw_sql(statement).execute(&app).await.expect_err(statement);
        let error = StoreError::from(error);
        assert!(matches!(error, StoreError::EventTypeUnknown(_)), "{error:?}");
        assert!(error.to_string().contains("comet") && error.to_string().contains("init"));
    }
    assert_eq!(fixture.store.settle().await.expect("settled"), 0);
}

#[tokio::test]
async fn a_replica_that_is_newer_than_the_schema_is_not_ready() {
    let fixture = Fixture::new().await;
    let owner = fixture.raw(&fixture.database.url);
    let older = "DELETE FROM event_types WHERE event_type = 'route-moved'";
    sqlx::raw_sql(older).execute(&owner).await.expect("an older schema");
    let error = fixture.store.ping().await.expect_err("too old");
    assert!(error.is_transient() && error.to_string().contains("\"route-moved\""), "{error}");
}
