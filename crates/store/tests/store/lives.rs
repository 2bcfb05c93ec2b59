//! Which database this is, and what each version of the programs makes of the log.

use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use sextant_lab::postgres::{PostgresOptions, SUPERUSER, ScratchPostgres, psql, query};
use sextant_model::{ActorId, aggregate::OrgState};
use sextant_store::{
    ConnectOptions, Store,
    projection::{ALL, Projections},
};
use uuid::Uuid;

use crate::{ACTOR, Fixture, label};

async fn org(store: &Store, n: u128) -> i64 {
    let mut unit = store.begin();
    let mut org = unit.load::<OrgState>(Uuid::from_u128(n)).await.expect("loaded");
    let created = OrgState::create(label(&format!("org-{n}")));
    unit.append(&mut org, &[created], ACTOR).await.expect("appended");
    unit.commit().await.expect("committed")
}

fn in_database(url: &str, from: &str, to: &str) -> String {
    // The first one is the database, the other one may be the role.
    url.replacen(from, to, 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_of_the_database_begins_an_epoch_of_its_own_once() {
    let fixture = Fixture::new().await;
    let (database, name) = (&fixture.database, fixture.database.name());
    let before = fixture.store.epoch().await.expect("epoch");
    assert_eq!(fixture.store.epoch().await.expect("epoch"), before, "it is the same database");
    let head = org(&fixture.store, 1).await;
    fixture.store.close().await;
    let administration = in_database(&database.url, name, "postgres");
    let copy = format!("{name}_copy");
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    let make = format!("CREATE DATABASE \"{copy}\" TEMPLATE \"{name}\"");
    psql(&administration, &[&end, &make]).expect("copied");

    let url = in_database(&database.app_url, name, &copy);
    let replicas: Vec<_> = (0..8)
        .map(|_| {
            let store = Store::connect(&ConnectOptions::new(&url)).expect("store");
            tokio::spawn(async move {
                let epoch = store.epoch().await.expect("epoch");
                store.close().await;
                epoch
            })
        })
        .collect();
    let mut found = std::collections::BTreeSet::new();
    for replica in replicas {
        found.insert(replica.await.expect("done").0);
    }
    assert_eq!(found.len(), 1, "all of them are in the one new epoch");
    assert!(!found.contains(&before.0));
    let store = Store::connect(&ConnectOptions::new(&url)).expect("store");
    assert!(org(&store, 2).await > head + 1000, "no id that the original may have given out");
    store.close().await;
    let drop = format!("DROP DATABASE \"{copy}\" WITH (FORCE)");
    psql(&administration, &[&drop]).expect("dropped");
}

#[tokio::test]
async fn a_new_projection_is_filled_by_itself_and_nobody_waits_for_it() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    for n in 1..=3 {
        org(store, n).await;
    }
    let settled = store.settle().await.expect("settled");
    store.project(settled).await.expect("projected");
    let forget = "DELETE FROM projection_checkpoints WHERE projection = 'orgs'";
    psql(&fixture.database.url, &[forget]).expect("forgotten");
    let (orgs, apps) = (Projections::named(&["orgs"]), Projections::named(&["apps"]));

    let last = org(store, 4).await;
    let settled = store.settle().await.expect("settled");
    let others = store.project_filled(settled).await.expect("projected");
    assert!(others.are_filled(apps) && others.contain(apps, last));
    assert!(!others.are_filled(orgs), "nothing is read from it yet");
    store.platform().await.expect("a snapshot that does not read it");
    let snapshot = store.org_snapshot(sextant_model::OrgId(Uuid::from_u128(1))).await;
    assert!(matches!(snapshot, Err(sextant_store::StoreError::Filling(_))), "{snapshot:?}");

    let filled = store.fill(settled).await.expect("filled");
    assert!(filled.are_filled(Projections::ALL) && filled.contain(orgs, last));
    let (cursor, _) =
        store.org_snapshot(sextant_model::OrgId(Uuid::from_u128(1))).await.expect("a snapshot");
    assert_eq!(cursor.event_id, settled);
    let rows = query(&fixture.database.url, "SELECT count(*) FROM orgs").expect("counted");
    assert_eq!(rows, ["4"], "each of them once");
}

#[tokio::test]
async fn events_that_were_left_out_are_projected_by_the_version_that_can_read_them() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    org(store, 1).await;
    let insert = |kind: &str, payload: &str, n: u128| {
        let (id, actor) = (Uuid::from_u128(n), ActorId::SYSTEM.0);
        let insert = format!(
            "INSERT INTO events (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload)
             VALUES ('org', '{id}', 1, '{kind}', '{actor}', '{payload}')"
        );
        psql(&fixture.database.url, &[&insert]).expect("appended");
    };
    insert("comet-landed", "{}", 8);
    insert("org-created", "{\"title\": \"of another form\"}", 9);
    let settled = store.settle().await.expect("settled");
    assert_eq!(store.project(settled).await.expect("projected"), settled, "they stop nothing");
    let skipped = "SELECT event_type FROM skipped_events ORDER BY event_type";
    let list = || query(&fixture.database.url, skipped).expect("listed");
    assert_eq!(list(), ["comet-landed", "org-created"]);
    assert!(!store.project_skipped().await.expect("looked"), "this version cannot read them");

    // As if an earlier version had left out an event that this one can read.
    let mark = "INSERT INTO skipped_events SELECT 'known', event_id, event_id FROM events
                WHERE aggregate_id = '00000000-0000-0000-0000-000000000001';
                DELETE FROM orgs";
    psql(&fixture.database.url, &[mark]).expect("marked");
    assert!(store.project_skipped().await.expect("projected anew"));
    assert_eq!(list(), ["comet-landed", "org-created"], "these are still left out");
    let rows = query(&fixture.database.url, "SELECT name FROM orgs").expect("read");
    assert_eq!(rows, ["org-1"]);
    assert_eq!(ALL.len(), Projections::ALL.names().len());
}

#[tokio::test]
async fn a_restore_to_another_timeline_begins_a_new_epoch() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        let options = PostgresOptions { durable: false, ..PostgresOptions::default() };
        ScratchPostgres::start(directory.path(), options).expect("a server")
    };
    let server = start();
    server.create_database("restored").expect("a database");
    let url = server.url("restored", SUPERUSER);
    Store::migrate(&url, None).await.expect("migrated");
    let store = Store::connect(&ConnectOptions::new(&url)).expect("store");
    let before = store.epoch().await.expect("epoch");
    org(&store, 1).await;
    store.close().await;
    psql(&url, &["ALTER SYSTEM SET restore_command = 'false'"]).expect("set");
    let data = query(&url, "SHOW data_directory").expect("shown").remove(0);
    server.stop().expect("stopped");
    // With it, the server replays what it has and goes on with a timeline of its own, as a standby
    // does that is promoted.
    let signal = std::path::Path::new(&data).join("recovery.signal");
    std::fs::write(&signal, "").expect("written");
    std::fs::set_permissions(&signal, std::fs::Permissions::from_mode(0o666)).expect("allowed");

    let server = start();
    let recovers = || query(&url, "SELECT pg_is_in_recovery()").ok().is_none_or(|it| it != ["f"]);
    let give_up = Instant::now() + Duration::from_secs(60);
    while recovers() {
        assert!(Instant::now() < give_up, "it must end its recovery");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let store = Store::connect(&ConnectOptions::new(&url)).expect("store");
    let after = store.epoch().await.expect("epoch");
    assert_ne!(after, before);
    assert_eq!(store.epoch().await.expect("epoch"), after, "one for each timeline");
    store.close().await;
    server.stop().expect("stopped");
}
