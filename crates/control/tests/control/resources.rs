use sextant_api::{
    client::{ClientError, PageQuery},
    resource::{
        enrolment::EnrolmentTokenPhase,
        network::NetworkPatch,
        node::{NodePatch, NodePhase},
    },
};
use sextant_model::Cursor;

use crate::{Platform, enrol, label, network, new_network, token_for};

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.expect_err("refused").code().to_owned()
}

#[tokio::test]
async fn a_network_lives_from_creation_to_deletion_under_its_version() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let created = client.create_network(&new_network("a"), None).await.expect("created");
    assert_eq!(created.etag.as_deref(), Some("\"1\""));
    let id = created.value.id;
    // Read your writes: the list that is asked for next has it.
    let list = client.networks(&PageQuery::default()).await.expect("list");
    assert_eq!(list.items, [created.value]);

    let patch = NetworkPatch { name: label("b") };
    let renamed = client.patch_network(id, &patch, "\"1\"").await.expect("renamed");
    assert_eq!(renamed.etag.as_deref(), Some("\"2\""));
    assert_eq!(code(client.patch_network(id, &patch, "\"1\"").await), "version-mismatch");
    assert_eq!(code(client.delete_network(id, Some("\"1\"")).await), "version-mismatch");
    client.delete_network(id, Some("\"2\"")).await.expect("deleted");
    assert_eq!(code(client.network(id).await), "not-found");
    client.create_network(&new_network("b"), None).await.expect("the name is free again");
}

#[tokio::test]
async fn a_repeated_key_changes_nothing_and_a_reused_one_is_refused() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let first = client.create_network(&new_network("a"), Some("k")).await.expect("created");
    let again = client.create_network(&new_network("a"), Some("k")).await.expect("replayed");
    assert_eq!(first, again);
    let reused = client.create_network(&new_network("b"), Some("k")).await;
    assert_eq!(code(reused), "idempotency-key-reused");
    assert_eq!(client.networks(&PageQuery::default()).await.expect("list").items.len(), 1);
}

#[tokio::test]
async fn a_failed_command_leaves_nothing_half_done() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mut first = new_network("a");
    first.ipv6_prefix = "fd00:1::/48".parse().ok();
    client.create_network(&first, None).await.expect("created");
    let mut overlapping = new_network("b");
    overlapping.ipv6_prefix = "fd00:1::/40".parse().ok();
    let before = client.events(None, None).await.expect("events").frames.len();
    assert_eq!(code(client.create_network(&overlapping, Some("k")).await), "prefix-overlap");
    assert_eq!(client.events(None, None).await.expect("events").frames.len(), before);
    // Neither the name nor the key was taken by the attempt.
    overlapping.ipv6_prefix = "fd00:2::/48".parse().ok();
    client.create_network(&overlapping, Some("k")).await.expect("created");
}

#[tokio::test]
async fn a_node_leaves_in_two_steps_and_its_network_can_go_afterwards() {
    use sextant_api::resource::report::{NodeReport, WireGuardImplementation};
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mesh = network(&client).await;
    let (first, first_client) = enrol(&platform, &replica, mesh.id, 1).await;
    let (second, second_client) = enrol(&platform, &replica, mesh.id, 2).await;
    assert_ne!(first.node.prefix, second.node.prefix);
    assert_eq!(second.membership.members.len(), 2);
    assert_eq!(code(client.delete_network(mesh.id, None).await), "network-in-use");

    let removed = client.remove_node(second.node.id, None).await.expect("removed");
    assert_eq!(removed.phase, NodePhase::Withdrawn);
    assert_eq!(code(second_client.snapshot().await), "node-left");
    assert_eq!(code(client.delete_network(mesh.id, None).await), "network-in-use");

    let head = client.events(None, Some(1000)).await.expect("events").head;
    let report = NodeReport {
        revision: head,
        agent_version: "test".into(),
        clock: first.node.enrolled_at,
        implementation: WireGuardImplementation::Userspace,
        mtu: 1420,
        underlay_mtu: 1500,
        problems: vec![],
        peers: vec![],
        workloads_live: vec![],
        agent: None,
    };
    first_client.report(&report).await.expect("acknowledged");
    let released = async {
        loop {
            let node = client.node(second.node.id).await.expect("node").value;
            if node.phase == NodePhase::Released {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), released).await.expect("released");
    client.remove_node(first.node.id, None).await.expect("removed");
}

#[tokio::test]
async fn a_moved_node_is_where_it_says_and_status_knows_its_lag() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mesh = network(&client).await;
    let (enrolment, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let patch = NodePatch { endpoint: "[2001:db8::77]:7".parse().expect("endpoint") };
    assert_eq!(node.patch_own_node(&patch).await.expect("moved").endpoint, patch.endpoint);
    let status = client.status().await.expect("status");
    assert_eq!(status.nodes.len(), 1);
    assert_eq!(status.nodes[0].revision, None, "it has not reported");
    let etag = client.node(enrolment.node.id).await.expect("node").etag.expect("etag");
    let elsewhere = NodePatch { endpoint: "[2001:db8::78]:7".parse().expect("endpoint") };
    let moved = client.patch_node(enrolment.node.id, &elsewhere, &etag).await.expect("moved");
    assert_eq!(moved.value.endpoint, elsewhere.endpoint);
}

#[tokio::test]
async fn a_revoked_api_token_no_longer_opens_anything() {
    use sextant_api::resource::api_token::NewApiToken;
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let new = NewApiToken {
        name: label("reader"),
        role: sextant_model::OperatorRole::Viewer,
        org_id: None,
        expires_in: None,
    };
    let token = client.create_api_token(&new, Some("k")).await.expect("created");
    let again = client.create_api_token(&new, Some("k")).await.expect("replayed");
    assert_eq!((again.id, again.token), (token.id, None), "the secret is shown once");
    let secret = token.token.expect("shown");
    let viewer = platform.client(&[&replica], sextant_api::Auth::Token(secret));
    viewer.status().await.expect("may read");
    assert_eq!(code(viewer.create_network(&new_network("a"), None).await), "forbidden");
    client.revoke_api_token(token.id).await.expect("revoked");
    assert_eq!(code(viewer.status().await), "unauthenticated");
}

#[tokio::test]
async fn the_log_is_read_in_pages_and_holds_no_secret() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mesh = network(&client).await;
    token_for(&client, mesh.id, "n1").await;
    let mut after: Option<Cursor> = None;
    let mut seen = 0;
    loop {
        let page = client.events(after, Some(1)).await.expect("page");
        assert!(!serde_json::to_string(&page).expect("json").contains("secret_hash"));
        seen += page.frames.len();
        if !page.has_more {
            break;
        }
        after = Some(page.next_after);
    }
    assert_eq!(seen, 3);
    let tokens = client.enrolment_tokens(&PageQuery::default()).await.expect("tokens");
    assert_eq!(tokens.items[0].phase, EnrolmentTokenPhase::Open);
    assert_eq!(tokens.items[0].token, None);
}
