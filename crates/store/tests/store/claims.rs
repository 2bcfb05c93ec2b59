use sextant_model::{NetworkId, PublicKey};
use sextant_store::{StoreError, claims::NameScope, idempotency::StoredAnswer};
use uuid::Uuid;

use crate::{ACTOR, Fixture, label};

#[tokio::test]
async fn a_name_has_one_owner_in_its_scope_and_is_free_again_afterwards() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let scope = NameScope::NodesOf(NetworkId(Uuid::from_u128(1)));
    let elsewhere = NameScope::NodesOf(NetworkId(Uuid::from_u128(2)));
    let mut unit = store.begin();
    unit.claim_name(scope, &label("n1"), first).await.expect("claimed");
    unit.claim_name(elsewhere, &label("n1"), second).await.expect("another scope");
    let error = unit.claim_name(scope, &label("n1"), second).await.expect_err("taken");
    assert!(matches!(error, StoreError::NameTaken(name) if name == "n1"));
    unit.release_names(first).await.expect("released");
    unit.claim_name(scope, &label("n1"), second).await.expect("free again");
}

#[tokio::test]
async fn a_key_is_never_given_to_a_second_node() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let key = PublicKey::new([7; 32]).expect("key");
    let mut unit = store.begin();
    unit.claim_key(&key, Uuid::now_v7()).await.expect("claimed");
    let error = unit.claim_key(&key, Uuid::now_v7()).await.expect_err("taken");
    assert!(matches!(error, StoreError::KeyTaken), "{error}");
}

#[tokio::test]
async fn a_request_is_done_once_and_answered_alike() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let answer = StoredAnswer {
        status: 201,
        etag: Some("\"1\"".into()),
        event_id: 7,
        body: serde_json::json!({ "a": 1 }),
    };
    let mut unit = store.begin();
    assert_eq!(unit.reserve_key(ACTOR, "k", "hash").await.expect("reserved"), None);
    unit.keep_answer(ACTOR, "k", &answer).await.expect("kept");
    unit.commit().await.expect("committed");

    let mut unit = store.begin();
    let again = unit.reserve_key(ACTOR, "k", "hash").await.expect("known");
    assert_eq!(again, Some(answer));
    let error = unit.reserve_key(ACTOR, "k", "other").await.expect_err("reused");
    assert!(matches!(error, StoreError::IdempotencyMismatch), "{error}");
}

#[tokio::test]
async fn the_same_key_at_the_same_time_is_done_once() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let mut first = store.begin();
    assert_eq!(first.reserve_key(ACTOR, "k", "hash").await.expect("reserved"), None);
    let second = tokio::spawn({
        let store = store.clone();
        async move {
            let mut unit = store.begin();
            unit.reserve_key(ACTOR, "k", "hash").await.expect("waited")
        }
    });
    let answer = StoredAnswer { status: 201, etag: None, event_id: 0, body: serde_json::json!({}) };
    first.keep_answer(ACTOR, "k", &answer).await.expect("kept");
    first.commit().await.expect("committed");
    assert_eq!(second.await.expect("task"), Some(answer));
}

#[tokio::test]
async fn old_answers_are_forgotten_a_bounded_number_at_a_time() {
    let fixture = Fixture::new().await;
    let app = fixture.raw(&fixture.database.app_url);
    let fill =
        "INSERT INTO idempotency_keys (principal, key, request_hash, status, body, created_at)
                SELECT gen_random_uuid(), n::text, '', 200, 'null',
                       now() - CASE WHEN n <= 2500 THEN interval '2 days' ELSE interval '0' END
                FROM generate_series(1, 2510) n";
    sqlx::raw_sql(fill).execute(&app).await.expect("filled");
    let forget = async || fixture.store.forget_old_answers().await.expect("forgotten");
    assert_eq!(
        [forget().await, forget().await, forget().await, forget().await],
        [1000, 1000, 500, 0]
    );
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM idempotency_keys")
        .fetch_one(&app)
        .await
        .expect("count");
    assert_eq!(left, 10);
}
