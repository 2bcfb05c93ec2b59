//! A token that was made with another one ends with it and may do no more.

use sextant_api::{
    Auth, Client,
    client::PageQuery,
    resource::api_token::{ApiToken, NewApiToken},
};
use sextant_model::{OperatorRole, OrgId};

use crate::{Platform, label, tenancy::org};

fn wish(name: &str, org_id: Option<OrgId>, expires_in: Option<u64>) -> NewApiToken {
    NewApiToken { name: label(name), role: OperatorRole::Admin, org_id, expires_in }
}

async fn make(client: &Client, wish: &NewApiToken) -> ApiToken {
    client.create_api_token(wish, None).await.expect("token")
}

#[tokio::test]
async fn what_a_token_made_is_revoked_with_it_down_to_the_grandchildren() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let holder = |token: &ApiToken| {
        platform.client(&[&replica], Auth::Token(token.token.clone().expect("shown")))
    };
    let first = platform.admin(&[&replica]);
    let shop = org(&first, "shop").await;
    let page = PageQuery::default();
    let root = make(&first, &wish("root", None, None)).await;
    let child = make(&holder(&root), &wish("child", Some(shop.id), None)).await;
    let grandchild = make(&holder(&child), &wish("grandchild", None, None)).await;
    let stranger = make(&first, &wish("stranger", Some(shop.id), None)).await;
    assert_eq!((child.parent, grandchild.parent), (Some(root.id), Some(child.id)));
    assert_eq!(grandchild.org_id, Some(shop.id));
    let listed = first.api_tokens(&page).await.expect("tokens").items;
    let parent = |token: &ApiToken| {
        listed.iter().find(|listed| listed.id == token.id).expect("listed").parent
    };
    assert_eq!((parent(&child), parent(&grandchild)), (Some(root.id), Some(child.id)));
    assert_eq!(listed[0].parent, None, "the first token was made by nobody");
    // An org is not told of the platform's tokens.
    let own = holder(&grandchild).api_tokens(&page).await.expect("tokens").items;
    let of_child = own.iter().find(|token| token.id == child.id).expect("listed");
    assert_eq!(of_child.parent, None);

    first.revoke_api_token(root.id).await.expect("revoked");
    for gone in [&root, &child, &grandchild] {
        let error = holder(gone).orgs(&page).await.expect_err("refused");
        assert_eq!(error.code(), "unauthenticated", "{}", gone.name);
    }
    holder(&stranger).orgs(&page).await.expect("made with another token");
    let listed = first.api_tokens(&page).await.expect("tokens").items;
    let revoked: Vec<_> =
        listed.iter().filter(|token| token.revoked).map(|token| token.name.as_str()).collect();
    assert_eq!(revoked, ["root", "child", "grandchild"]);
}

#[tokio::test]
async fn a_token_of_a_token_that_expires_expires_no_later() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let first = platform.admin(&[&replica]);
    let shop = org(&first, "shop").await;
    let short = make(&first, &wish("short", Some(shop.id), Some(3600))).await;
    let holder = platform.client(&[&replica], Auth::Token(short.token.clone().expect("shown")));
    let endless = make(&holder, &wish("endless", None, None)).await;
    assert_eq!(endless.expires_at, short.expires_at);
    let shorter = make(&holder, &wish("shorter", None, Some(60))).await;
    assert!(shorter.expires_at < short.expires_at);
    let longer = holder.create_api_token(&wish("longer", None, Some(7200)), None).await;
    assert_eq!(longer.expect_err("refused").code(), "lifetime-exceeded");
    let page = PageQuery::default();
    assert_eq!(holder.api_tokens(&page).await.expect("tokens").items.len(), 3);
}

#[tokio::test]
async fn a_token_ends_with_its_parent_even_if_only_the_parent_has_ended() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let first = platform.admin(&[&replica]);
    let root = make(&first, &wish("root", None, None)).await;
    let holder = platform.client(&[&replica], Auth::Token(root.token.clone().expect("shown")));
    let child = make(&holder, &wish("child", None, None)).await;
    // As if the child had been made while the parent was being revoked.
    sqlx::query("UPDATE api_tokens SET expires_at = now() - interval '1 s' WHERE token_id = $1")
        .bind(root.id.0)
        .execute(&mut connect(&platform).await)
        .await
        .expect("ended");
    let child = platform.client(&[&replica], Auth::Token(child.token.expect("shown")));
    let error = child.orgs(&PageQuery::default()).await.expect_err("refused");
    assert_eq!(error.code(), "unauthenticated");
}

async fn connect(platform: &Platform) -> sqlx::PgConnection {
    use sqlx::Connection;
    sqlx::PgConnection::connect(&platform.database.url).await.expect("connected")
}
