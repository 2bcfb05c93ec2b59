//! Two processes that speak as one node, and what a node leaves to others when it goes.

use std::time::{Duration, Instant};

use sextant_api::{
    Auth, Client,
    follow::{Item, follow},
    resource::node::NodePatch,
};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::{Machine, Platform, network, token_for};

const LIMIT: Duration = Duration::from_secs(40);

/// A process that follows as a node; it ends when dropped.
struct Process {
    items: Receiver<Item>,
    client: Client,
    _stop: DropGuard,
}

impl Process {
    fn start(client: &Client) -> Self {
        let client = client.clone().as_instance(Uuid::now_v7());
        let stop = CancellationToken::new();
        let items = follow(client.clone(), None, stop.clone());
        Self { items, client, _stop: stop.drop_guard() }
    }

    /// The next item that is not of the usual kind: a refusal, or a snapshot.
    async fn snapshot_or_refusal(&mut self) -> Result<(), String> {
        let next = async {
            loop {
                match self.items.recv().await.expect("an item") {
                    Item::Snapshot { .. } => return Ok(()),
                    Item::Refused { code, detail } => return Err(format!("{code}: {detail}")),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("in time")
    }
}

#[tokio::test]
async fn of_two_machines_with_one_identity_the_later_one_is_refused_on_whatever_replica() {
    let platform = Platform::new().await;
    let (here, there) = (platform.replica().await, platform.replica().await);
    let admin = platform.admin(&[&here]);
    let mesh = network(&admin).await;
    let machine = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    let nobody = platform.client(&[&here], Auth::Nobody);
    let auth = machine.auth(&nobody.enrol(&machine.request).await.expect("enrolled"));
    let (at_here, at_there) =
        (platform.client(&[&here], auth.clone()), platform.client(&[&there], auth));

    // Restarts, at either replica, are no second machine.
    for round in 0..4 {
        let client = if round % 2 == 0 { &at_here } else { &at_there };
        assert_eq!(Process::start(client).snapshot_or_refusal().await, Ok(()), "round {round}");
    }
    let mut first = Process::start(&at_here);
    assert_eq!(first.snapshot_or_refusal().await, Ok(()));
    // The processes before it are forgotten when it has been served for a while.
    let forgotten = async {
        while platform.instances().await != [("holder".to_owned(), 1)] {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LIMIT, forgotten).await.expect("it takes over");
    let of_first =
        |status: &sextant_api::resource::status::Status| status.nodes[0].duplicates.clone();
    assert!(of_first(&admin.status().await.expect("status")).is_empty());

    let started = Instant::now();
    let mut second = Process::start(&at_there);
    assert_eq!(second.snapshot_or_refusal().await, Ok(()), "it may be a restart");
    let refusal = second.snapshot_or_refusal().await.expect_err("refused");
    assert!(refusal.starts_with("node-duplicate: ") && refusal.contains("::1"), "{refusal}");
    // 10 s by design; the rest is for a busy machine.
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    assert_eq!(of_first(&admin.status().await.expect("status")), ["::1", "::1"]);
    let patch = NodePatch { endpoint: "[2001:db8::9]:1".parse().expect("endpoint") };
    let error = second.client.patch_own_node(&patch).await.expect_err("refused");
    assert_eq!(error.code(), "node-duplicate");
    first.client.patch_own_node(&patch).await.expect("the first one is served");
}

#[tokio::test]
async fn a_name_is_free_when_its_node_is_removed_and_an_endpoint_belongs_to_one_node() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let mesh = network(&admin).await;
    let enrol = async |n: u16, name: &str, endpoint: &str| {
        let mut machine = Machine::new(n, token_for(&admin, mesh.id, name).await);
        machine.request.node_name = crate::label(name);
        machine.request.endpoint = endpoint.parse().expect("endpoint");
        nobody.enrol(&machine.request).await
    };
    let first = enrol(1, "web", "[2001:db8::1]:1").await.expect("enrolled").node;
    // One that is silent holds up the addresses of those that leave, and not their names.
    enrol(2, "silent", "[2001:db8::2]:1").await.expect("enrolled");
    let error = enrol(3, "other", "[2001:db8::1]:1").await.expect_err("taken");
    assert_eq!(error.code(), "endpoint-taken");
    assert!(error.to_string().contains("\"web\""), "{error}");
    let other = enrol(3, "other", "[2001:db8::1]:2").await.expect("another port").node;
    let patch = NodePatch { endpoint: first.endpoint };
    let etag = admin.node(other.id).await.expect("node").etag.expect("etag");
    let error = admin.patch_node(other.id, &patch, &etag).await.expect_err("taken");
    assert_eq!(error.code(), "endpoint-taken");

    assert_eq!(enrol(4, "web", "[2001:db8::4]:1").await.expect_err("taken").code(), "name-taken");
    admin.remove_node(first.id, None).await.expect("removed");
    let second = enrol(5, "web", "[2001:db8::1]:1").await.expect("name and endpoint are free").node;
    assert_ne!(second.prefix, first.prefix, "its addresses are not");
    let status = admin.status().await.expect("status");
    let leaving = status.nodes.iter().find(|node| node.node.id == first.id).expect("leaving");
    assert_eq!(leaving.waits_for.len(), 2, "those that knew it: {leaving:?}");
}
