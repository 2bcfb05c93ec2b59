//! What a newer version wrote into the log stops nothing that this one knows.

use std::time::Duration;

use sextant_api::{
    Client, Frame,
    follow::{Item, follow},
    resource::org::NewOrg,
};
use sextant_lab::postgres::psql;
use sextant_model::EventBody;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Platform, Running, enrol, label, network, new_network};

const PATIENCE: Duration = Duration::from_secs(60);

/// Appends an event of a type that no version knows, past the function that would refuse it.
fn append_unknown(platform: &Platform, aggregate_type: &str, id: Uuid, seq: i32) {
    let insert = format!(
        "INSERT INTO events (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload)
         VALUES ('{aggregate_type}', '{id}', {seq}, 'comet-landed', '{}', '{{\"key\": \"sesame\"}}')",
        Uuid::nil()
    );
    psql(&platform.database.url, &[&insert]).expect("appended");
}

async fn await_ready(client: &Client) {
    let ready = async { while client.ready().await.is_err() {} };
    timeout(PATIENCE, ready).await.expect("ready");
}

async fn replica(platform: &Platform) -> (Running, Client) {
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    (replica, admin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_not_known_stops_neither_replica_nor_follower() {
    let platform = Platform::new().await;
    let (replica, admin) = replica(&platform).await;
    let mesh = network(&admin).await;
    let (enrolment, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let from = admin.events(None, Some(1000)).await.expect("events").head;
    let stop = CancellationToken::new();
    let mut items = follow(admin.clone(), Some(from), stop.clone());
    let mut of_node = follow(node, Some(enrolment.cursor), stop.clone());
    append_unknown(&platform, "node", enrolment.node.id.0, 100);
    append_unknown(&platform, "comet", Uuid::from_u128(7), 1);

    // Writes are projected and can be read.
    let second = admin.create_network(&new_network("second"), None).await.expect("created");
    admin.network(second.value.id).await.expect("read");
    await_ready(&admin).await;
    // An operator of the platform sees that there was something, a node does not, and both go on.
    let mut unknown = 0;
    loop {
        match timeout(PATIENCE, items.recv()).await.expect("in time").expect("open") {
            Item::Event { event, .. } => match &event.body {
                EventBody::Unknown(_) => unknown += 1,
                EventBody::NetworkCreated(_) => break,
                other => panic!("{other:?}"),
            },
            Item::Disconnected { reason } => panic!("{reason}"),
            _ => {}
        }
    }
    assert_eq!(unknown, 2);
    loop {
        match timeout(PATIENCE, of_node.recv()).await.expect("in time").expect("open") {
            Item::Bookmark { cursor } if cursor.event_id > from.event_id => break,
            Item::Event { event, .. } => assert!(event.body.unknown().is_none(), "{event:?}"),
            _ => {}
        }
    }
    let page = admin.events(Some(from), None).await.expect("a page");
    let text = serde_json::to_string(&page).expect("json");
    assert!(!text.contains("sesame"), "{text}");
    let events = page.frames.iter().filter(|frame| matches!(frame, Frame::Event { .. }));
    assert_eq!(events.count(), 3);
    stop.cancel();
    // Nor one that starts afterwards.
    let (young, admin) = self::replica(&platform).await;
    admin.create_network(&new_network("third"), None).await.expect("created");
    drop(young);
}

#[tokio::test]
async fn what_a_newer_version_changed_is_read_and_not_changed() {
    let platform = Platform::new().await;
    let (_replica, admin) = replica(&platform).await;
    let org = admin.create_org(&NewOrg { name: label("acme") }, None).await.expect("org").value;
    append_unknown(&platform, "org", org.id.0, 2);
    let refused = admin.delete_org(org.id, None).await.expect_err("refused");
    assert_eq!(refused.code(), "newer-version", "{refused}");
    assert!(refused.to_string().contains("comet-landed"), "{refused}");
    assert_eq!(admin.org(org.id).await.expect("read").value.name, org.name);
}
