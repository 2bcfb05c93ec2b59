//! A database that does not answer: what the replica says of itself, and where its followers go.

use std::time::Duration;

use sextant_api::{
    Auth, Client,
    follow::{Item, follow},
};
use sextant_lab::postgres::{Relay, psql, query};
use sextant_model::EventBody;
use tokio::{sync::mpsc::Receiver, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{Platform, Running, enrol, network, new_network};

/// Far beyond every limit that is tested, so that a busy machine does not matter.
const PATIENCE: Duration = Duration::from_secs(90);

/// A replica behind a relay that can fall silent, and one that is well.
async fn pair(platform: &Platform) -> (Relay, Running, Running) {
    let relay = platform.database.relay().expect("relay");
    let url = relay.url(platform.database.name(), &platform.database.role);
    let cut_off = platform.replica_on(&url).await;
    let nobody = platform.client(&[&cut_off], Auth::Nobody);
    await_ready(&nobody).await;
    (relay, cut_off, platform.replica().await)
}

async fn await_ready(client: &Client) {
    let ready = async {
        while client.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("ready");
}

async fn await_connected(items: &mut Receiver<Item>, to: &Running) {
    let url = to.url.to_string();
    let connected = async {
        loop {
            match items.recv().await.expect("open") {
                Item::Connected { url: found } if found == url => return,
                Item::Refused { code, .. } => panic!("{code}"),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, connected).await.expect("connected");
}

async fn await_network(items: &mut Receiver<Item>) {
    let created = async {
        loop {
            if let Item::Event { event, .. } = items.recv().await.expect("open")
                && matches!(event.body, EventBody::NetworkCreated(_))
            {
                return;
            }
        }
    };
    timeout(PATIENCE, created).await.expect("the event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_database_is_silent_says_so_and_its_followers_go_to_the_other_one() {
    let platform = Platform::new().await;
    let (relay, cut_off, well) = pair(&platform).await;
    let stop = CancellationToken::new();
    let from = platform.admin(&[&well]).events(None, None).await.expect("events").next_after;
    let mut items = follow(platform.admin(&[&cut_off, &well]), Some(from), stop.clone());
    await_connected(&mut items, &cut_off).await;

    relay.silence();
    await_connected(&mut items, &well).await;
    let writer = platform.admin(&[&well]);
    writer.create_network(&new_network("second"), None).await.expect("created");
    await_network(&mut items).await;

    let nobody = platform.client(&[&cut_off], Auth::Nobody);
    let refused = nobody.ready().await.expect_err("not ready");
    assert_eq!(refused.code(), "not-ready", "{refused}");
    let raw = platform.raw().get(cut_off.url.join("/v1/health").expect("url")).send().await;
    assert_eq!(raw.expect("an answer").status(), 200, "the process is alive");
    // Neither a page of the log nor a new stream: the follower is sent elsewhere.
    let page = platform.admin(&[&cut_off]).events(Some(from), None).await.expect_err("no page");
    assert_eq!(page.problem().map(|problem| problem.status), Some(503), "{page}");

    relay.speak();
    await_ready(&nobody).await;
    let page = platform.admin(&[&cut_off]).events(Some(from), None).await.expect("a page");
    assert_eq!(page.frames.len(), 1);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_nowhere_else_to_go_stays_and_goes_on_when_the_log_does() {
    let platform = Platform::new().await;
    let (relay, cut_off, well) = pair(&platform).await;
    let writer = platform.admin(&[&well]);
    let from = writer.events(None, None).await.expect("events").next_after;
    let stop = CancellationToken::new();
    let mut items = follow(platform.admin(&[&cut_off]), Some(from), stop.clone());
    await_connected(&mut items, &cut_off).await;
    relay.silence();
    let nobody = platform.client(&[&cut_off], Auth::Nobody);
    let stalled = async {
        while nobody.ready().await.err().is_none_or(|error| error.code() != "not-ready") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, stalled).await.expect("not ready");
    writer.create_network(&new_network("second"), None).await.expect("created");
    relay.speak();
    // Over the same stream: it was never given up.
    let created = async {
        loop {
            match items.recv().await.expect("open") {
                Item::Disconnected { reason } => panic!("{reason}"),
                Item::Event { .. } => return,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, created).await.expect("the event");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_sessions_are_stopped_or_ended_is_well_again_by_itself() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    network(&client).await;
    let sessions = "SELECT pid FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'sextant'";
    let pids = query(&platform.database.url, sessions).expect("sessions");
    let signal = |name: &str| {
        let status = std::process::Command::new("kill").arg(name).args(&pids).status();
        assert!(status.expect("kill").success());
    };
    signal("-STOP");
    let mut n = 0;
    let written = async {
        loop {
            n += 1;
            let new = new_network(&format!("after-stop-{n}"));
            // Accepted and not visible yet is not well.
            if let Ok(made) = client.create_network(&new, None).await
                && client.network(made.value.id).await.is_ok()
            {
                return;
            }
        }
    };
    let outcome = timeout(PATIENCE, written).await;
    signal("-CONT");
    outcome.expect("a write that can be read");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'sextant'";
    psql(&platform.database.url, &[end]).expect("ended");
    await_ready(&platform.client(&[&replica], Auth::Nobody)).await;
    let written =
        async { while client.create_network(&new_network("after-end"), None).await.is_err() {} };
    timeout(PATIENCE, written).await.expect("a write");
}

#[tokio::test]
async fn a_node_that_is_not_asked_for_is_found_in_the_snapshot_at_its_cursor() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let (_, node) = enrol(&platform, &replica, mesh.id, 1).await;
    // Another projection is new, and has to be filled from the beginning.
    let forget = "DELETE FROM projection_checkpoints WHERE projection = 'port-grants'";
    psql(&platform.database.url, &[forget]).expect("forgotten");
    let head = admin.events(None, Some(1000)).await.expect("events").head;
    let snapshot = node.snapshot().await.expect("a snapshot");
    let sextant_api::Frame::Snapshot { cursor, .. } = snapshot else { panic!("{snapshot:?}") };
    assert_eq!(cursor, head, "the cursor is that of the rows");
    let written = admin.create_network(&new_network("second"), None).await.expect("created");
    admin.network(written.value.id).await.expect("it can be read at once");
}
