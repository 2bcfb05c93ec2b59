//! Work of many at the same time.

use std::time::Duration;

use futures_util::future::join_all;
use sextant_api::{
    Auth,
    client::PageQuery,
    resource::{api_token::NewApiToken, app::NewApp},
};
use sextant_control::door::{
    limits::{Limits, Work},
    turns::Rules,
};
use sextant_model::OperatorRole;

use super::{generous, replica};
use crate::{
    Platform, enrol, label, network,
    tenancy::{org, org_client},
};

/// The wait of a replay for its projection, twice: whoever has to wait for somebody else's takes
/// longer.
const UNDISTURBED: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn replays_of_one_org_delay_neither_another_org_nor_a_node() {
    let platform = Platform::new().await;
    let replica = replica(&platform, generous()).await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let (_, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let (shop, bakery) = (org(&admin, "shop").await, org(&admin, "bakery").await);
    let attacker = org_client(&platform, &replica, shop.id, OperatorRole::Admin).await;
    let other = org_client(&platform, &replica, bakery.id, OperatorRole::Viewer).await;
    let page = PageQuery::default();
    other.apps(None, &page).await.expect("connected");
    node.snapshot().await.expect("connected");
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        let new = NewApp { org_id: Some(shop.id), name: label(&format!("app-{round}")) };
        let key = format!("fresh-{round}");
        let replays = join_all((0..48).map(|_| attacker.create_app(&new, Some(&key))));
        let others = async {
            for _ in 0..10 {
                let started = std::time::Instant::now();
                other.apps(None, &page).await.expect("served");
                node.snapshot().await.expect("served");
                slowest = slowest.max(started.elapsed());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (made, ()) = tokio::join!(replays, others);
        let made: Vec<_> = made.into_iter().map(|made| made.expect("made or replayed")).collect();
        assert!(made.iter().all(|app| app.value.id == made[0].value.id), "one app");
    }
    assert!(slowest < UNDISTURBED, "others waited {slowest:?}");
}

#[tokio::test]
async fn an_org_that_asks_too_much_at_once_is_told_so_and_another_is_served() {
    let platform = Platform::new().await;
    let one = Rules { at_once: 2, of_group: 1, of_member: 1, queue_of_group: 2, queue: 100 };
    let work = Work { tenants: one, ..Limits::default().work };
    let replica = replica(&platform, Limits { work, ..generous() }).await;
    let admin = platform.admin(&[&replica]);
    let (shop, bakery) = (org(&admin, "shop").await, org(&admin, "bakery").await);
    let many = org_client(&platform, &replica, shop.id, OperatorRole::Admin).await;
    let other = org_client(&platform, &replica, bakery.id, OperatorRole::Viewer).await;
    let page = PageQuery::default();
    let flood = join_all((0..60).map(|_| many.apps(None, &page)));
    let others = async {
        for _ in 0..20 {
            other.apps(None, &page).await.expect("served");
        }
    };
    let (flood, ()) = tokio::join!(flood, others);
    let (served, refused): (Vec<_>, Vec<_>) = flood.into_iter().partition(Result::is_ok);
    assert!(served.len() >= 3, "{} were served", served.len());
    assert!(!refused.is_empty(), "the queue has a bound");
    for answer in refused {
        assert_eq!(answer.expect_err("refused").code(), "too-many-requests");
    }
    many.apps(None, &page).await.expect("and is served again");
}

#[tokio::test]
async fn an_org_that_fills_the_lane_for_long_reads_keeps_nobody_from_short_ones() {
    let platform = Platform::new().await;
    let replica = replica(&platform, generous()).await;
    let admin = platform.admin(&[&replica]);
    let shop = org(&admin, "shop").await;
    let new = NewApiToken {
        name: label("reader"),
        role: OperatorRole::Viewer,
        org_id: Some(shop.id),
        expires_in: None,
    };
    let token = admin.create_api_token(&new, None).await.expect("token").token.expect("shown");
    let reader = platform.client(&[&replica], Auth::Token(token));
    let reads = join_all((0..64).map(|_| reader.snapshot()));
    let others = async {
        let page = PageQuery::default();
        for _ in 0..10 {
            reader.apps(None, &page).await.expect("short reads go on");
            admin.orgs(&page).await.expect("operators have their own");
        }
    };
    let (reads, ()) = tokio::join!(reads, others);
    assert!(reads.iter().all(Result::is_ok), "all come to their turn");
}
