//! Connections and streams of many.

use sextant_api::{Auth, resource::api_token::NewApiToken};
use sextant_control::door::{
    limits::{Limits, StreamLimits},
    places::{Share, Shares},
};
use sextant_model::OperatorRole;

use super::{PATIENCE, Wire, generous, replica, until};
use crate::{Machine, Platform, label, network, tenancy::org, token_for};

fn few() -> Shares {
    Shares {
        strangers: Share { places: 4, of_group: 4, of_member: usize::MAX },
        loopback: 4,
        tenants: Share { places: 8, of_group: 4, of_member: 2 },
        operators: Share { places: 3, of_group: 3, of_member: usize::MAX },
        nodes: Share { places: 4, of_group: 2, of_member: usize::MAX },
    }
}

async fn tenants_token(platform: &Platform, replica: &crate::Running, name: &str) -> String {
    let admin = platform.admin(&[replica]);
    let org = org(&admin, name).await;
    let (role, org_id) = (OperatorRole::Viewer, Some(org.id));
    let new = NewApiToken { name: label("tenant"), role, org_id, expires_in: None };
    admin.create_api_token(&new, None).await.expect("token").token.expect("shown")
}

#[tokio::test]
async fn silent_strangers_give_way_and_take_no_place_of_those_who_are_known() {
    let platform = Platform::new().await;
    let replica = replica(&platform, Limits { places: few(), ..generous() }).await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let machine = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let enrolment = nobody.enrol(&machine.request).await.expect("enrolled");
    let node = Wire::try_open(&platform, &replica, &machine.auth(&enrolment)).await;
    let mut node = node.expect("connected");
    let mut operator = Wire::open(&platform, &replica).await;
    operator.get("/v1/orgs", Some(&platform.token)).await;
    assert!(operator.answer().await.starts_with("HTTP/1.1 200"));

    let mut strangers = Vec::new();
    for _ in 0..12 {
        strangers.push(Wire::open(&platform, &replica).await);
    }
    for stranger in &mut strangers[..8] {
        assert_eq!(stranger.rest().await, b"", "the oldest have given way");
    }
    for _ in 0..3 {
        admin.orgs(&sextant_api::client::PageQuery::default()).await.expect("operators are served");
    }
    operator.get("/v1/orgs", Some(&platform.token)).await;
    assert!(operator.answer().await.starts_with("HTTP/1.1 200"), "and keep their connections");
    node.get("/v1/snapshot", None).await;
    assert!(node.answer().await.starts_with("HTTP/1.1 200"), "so do nodes");
}

#[tokio::test]
async fn one_token_and_one_org_have_so_many_connections_and_others_theirs() {
    let platform = Platform::new().await;
    let replica = replica(&platform, Limits { places: few(), ..generous() }).await;
    let token = tenants_token(&platform, &replica, "shop").await;
    let other = tenants_token(&platform, &replica, "bakery").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::open(&platform, &replica).await;
        wire.get("/v1/orgs", Some(&token)).await;
        assert!(wire.answer().await.starts_with("HTTP/1.1 200"));
        held.push(wire);
    }
    let mut third = Wire::open(&platform, &replica).await;
    third.get("/v1/orgs", Some(&token)).await;
    let answer = third.answer().await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "), "{answer}");
    assert!(answer.contains("\"too-many-connections\""), "{answer}");
    third.rest().await;
    let mut wire = Wire::open(&platform, &replica).await;
    wire.get("/v1/orgs", Some(&other)).await;
    assert!(wire.answer().await.starts_with("HTTP/1.1 200"), "another org is not touched");
    drop(held);
    until("the places are free again", async || {
        let mut wire = Wire::open(&platform, &replica).await;
        wire.get("/v1/orgs", Some(&token)).await;
        wire.answer().await.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn one_token_and_one_org_have_so_many_streams_and_others_theirs() {
    let platform = Platform::new().await;
    let streams = StreamLimits { of_token: 1, of_org: 2, of_node: 1 };
    let replica = replica(&platform, Limits { streams, ..generous() }).await;
    let token = tenants_token(&platform, &replica, "shop").await;
    let other = tenants_token(&platform, &replica, "bakery").await;
    let mut first = Wire::open(&platform, &replica).await;
    assert!(first.follow(&token, "0").await.starts_with("HTTP/1.1 101"));
    let answer = Wire::open(&platform, &replica).await.follow(&token, "0").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "), "{answer}");
    assert!(answer.contains("\"too-many-streams\""), "{answer}");
    let answer = Wire::open(&platform, &replica).await.follow(&other, "0").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    drop(first);
    until("the stream is free again", async || {
        Wire::open(&platform, &replica).await.follow(&token, "0").await.starts_with("HTTP/1.1 101")
    })
    .await;
}

#[tokio::test]
async fn a_node_has_so_many_connections() {
    let platform = Platform::new().await;
    let replica = replica(&platform, Limits { places: few(), ..generous() }).await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let machine = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let auth = machine.auth(&nobody.enrol(&machine.request).await.expect("enrolled"));
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::try_open(&platform, &replica, &auth).await.expect("connected");
        assert!(wire.is_open().await);
        open.push(wire);
    }
    let mut third = Wire::try_open(&platform, &replica, &auth).await.expect("connected");
    third.get("/v1/snapshot", None).await;
    let answer = tokio::time::timeout(PATIENCE, third.answer()).await.expect("answered");
    assert!(answer.contains("\"too-many-connections\""), "{answer}");
}
