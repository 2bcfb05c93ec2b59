use std::{collections::BTreeSet, time::Duration};

use sextant_api::{
    Auth, Client,
    follow::{Item, follow},
    frame::SnapshotState,
};
use sextant_model::{Cursor, EventBody};
use sextant_store::Store;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::{Platform, Process, enrol, network, new_network, token_for};

async fn next(items: &mut Receiver<Item>) -> Item {
    tokio::time::timeout(Duration::from_secs(20), items.recv())
        .await
        .expect("in time")
        .expect("open")
}

/// The next item that is not about the connection.
async fn next_content(items: &mut Receiver<Item>) -> Item {
    loop {
        match next(items).await {
            Item::Connected { .. } | Item::Disconnected { .. } => {}
            item => return item,
        }
    }
}

async fn start(client: &Client) -> Cursor {
    client.events(None, Some(1000)).await.expect("events").next_after
}

#[tokio::test]
async fn a_follower_without_a_cursor_gets_a_snapshot_and_then_what_happens() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mesh = network(&client).await;
    let stop = CancellationToken::new();
    let mut items = follow(client.clone(), None, stop.clone());
    match next_content(&mut items).await {
        Item::Snapshot { state: SnapshotState::Platform { networks, .. }, .. } => {
            assert_eq!(networks, [mesh]);
        }
        other => panic!("{other:?}"),
    }
    client.create_network(&new_network("second"), None).await.expect("created");
    match next_content(&mut items).await {
        Item::Event { event, .. } => assert!(matches!(event.body, EventBody::NetworkCreated(_))),
        other => panic!("{other:?}"),
    }
    stop.cancel();
}

#[tokio::test]
async fn a_node_follows_its_network_and_nothing_else() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let (enrolment, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let stop = CancellationToken::new();
    let mut items = follow(node, Some(enrolment.cursor), stop.clone());
    // A token is none of its business; a bookmark says that nothing was missed.
    let token = token_for(&admin, mesh.id, "n9").await;
    assert!(matches!(next_content(&mut items).await, Item::Bookmark { .. }));
    drop(token);
    let (second, _) = enrol(&platform, &replica, mesh.id, 2).await;
    let joined = loop {
        match next_content(&mut items).await {
            Item::Event { event, .. } => break event,
            Item::Bookmark { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(joined.aggregate_id, second.node.id.0);
    assert!(matches!(joined.body, EventBody::NodeEnrolled(_)));
    stop.cancel();
}

#[tokio::test]
async fn a_node_that_missed_nothing_of_its_own_is_told_so_when_it_comes_back() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let (enrolment, node) = enrol(&platform, &replica, mesh.id, 1).await;
    token_for(&admin, mesh.id, "n9").await;
    let stop = CancellationToken::new();
    let mut items = follow(node, Some(enrolment.cursor), stop.clone());
    assert!(matches!(next_content(&mut items).await, Item::Bookmark { .. }));
    stop.cancel();
}

#[tokio::test]
async fn a_node_that_is_removed_is_told_that_its_access_has_ended() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let (enrolment, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let stop = CancellationToken::new();
    let mut items = follow(node, Some(enrolment.cursor), stop.clone());
    assert!(matches!(next(&mut items).await, Item::Connected { .. }));
    admin.remove_node(enrolment.node.id, None).await.expect("removed");
    let mut saw_withdrawal = false;
    loop {
        match next_content(&mut items).await {
            Item::Event { event, .. } => {
                saw_withdrawal |= matches!(event.body, EventBody::NodeWithdrawn(_));
            }
            Item::Refused { code, .. } => {
                assert_eq!(code, "node-left");
                break;
            }
            _ => {}
        }
    }
    assert!(saw_withdrawal, "its own withdrawal is the last thing a node sees");
}

#[tokio::test]
async fn a_cursor_of_another_epoch_or_beyond_the_head_is_gone() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mut cursor = start(&client).await;
    let good = cursor;
    cursor.event_id += 1;
    let beyond = client.events(Some(cursor), None).await.expect_err("gone");
    assert_eq!((beyond.problem().expect("problem").status, beyond.code()), (410, "beyond-head"));
    Store::start_epoch(&platform.database.url).await.expect("promoted");
    let foreign = client.events(Some(good), None).await.expect_err("gone");
    assert_eq!(
        (foreign.problem().expect("problem").status, foreign.code()),
        (410, "foreign-epoch")
    );
}

#[tokio::test]
async fn a_follower_of_the_old_epoch_takes_a_new_snapshot_by_itself() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let stop = CancellationToken::new();
    let mut items = follow(client.clone(), Some(start(&client).await), stop.clone());
    assert!(matches!(next(&mut items).await, Item::Connected { .. }));
    let epoch = Store::start_epoch(&platform.database.url).await.expect("promoted");
    loop {
        if let Item::Snapshot { cursor, .. } = next_content(&mut items).await {
            assert_eq!(cursor.epoch, epoch);
            break;
        }
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_go_on_at_the_other_replica_and_see_each_event_once_and_in_order() {
    let platform = Platform::new().await;
    let survivor = platform.replica().await;
    let writer = platform.admin(&[&survivor]);
    let from = start(&writer).await;
    let stop = CancellationToken::new();
    let mut doomed = Process::start(&platform);
    // The follower prefers the replica that is killed.
    let urls = vec![doomed.url.clone(), survivor.url.clone()];
    let follower = platform.client_of(urls, Auth::Token(platform.token.clone()));
    let mut items = follow(follower, Some(from), stop.clone());
    assert!(
        matches!(next(&mut items).await, Item::Connected { url } if url == doomed.url.as_str())
    );
    let names: Vec<String> = (0..40).map(|n| format!("net-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        writer.create_network(&new_network(name), None).await.expect("created");
        if n == 17 {
            doomed = Process::start(&platform);
        }
    }
    drop(doomed);
    let mut seen = Vec::new();
    while seen.len() < names.len() {
        match next_content(&mut items).await {
            Item::Event { event, cursor } => {
                assert_eq!(event.event_id, cursor.event_id);
                seen.push(event.event_id);
            }
            Item::Bookmark { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), names.len());
    stop.cancel();
}

#[tokio::test]
async fn what_one_replica_commits_a_follower_of_the_other_sees_at_once() {
    let platform = Platform::new().await;
    let (here, there) = (platform.replica().await, platform.replica().await);
    let writer = platform.admin(&[&here]);
    let reader = platform.admin(&[&there]);
    reader.ready().await.expect("ready");
    let stop = CancellationToken::new();
    let mut items = follow(reader, Some(start(&writer).await), stop.clone());
    assert!(matches!(next(&mut items).await, Item::Connected { .. }));
    // The wake-up connection of the other replica may take a moment; then nothing waits for the poll.
    for n in 0..20 {
        writer.create_network(&new_network(&format!("net-{n}")), None).await.expect("created");
    }
    let mut seen = 0;
    while seen < 20 {
        if let Item::Event { .. } = next_content(&mut items).await {
            seen += 1;
        }
    }
    stop.cancel();
}

#[tokio::test]
async fn a_replica_that_has_just_started_hides_nothing_from_a_follower() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let writer = platform.admin(&[&replica]);
    let from = start(&writer).await;
    for n in 0..5 {
        writer.create_network(&new_network(&format!("net-{n}")), None).await.expect("created");
    }
    for _ in 0..10 {
        let young = platform.replica_at_once().await;
        let stop = CancellationToken::new();
        let mut items = follow(platform.admin(&[&young]), Some(from), stop.clone());
        let mut seen = 0;
        while seen < 5 {
            if let Item::Event { .. } = next_content(&mut items).await {
                seen += 1;
            }
        }
        stop.cancel();
        young.stop.cancel();
        young.replica.stopped().await;
    }
}

#[tokio::test]
async fn nobody_follows_without_credentials() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let mut items = follow(nobody, None, CancellationToken::new());
    assert!(
        matches!(next(&mut items).await, Item::Refused { code, .. } if code == "unauthenticated")
    );
}
