//! What one org's requests cost others.

use std::time::Duration;

use sextant_api::{
    Auth,
    resource::{
        environment::NewEnvironment,
        hostname::{HostnameMove, NewHostname},
        release::NewRelease,
        workload::NewWorkload,
    },
};
use sextant_lab::postgres::query;
use sextant_model::{OperatorRole, event::ProcessSpec, ipam::Ipam};
use sextant_store::{ConnectOptions, Store};
use uuid::Uuid;

use crate::{
    Machine, Platform, network,
    tenancy::{code, org_client, tenant},
    token_for,
};

/// Far more than an answer takes, and less than the database lets anybody wait for a lock.
const AT_ONCE: Duration = Duration::from_secs(4);

fn one_web() -> NewRelease {
    NewRelease { processes: vec![ProcessSpec { process_type: crate::label("web"), instances: 1 }] }
}

#[tokio::test]
async fn a_request_for_another_orgs_environment_waits_for_no_lock_of_it() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    network(&admin).await;
    let (owners, own) = (tenant(&admin, "acme").await, tenant(&admin, "rival").await);
    let rival = org_client(&platform, &replica, own.org_id, OperatorRole::Admin).await;
    let name = |text: &str| NewHostname { hostname: text.parse().expect("hostname") };

    let store = Store::connect(&ConnectOptions::new(&platform.database.app_url)).expect("store");
    let mut holder = store.begin();
    for round in 0..6 {
        // Again and again: the database ends a transaction that does nothing.
        for owner in [owners.id.0, owners.app_id.0, owners.org_id.0] {
            assert!(holder.seize(owner).await.expect("held"));
        }
        let refused = async {
            match round {
                0 => code(rival.claim_hostname(owners.id, &name("a.example.com"), None).await),
                1 => code(rival.deploy(owners.id, &one_web(), None).await),
                2 => {
                    let new = NewWorkload { process_type: crate::label("web"), node_id: None };
                    code(rival.register_workload(owners.id, &new, None).await)
                }
                3 => code(rival.delete_environment(owners.id, None).await),
                4 => {
                    let (app_id, network_id) = (owners.app_id, None);
                    let new = NewEnvironment { app_id, name: crate::label("mine"), network_id };
                    code(rival.create_environment(&new, None).await)
                }
                _ => {
                    let hostname = "a.example.com".parse().expect("hostname");
                    let to = HostnameMove { to_environment_id: owners.id };
                    code(rival.move_hostname(own.id, &hostname, &to, None).await)
                }
            }
        };
        let answer = tokio::time::timeout(AT_ONCE, refused).await;
        assert_eq!(answer.expect("waited for the owner's lock"), "not-found", "request {round}");
    }
}

#[tokio::test]
async fn an_enrolment_that_waits_for_a_prefix_holds_back_nobody() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let token = token_for(&admin, mesh.id, "n1").await;
    let store = Store::connect(&ConnectOptions::new(&platform.database.app_url)).expect("store");
    // Somebody is cutting a prefix from the only gap there is.
    let mut cutting = store.begin();
    let mut ipam = cutting.ipam().await.expect("ipam");
    ipam.allocate_block(mesh.id.0, 64, Uuid::now_v7()).await.expect("block");

    let nobody = platform.client(&[&replica], Auth::Nobody);
    let machine = Machine::new(1, token);
    let enrolling = tokio::spawn(async move { nobody.enrol(&machine.request).await });
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                   WHERE NOT l.granted AND a.datname = current_database()";
    while query(&platform.database.url, waiting).expect("locks") == ["0"] {
        assert!(!enrolling.is_finished(), "it did not wait");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::timeout(AT_ONCE, store.settle()).await.expect("settled at once").expect("settled");
    drop(cutting);
    enrolling.await.expect("task").expect("enrolled");
}
