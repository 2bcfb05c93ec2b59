//! Orgs, apps and environments: their life, their names, and who sees what of them.

use sextant_api::{
    Auth, Client,
    client::{ClientError, EnvironmentQuery, PageQuery, WorkloadQuery},
    follow::{Item, follow},
    frame::{Frame, SnapshotState},
    resource::{
        api_token::NewApiToken,
        app::{App, NewApp},
        environment::{Environment, NewEnvironment},
        org::{NewOrg, Org},
        workload::{HealthReport, NewWorkload, ReportedHealth},
    },
};
use sextant_model::{AppId, EventBody, OperatorRole, OrgId};
use tokio_util::sync::CancellationToken;

use crate::{Platform, Running, enrol, label, network, new_network};

pub fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.expect_err("refused").code().to_owned()
}

pub async fn org(client: &Client, name: &str) -> Org {
    client.create_org(&NewOrg { name: label(name) }, None).await.expect("org").value
}

pub async fn app(client: &Client, org: OrgId, name: &str) -> App {
    let new = NewApp { org_id: Some(org), name: label(name) };
    client.create_app(&new, None).await.expect("app").value
}

pub async fn environment(client: &Client, app: AppId, name: &str) -> Environment {
    let new = NewEnvironment { app_id: app, name: label(name), network_id: None };
    client.create_environment(&new, None).await.expect("environment").value
}

/// Environment `NAME/web/prod`, in the only network there is.
pub async fn tenant(client: &Client, name: &str) -> Environment {
    let org = org(client, name).await;
    let app = app(client, org.id, "web").await;
    environment(client, app.id, "prod").await
}

/// A client with an API token of `org`.
pub async fn org_client(
    platform: &Platform,
    replica: &Running,
    org: OrgId,
    role: OperatorRole,
) -> Client {
    let admin = platform.admin(&[replica]);
    let new =
        NewApiToken { name: label("tenant"), role, org_id: Some(org), expires_in: Some(3600) };
    let token = admin.create_api_token(&new, None).await.expect("token");
    assert_eq!(token.org_id, Some(org));
    platform.client(&[replica], Auth::Token(token.token.expect("shown once")))
}

async fn event_count(client: &Client) -> usize {
    client.events(None, Some(1000)).await.expect("events").frames.len()
}

#[tokio::test]
async fn an_environment_lives_in_its_app_and_both_in_their_org() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mesh = network(&client).await;
    let org = org(&client, "shop").await;
    let app = app(&client, org.id, "web").await;
    assert_eq!((app.org_name.as_str(), app.name.as_str()), ("shop", "web"));
    let environment = environment(&client, app.id, "prod").await;
    assert_eq!(environment.path(), "shop/web/prod");
    assert_eq!(environment.network_id, mesh.id, "the only network there is");

    // What was answered can be read, one by one and in lists.
    let page = PageQuery::default();
    assert_eq!(client.org(org.id).await.expect("org").value, org);
    assert_eq!(client.app(app.id).await.expect("app").value, app);
    let read = client.environment(environment.id).await.expect("environment");
    assert_eq!((read.etag.as_deref(), &read.value), (Some("\"1\""), &environment));
    assert_eq!(client.orgs(&page).await.expect("orgs").items, std::slice::from_ref(&org));
    let apps = client.apps(Some(org.id), &page).await.expect("apps").items;
    assert_eq!(apps, std::slice::from_ref(&app));
    let of_app = EnvironmentQuery { app_id: Some(app.id), ..EnvironmentQuery::default() };
    assert_eq!(
        client.environments(&of_app).await.expect("list").items,
        std::slice::from_ref(&environment)
    );

    assert_eq!(code(client.delete_org(org.id, None).await), "org-in-use");
    assert_eq!(code(client.delete_app(app.id, None).await), "app-in-use");
    assert_eq!(code(client.delete_network(mesh.id, None).await), "network-in-use");
    let stale = client.delete_environment(environment.id, Some("\"7\"")).await;
    assert_eq!(code(stale), "version-mismatch");
    client.delete_environment(environment.id, read.etag.as_deref()).await.expect("deleted");
    assert_eq!(code(client.environment(environment.id).await), "not-found");
    assert_eq!(code(client.delete_environment(environment.id, None).await), "not-found");
    client.delete_app(app.id, None).await.expect("deleted");
    client.delete_org(org.id, None).await.expect("deleted");
    assert_eq!(client.orgs(&page).await.expect("orgs").items, []);
    client.delete_network(mesh.id, None).await.expect("nothing uses it any more");
}

#[tokio::test]
async fn names_are_taken_where_they_must_be_unique_and_nothing_changes() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    network(&client).await;
    let (first, second) = (org(&client, "shop").await, org(&client, "bank").await);
    let web = app(&client, first.id, "web").await;
    let prod = environment(&client, web.id, "prod").await;
    let before = event_count(&client).await;
    assert_eq!(code(client.create_org(&NewOrg { name: label("shop") }, None).await), "name-taken");
    let twice = NewApp { org_id: Some(first.id), name: label("web") };
    assert_eq!(code(client.create_app(&twice, None).await), "name-taken");
    let again = NewEnvironment { app_id: web.id, name: label("prod"), network_id: None };
    assert_eq!(code(client.create_environment(&again, None).await), "name-taken");
    assert_eq!(event_count(&client).await, before);

    // The same name elsewhere is another name, and a name that was given up is free.
    let other = app(&client, second.id, "web").await;
    environment(&client, other.id, "prod").await;
    client.delete_environment(prod.id, None).await.expect("deleted");
    assert_ne!(environment(&client, web.id, "prod").await.id, prod.id);
}

#[tokio::test]
async fn of_two_who_create_and_delete_at_once_only_one_can_succeed() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    for round in 0..10 {
        let parent = org(&client, &format!("org-{round}")).await;
        let new = NewApp { org_id: Some(parent.id), name: label("web") };
        let (created, deleted) =
            tokio::join!(client.create_app(&new, None), client.delete_org(parent.id, None));
        assert_ne!(created.is_ok(), deleted.is_ok(), "{created:?} {deleted:?}");
        if let Err(error) = deleted {
            assert!(["org-in-use", "concurrent-change"].contains(&error.code()), "{error}");
        }
    }
}

#[tokio::test]
async fn of_two_who_use_and_delete_a_network_at_once_only_one_can_succeed() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let org = org(&client, "shop").await;
    let app = app(&client, org.id, "web").await;
    for round in 0..10 {
        let name = label(&format!("net-{round}"));
        let network = client.create_network(&new_network(name.as_str()), None).await;
        let id = network.expect("created").value.id;
        let new = NewEnvironment { app_id: app.id, name, network_id: Some(id) };
        let (created, deleted) =
            tokio::join!(client.create_environment(&new, None), client.delete_network(id, None));
        assert_ne!(created.is_ok(), deleted.is_ok(), "{created:?} {deleted:?}");
        if let Err(error) = deleted {
            assert!(["network-in-use", "concurrent-change"].contains(&error.code()), "{error}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_made_while_its_org_is_deleted_opens_nothing_afterwards() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    for round in 0..10 {
        let org = org(&admin, &format!("org-{round}")).await;
        let new = NewApiToken {
            name: label("late"),
            role: OperatorRole::Viewer,
            org_id: Some(org.id),
            expires_in: None,
        };
        let (made, deleted) =
            tokio::join!(admin.create_api_token(&new, None), admin.delete_org(org.id, None));
        deleted.expect("deleted");
        match made {
            Ok(made) => {
                let all = admin.api_tokens(&PageQuery::default()).await.expect("tokens").items;
                let token = all.iter().find(|token| token.id == made.id).expect("listed");
                assert!(token.revoked, "round {round}: {token:?}");
            }
            Err(error) => assert_eq!(error.code(), "not-found", "{error}"),
        }
    }
}

#[tokio::test]
async fn a_network_must_be_named_where_there_is_more_than_one_or_none() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let org = org(&client, "shop").await;
    let app = app(&client, org.id, "web").await;
    let mut new = NewEnvironment { app_id: app.id, name: label("prod"), network_id: None };
    let refused = client.create_environment(&new, None).await.expect_err("no network");
    assert_eq!(refused.code(), "network-unclear");
    assert!(refused.to_string().contains("network_id is missing"), "{refused}");
    let mesh = network(&client).await;
    client.create_network(&new_network("second"), None).await.expect("created");
    assert_eq!(code(client.create_environment(&new, None).await), "network-unclear");
    new.network_id = Some(mesh.id);
    client.create_environment(&new, None).await.expect("created");
    let nowhere = NewApp { org_id: None, name: label("other") };
    let refused = client.create_app(&nowhere, None).await.expect_err("no org");
    assert_eq!(refused.code(), "body-invalid");
    assert!(refused.to_string().contains("org_id"), "{refused}");
}

#[tokio::test]
async fn a_token_of_an_org_sees_and_changes_that_org_and_nothing_else() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let (_, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let (ours, theirs) = (tenant(&admin, "shop").await, tenant(&admin, "bank").await);
    let web = NewWorkload { process_type: label("web"), node_id: None };
    let foreign = admin.register_workload(theirs.id, &web, None).await.expect("registered").value;
    let client = org_client(&platform, &replica, ours.org_id, OperatorRole::Admin).await;

    // By id the others' things do not exist.
    assert_eq!(code(client.org(theirs.org_id).await), "not-found");
    assert_eq!(code(client.app(theirs.app_id).await), "not-found");
    assert_eq!(code(client.environment(theirs.id).await), "not-found");
    assert_eq!(code(client.workload(foreign.id).await), "not-found");
    assert_eq!(code(client.releases(theirs.id, &PageQuery::default()).await), "not-found");
    assert_eq!(code(client.register_workload(theirs.id, &web, None).await), "not-found");
    assert_eq!(code(client.remove_workload(foreign.id, None).await), "not-found");
    let unfit = HealthReport { health: ReportedHealth::Unhealthy };
    assert_eq!(code(client.set_workload_health(foreign.id, unfit).await), "not-found");
    assert_eq!(code(client.delete_environment(theirs.id, None).await), "not-found");
    assert_eq!(code(client.delete_app(theirs.app_id, None).await), "not-found");
    assert_eq!(code(client.apps(Some(theirs.org_id), &PageQuery::default()).await), "not-found");
    let within = NewEnvironment { app_id: theirs.app_id, name: label("mine"), network_id: None };
    assert_eq!(code(client.create_environment(&within, None).await), "not-found");
    let for_them = NewApp { org_id: Some(theirs.org_id), name: label("mine") };
    assert_eq!(code(client.create_app(&for_them, None).await), "not-found");
    let mut token = NewApiToken {
        name: label("mine"),
        role: OperatorRole::Admin,
        org_id: Some(theirs.org_id),
        expires_in: None,
    };
    assert_eq!(code(client.create_api_token(&token, None).await), "not-found");

    // In lists they are missing.
    let orgs = client.orgs(&PageQuery::default()).await.expect("orgs").items;
    assert_eq!(orgs.iter().map(|org| org.id).collect::<Vec<_>>(), [ours.org_id]);
    let environments = client.environments(&EnvironmentQuery::default()).await.expect("list").items;
    assert_eq!(environments, std::slice::from_ref(&ours));
    let of_theirs = WorkloadQuery { environment_id: Some(theirs.id), ..WorkloadQuery::default() };
    assert_eq!(client.workloads(&of_theirs).await.expect("list").items, []);

    // The platform is not theirs to read or change.
    assert_eq!(code(client.status().await), "forbidden");
    assert_eq!(code(client.nodes(&PageQuery::default()).await), "forbidden");
    assert_eq!(code(client.networks(&PageQuery::default()).await), "forbidden");
    assert_eq!(code(client.create_org(&NewOrg { name: label("new") }, None).await), "forbidden");
    assert_eq!(code(client.delete_org(ours.org_id, None).await), "forbidden");

    // Their own org is.
    let app = NewApp { org_id: None, name: label("second") };
    assert_eq!(client.create_app(&app, None).await.expect("created").value.org_id, ours.org_id);
    let own = client.register_workload(ours.id, &web, None).await.expect("registered").value;
    assert_eq!(client.set_workload_health(own.id, unfit).await.expect("said").id, own.id);
    token.org_id = None;
    let made = client.create_api_token(&token, None).await.expect("a token of the same org");
    assert_eq!(made.org_id, Some(ours.org_id));
    let tokens = client.api_tokens(&PageQuery::default()).await.expect("tokens").items;
    assert!(tokens.iter().all(|token| token.org_id == Some(ours.org_id)), "{tokens:?}");
    client.revoke_api_token(made.id).await.expect("revoked");
    let all = admin.api_tokens(&PageQuery::default()).await.expect("tokens").items;
    let first = all.iter().find(|token| token.org_id.is_none()).expect("the platform's");
    assert_eq!(code(client.revoke_api_token(first.id).await), "not-found");

    // A viewer of the org reads only; a node that does not run the workload has no say.
    let viewer = org_client(&platform, &replica, ours.org_id, OperatorRole::Viewer).await;
    viewer.workload(own.id).await.expect("read");
    assert_eq!(code(viewer.create_app(&app, None).await), "forbidden");
    assert_eq!(code(viewer.set_workload_health(own.id, unfit).await), "forbidden");
    let (_, stranger) = enrol(&platform, &replica, mesh.id, 2).await;
    assert_eq!(code(stranger.set_workload_health(own.id, unfit).await), "not-found");
    node.set_workload_health(own.id, unfit).await.expect("it runs there");
}

#[tokio::test]
async fn a_follower_of_an_org_sees_what_it_owns_and_nothing_else() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    enrol(&platform, &replica, mesh.id, 1).await;
    let (ours, theirs) = (tenant(&admin, "shop").await, tenant(&admin, "bank").await);
    let client = org_client(&platform, &replica, ours.org_id, OperatorRole::Viewer).await;
    let Frame::Snapshot { state, cursor } = client.snapshot().await.expect("snapshot") else {
        panic!("no snapshot")
    };
    let SnapshotState::Org { org, apps, environments, workloads, routes, .. } = state else {
        panic!("{state:?}")
    };
    assert_eq!((org.id, apps.len(), workloads.len(), routes.len()), (ours.org_id, 1, 0, 0));
    assert_eq!(environments, std::slice::from_ref(&ours));

    let stop = CancellationToken::new();
    let mut items = follow(client.clone(), Some(cursor), stop.clone());
    let web = NewWorkload { process_type: label("web"), node_id: None };
    admin.register_workload(theirs.id, &web, None).await.expect("registered");
    admin.create_network(&new_network("other"), None).await.expect("created");
    let own = admin.register_workload(ours.id, &web, None).await.expect("registered").value;
    loop {
        let item = tokio::time::timeout(std::time::Duration::from_secs(20), items.recv());
        match item.await.expect("in time").expect("open") {
            Item::Event { event, .. } => {
                assert_eq!(event.aggregate_id, own.id.0, "{event:?}");
                assert!(matches!(event.body, EventBody::WorkloadPlaced(_)));
                break;
            }
            Item::Bookmark { .. } | Item::Connected { .. } | Item::Disconnected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    stop.cancel();
    // The whole log, by polling: not a word about the others.
    let page = client.events(None, Some(1000)).await.expect("events");
    let seen = serde_json::to_string(&page).expect("json");
    for foreign in [theirs.org_id.0, theirs.app_id.0, theirs.id.0, mesh.id.0] {
        let mentioned = seen.matches(&foreign.to_string()).count();
        // The network stands in their own environment and workload.
        assert!(foreign == mesh.id.0 || mentioned == 0, "{foreign} in {seen}");
    }
    assert!(!seen.contains("node-enrolled") && !seen.contains("bank"), "{seen}");
}

#[tokio::test]
async fn the_tokens_of_a_deleted_org_open_nothing_any_more() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let shop = org(&admin, "shop").await;
    let client = org_client(&platform, &replica, shop.id, OperatorRole::Admin).await;
    client.org(shop.id).await.expect("its own");
    admin.delete_org(shop.id, None).await.expect("deleted");
    assert_eq!(code(client.orgs(&PageQuery::default()).await), "unauthenticated");
    let new = NewApiToken {
        name: label("late"),
        role: OperatorRole::Viewer,
        org_id: Some(shop.id),
        expires_in: None,
    };
    assert_eq!(code(admin.create_api_token(&new, None).await), "not-found");
}
