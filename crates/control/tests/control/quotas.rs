//! What one org may have of the platform.

use std::collections::{BTreeMap, BTreeSet};

use sextant_api::{
    Client,
    client::ClientError,
    resource::{
        api_token::NewApiToken, app::NewApp, hostname::NewHostname, org::NewOrgQuotas,
        release::NewRelease,
    },
};
use sextant_model::{OperatorRole, OrgId, event::ProcessSpec, quota::Quota};

use crate::{
    Platform, enrol, label, network,
    tenancy::{code, environment, org_client, tenant},
};

fn instances(count: u16) -> NewRelease {
    NewRelease { processes: vec![ProcessSpec { process_type: label("web"), instances: count }] }
}

async fn limit(admin: &Client, org: OrgId, limits: &[(Quota, u64)]) {
    let new = NewOrgQuotas { limits: limits.iter().copied().collect() };
    admin.set_org_quotas(org, &new).await.expect("set");
}

async fn used(admin: &Client, org: OrgId) -> BTreeMap<Quota, u64> {
    let quotas = admin.org_quotas(org).await.expect("quotas").quotas;
    quotas.into_iter().filter_map(|quota| Some((quota.quota, quota.used?))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deploys_in_parallel_do_not_pass_a_quota_together() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    enrol(&platform, &replica, mesh.id, 1).await;
    let first = tenant(&admin, "acme").await;
    let mut environments = vec![first.id];
    for n in 1..4 {
        environments.push(environment(&admin, first.app_id, &format!("env{n}")).await.id);
    }
    limit(&admin, first.org_id, &[(Quota::Workloads, 10)]).await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (client, environment) = (platform.admin(&[&replica]), environments[n % 4]);
            tokio::spawn(async move { client.deploy(environment, &instances(1), None).await })
        })
        .collect();
    let mut placed = 0;
    for task in tasks {
        match task.await.expect("task") {
            Ok(_) => placed += 1,
            Err(ClientError::Problem(problem)) if problem.code == "quota-exceeded" => {
                assert!(problem.detail.contains("\"workloads\" is 10"), "{}", problem.detail);
                assert!(problem.detail.contains("sextant org quota"), "{}", problem.detail);
            }
            // So many at once of one org: what was refused changed nothing.
            Err(error) => {
                let passing = ["busy", "concurrent-change", "database-unavailable"];
                assert!(passing.contains(&error.code()), "{error}");
            }
        }
    }
    assert_eq!(placed, 10);
    assert_eq!(used(&admin, first.org_id).await[&Quota::Workloads], 10);
    // Another org has its own share.
    let other = tenant(&admin, "other").await;
    admin.deploy(other.id, &instances(3), None).await.expect("its own");
}

#[tokio::test]
async fn every_counted_quota_is_in_force_and_an_operator_raises_it() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    enrol(&platform, &replica, mesh.id, 1).await;
    let home = tenant(&admin, "acme").await;
    let org = home.org_id;
    let client = org_client(&platform, &replica, org, OperatorRole::Admin).await;
    let all: Vec<_> = Quota::ALL
        .iter()
        .filter(|quota| !matches!(quota, Quota::EventsPerMinute | Quota::Streams))
        .map(|quota| (*quota, 1))
        .collect();
    limit(&admin, org, &all).await;

    let app =
        async || client.create_app(&NewApp { org_id: None, name: label("second") }, None).await;
    assert_eq!(code(app().await), "quota-exceeded");
    assert_eq!(code(client.deploy(home.id, &instances(2), None).await), "quota-exceeded");
    client.deploy(home.id, &instances(1), None).await.expect("the first");
    assert_eq!(code(client.deploy(home.id, &instances(1), None).await), "quota-exceeded");
    let token = async || {
        let (name, role) = (label("more"), OperatorRole::Viewer);
        let new = NewApiToken { name, role, org_id: Some(org), expires_in: Some(600) };
        client.create_api_token(&new, None).await
    };
    assert_eq!(code(token().await), "quota-exceeded");
    let claim = async |name: &str| {
        let new = NewHostname { hostname: name.parse().expect("hostname") };
        client.claim_hostname(home.id, &new, None).await
    };
    claim("a.example.com").await.expect("the first");
    assert_eq!(code(claim("b.example.com").await), "quota-exceeded");
    claim("a.example.com").await.expect("what is there may be asked for again");

    limit(&admin, org, &[(Quota::Workloads, 0)]).await;
    app().await.expect("the platform's limit holds again");
    let second = token().await.expect("a second token");
    client.revoke_api_token(second.id).await.expect("revoked");
    let used = used(&admin, org).await;
    assert_eq!((used[&Quota::ApiTokens], used[&Quota::Apps]), (1, 2));
    assert_eq!(code(client.deploy(home.id, &instances(1), None).await), "quota-exceeded");
    let shown = client.org_quotas(org).await.expect("an org sees its own");
    let own: BTreeSet<_> =
        shown.quotas.iter().filter(|quota| quota.own).map(|quota| quota.quota).collect();
    assert_eq!(own, BTreeSet::from([Quota::Workloads]));
    let raise = NewOrgQuotas { limits: BTreeMap::from([(Quota::Workloads, 100)]) };
    assert_eq!(code(client.set_org_quotas(org, &raise).await), "forbidden");
}

#[tokio::test]
async fn an_org_that_causes_events_too_fast_is_told_to_wait_and_others_are_not() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    network(&admin).await;
    let (hasty, calm) = (tenant(&admin, "hasty").await, tenant(&admin, "calm").await);
    limit(&admin, hasty.org_id, &[(Quota::EventsPerMinute, 3)]).await;
    let make = async |client: &Client, n: usize| {
        let new = NewApp { org_id: None, name: label(&format!("app{n}")) };
        client.create_app(&new, None).await
    };
    let client = org_client(&platform, &replica, hasty.org_id, OperatorRole::Admin).await;
    let mut refused = None;
    for n in 0..20 {
        if let Err(error) = make(&client, n).await {
            refused = Some(error);
            break;
        }
    }
    let Some(ClientError::Problem(problem)) = refused else { panic!("never refused") };
    assert_eq!((problem.status, &*problem.code), (429, "quota-exceeded"));
    let other = org_client(&platform, &replica, calm.org_id, OperatorRole::Admin).await;
    for n in 0..20 {
        make(&other, n).await.expect("its own minute");
    }
}
