//! Releases and workloads: placed, healthy, replaced, withdrawn, released.

mod boundary;

use std::{collections::BTreeSet, time::Duration};

use sextant_api::{
    Client,
    client::{PageQuery, WorkloadQuery},
    frame::{Frame, SnapshotState},
    resource::{
        enrolment::NewEnrolmentToken,
        environment::Environment,
        release::{NewRelease, Release, ReleaseStatus},
        report::{NodeReport, WireGuardImplementation},
        workload::{HealthReport, NewWorkload, ReportedHealth, Workload, WorkloadStatus},
    },
};
use sextant_model::{EventBody, NetworkId, NodeRole, Timestamp, WorkloadId, event::ProcessSpec};

use crate::{
    Machine, Platform, Running, enrol, label, network,
    tenancy::{code, tenant},
};

const HEALTHY: HealthReport = HealthReport { health: ReportedHealth::Healthy };
const UNHEALTHY: HealthReport = HealthReport { health: ReportedHealth::Unhealthy };

fn processes(list: &[(&str, u16)]) -> NewRelease {
    let process = |(name, instances): &(&str, u16)| ProcessSpec {
        process_type: label(name),
        instances: *instances,
    };
    NewRelease { processes: list.iter().map(process).collect() }
}

async fn deploy(client: &Client, environment: &Environment, list: &[(&str, u16)]) -> Release {
    client.deploy(environment.id, &processes(list), None).await.expect("deployed")
}

/// What the agent of a node reports when these workloads are live and it has seen everything.
async fn report(admin: &Client, node: &Client, live: &[WorkloadId]) {
    let head = admin.events(None, Some(1000)).await.expect("events").head;
    let report = NodeReport {
        revision: head,
        agent_version: "test".into(),
        clock: Timestamp::from_unix_seconds(1_800_000_000).expect("time"),
        implementation: WireGuardImplementation::Userspace,
        mtu: 1420,
        underlay_mtu: 1500,
        problems: vec![],
        peers: vec![],
        workloads_live: live.to_vec(),
        agent: None,
    };
    node.report(&report).await.expect("reported");
}

async fn statuses(client: &Client, environment: &Environment) -> Vec<(String, WorkloadStatus)> {
    let query = WorkloadQuery { environment_id: Some(environment.id), ..WorkloadQuery::default() };
    let workloads = client.workloads(&query).await.expect("workloads").items;
    workloads.into_iter().map(|w| (w.process_type.to_string(), w.status)).collect()
}

async fn becomes(client: &Client, id: WorkloadId, status: WorkloadStatus) -> Workload {
    let reached = async {
        loop {
            let workload = client.workload(id).await.expect("workload").value;
            if workload.status == status {
                return workload;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("in time")
}

/// What commands decide by says what the log says.
async fn placements_agree(platform: &Platform) {
    let pool = sqlx::PgPool::connect_lazy(&platform.database.url).expect("pool");
    let differing: Vec<(Option<uuid::Uuid>, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT workload_id, p.health, w.phase
         FROM placements p
         FULL JOIN (SELECT * FROM workloads WHERE phase NOT IN ('withdrawn', 'released')) w
                   USING (workload_id)
         WHERE (p.environment_id, p.release_id, p.process_type, p.network_id, p.node_id, p.health)
               IS DISTINCT FROM
               (w.environment_id, w.release_id, w.process_type, w.network_id, w.node_id, w.phase)",
    )
    .fetch_all(&pool)
    .await
    .expect("compared");
    assert_eq!(differing, []);
    let open: Vec<(uuid::Uuid,)> = sqlx::query_as(
        "SELECT release_id FROM release_numbers n FULL JOIN releases r USING (release_id)
         WHERE (n.environment_id, n.number, n.superseded)
               IS DISTINCT FROM (r.environment_id, r.number, r.phase = 'superseded')",
    )
    .fetch_all(&pool)
    .await
    .expect("compared");
    assert_eq!(open, []);
}

async fn events_of(client: &Client) -> Vec<String> {
    let page = client.events(None, Some(1000)).await.expect("events");
    let name = |frame: Frame| match frame {
        Frame::Event { event, .. } => event.body.to_columns().expect("columns").0,
        other => panic!("{other:?}"),
    };
    page.frames.into_iter().map(name).collect()
}

/// A platform with a network, some workers and an environment.
struct Stage {
    platform: Platform,
    replica: Running,
    network: NetworkId,
    admin: Client,
    environment: Environment,
}

async fn stage() -> Stage {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let network = network(&admin).await.id;
    let environment = tenant(&admin, "shop").await;
    Stage { platform, replica, network, admin, environment }
}

#[tokio::test]
async fn what_a_deploy_answers_can_be_read_at_once() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (first, _) = enrol(&platform, &replica, network, 1).await;
    let (second, _) = enrol(&platform, &replica, network, 2).await;
    let release = deploy(&admin, &environment, &[("web", 3), ("job", 1)]).await;
    assert_eq!((release.number, release.status), (1, ReleaseStatus::Pending));
    assert_eq!(release.environment, "shop/web/prod");
    assert_eq!(release.workloads.len(), 4);
    assert_eq!(admin.release(release.id).await.expect("read"), release);
    for workload in &release.workloads {
        assert_eq!(workload.status, WorkloadStatus::Starting);
        assert_eq!(workload.release_id, Some(release.id));
        assert_eq!(admin.workload(workload.id).await.expect("read").value, *workload);
        let node = if workload.node_id == first.node.id { &first.node } else { &second.node };
        assert_eq!(workload.node_name, node.name);
        assert!(node.prefix.contains(workload.address.into()), "{workload:?}");
    }
    let addresses: BTreeSet<_> = release.workloads.iter().map(|w| w.address).collect();
    assert_eq!(addresses.len(), 4, "each its own");
    let on_first = release.workloads.iter().filter(|w| w.node_id == first.node.id).count();
    assert_eq!(on_first, 2, "spread over both");
    let list = admin.releases(environment.id, &PageQuery::default()).await.expect("list").items;
    assert_eq!(list, [Release { workloads: vec![], ..release.clone() }]);
    let on_node = WorkloadQuery { node_id: Some(first.node.id), ..WorkloadQuery::default() };
    assert_eq!(admin.workloads(&on_node).await.expect("list").items.len(), 2);

    // Done twice with one key, it is done once.
    let new = processes(&[("web", 1)]);
    let once = admin.deploy(environment.id, &new, Some("k")).await.expect("deployed");
    let again = admin.deploy(environment.id, &new, Some("k")).await.expect("replayed");
    assert_eq!((once.number, &once), (2, &again));
}

#[tokio::test]
async fn a_node_learns_its_own_workloads_and_no_others() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (first, first_client) = enrol(&platform, &replica, network, 1).await;
    let (_, second_client) = enrol(&platform, &replica, network, 2).await;
    let here = NewWorkload { process_type: label("web"), node_id: Some(first.node.id) };
    let workload = admin.register_workload(environment.id, &here, None).await.expect("there").value;
    let workloads = async |client: &Client| {
        let Frame::Snapshot { state: SnapshotState::Membership { membership }, .. } =
            client.snapshot().await.expect("snapshot")
        else {
            panic!("no membership")
        };
        membership.workloads.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(workloads(&first_client).await, [(workload.id, workload.address)]);
    assert_eq!(workloads(&second_client).await, []);
    let placed = async |client: &Client| {
        let page = client.events(None, Some(1000)).await.expect("events");
        page.frames.into_iter().any(|frame| {
            matches!(frame, Frame::Event { event, .. }
                if matches!(event.body, EventBody::WorkloadPlaced(_)))
        })
    };
    assert!(placed(&first_client).await);
    assert!(!placed(&second_client).await);
}

#[tokio::test]
async fn a_release_takes_over_only_when_all_of_it_is_healthy() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (_, node) = enrol(&platform, &replica, network, 1).await;
    let by_hand = NewWorkload { process_type: label("web"), node_id: None };
    let by_hand = admin.register_workload(environment.id, &by_hand, None).await.expect("ok").value;
    let ids = |release: &Release| release.workloads.iter().map(|w| w.id).collect::<Vec<_>>();

    let first = deploy(&admin, &environment, &[("web", 2), ("job", 1)]).await;
    let of_first = ids(&first);
    report(&admin, &node, &of_first[..2]).await;
    let half = admin.release(first.id).await.expect("read");
    assert_eq!((half.status, half.healthy), (ReleaseStatus::Pending, 2));
    report(&admin, &node, &of_first).await;
    assert_eq!(admin.release(first.id).await.expect("read").status, ReleaseStatus::Live);

    // The second one has no job any more. It takes nothing down before it stands itself.
    let second = deploy(&admin, &environment, &[("web", 2)]).await;
    let of_second = ids(&second);
    node.set_workload_health(of_second[0], HEALTHY).await.expect("said");
    assert_eq!(admin.release(first.id).await.expect("read").status, ReleaseStatus::Live);
    assert_eq!(admin.release(first.id).await.expect("read").healthy, 3);
    let before = events_of(&admin).await.len();
    admin.set_workload_health(of_second[1], HEALTHY).await.expect("said");
    let (first, second) = (
        admin.release(first.id).await.expect("read"),
        admin.release(second.id).await.expect("read"),
    );
    assert_eq!((second.status, second.healthy), (ReleaseStatus::Live, 2));
    assert_eq!((first.status, first.superseded_by), (ReleaseStatus::Superseded, Some(second.id)));
    assert!(first.workloads.iter().all(|w| w.status == WorkloadStatus::Withdrawn), "{first:?}");
    let by_hand = admin.workload(by_hand.id).await.expect("read").value;
    assert_eq!(by_hand.status, WorkloadStatus::Starting, "left alone");
    let events = events_of(&admin).await;
    assert_eq!(
        events[before..],
        [
            "workload-health-changed",
            "release-activated",
            "release-superseded",
            "workload-withdrawn",
            "workload-withdrawn",
            "workload-withdrawn",
        ]
    );
    placements_agree(&platform).await;
}

#[tokio::test]
async fn a_release_that_never_stands_is_overtaken_by_the_next() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (_, node) = enrol(&platform, &replica, network, 1).await;
    let stuck = deploy(&admin, &environment, &[("web", 2)]).await;
    report(&admin, &node, &[stuck.workloads[0].id]).await;
    let next = deploy(&admin, &environment, &[("web", 1)]).await;
    report(&admin, &node, &[next.workloads[0].id]).await;
    assert_eq!(admin.release(next.id).await.expect("read").status, ReleaseStatus::Live);
    let stuck = admin.release(stuck.id).await.expect("read");
    assert_eq!(stuck.status, ReleaseStatus::Superseded);
    assert_eq!(
        code(admin.set_workload_health(stuck.workloads[1].id, HEALTHY).await),
        "workload-withdrawn"
    );
    placements_agree(&platform).await;
}

#[tokio::test]
async fn a_release_that_lost_a_workload_never_goes_live_and_takes_nothing_down() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (_, stays) = enrol(&platform, &replica, network, 1).await;
    let (leaves, _) = enrol(&platform, &replica, network, 2).await;
    let works = deploy(&admin, &environment, &[("web", 1)]).await;
    admin.set_workload_health(works.workloads[0].id, HEALTHY).await.expect("said");
    for with_its_node in [true, false] {
        let broken = deploy(&admin, &environment, &[("web", 1), ("job", 1)]).await;
        let of = |name: &str| {
            broken.workloads.iter().find(|w| w.process_type.as_str() == name).expect("placed")
        };
        let (web, job) = (of("web"), of("job"));
        admin.set_workload_health(job.id, HEALTHY).await.expect("said");
        if with_its_node {
            assert_eq!(web.node_id, leaves.node.id, "the only one there");
            admin.remove_node(web.node_id, None).await.expect("removed");
        } else {
            admin.remove_workload(web.id, None).await.expect("withdrawn");
        }
        let broken = admin.release(broken.id).await.expect("read");
        assert_eq!((broken.status, broken.healthy), (ReleaseStatus::Incomplete, 1));
        let listed = admin.releases(environment.id, &PageQuery::default()).await.expect("list");
        assert_eq!(listed.items.last().map(|r| r.status), Some(ReleaseStatus::Incomplete));
        // Not even when what is left reports again.
        admin.set_workload_health(job.id, UNHEALTHY).await.expect("said");
        admin.set_workload_health(job.id, HEALTHY).await.expect("said");
        let works = admin.release(works.id).await.expect("read");
        assert_eq!((works.status, works.healthy), (ReleaseStatus::Live, 1));
    }
    // The remedy.
    let again = deploy(&admin, &environment, &[("web", 1), ("job", 1)]).await;
    let ids: Vec<_> = again.workloads.iter().map(|w| w.id).collect();
    report(&admin, &stays, &ids).await;
    assert_eq!(admin.release(again.id).await.expect("read").status, ReleaseStatus::Live);
    assert_eq!(admin.release(works.id).await.expect("read").status, ReleaseStatus::Superseded);
    placements_agree(&platform).await;
}

#[tokio::test]
async fn the_last_two_reports_at_once_complete_the_release_once() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    enrol(&platform, &replica, network, 1).await;
    for round in 1..=5 {
        let release = deploy(&admin, &environment, &[("web", 2)]).await;
        let ids: Vec<_> = release.workloads.iter().map(|w| w.id).collect();
        let (one, two) = tokio::join!(
            admin.set_workload_health(ids[0], HEALTHY),
            admin.set_workload_health(ids[1], HEALTHY)
        );
        one.expect("said");
        two.expect("said");
        assert_eq!(admin.release(release.id).await.expect("read").status, ReleaseStatus::Live);
        let activated = events_of(&admin).await;
        let activated = activated.iter().filter(|name| *name == "release-activated").count();
        assert_eq!(activated, round);
    }
    placements_agree(&platform).await;
}

#[tokio::test]
async fn what_an_owner_said_of_a_workload_stands_against_its_nodes_reports() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (_, node) = enrol(&platform, &replica, network, 1).await;
    let web = NewWorkload { process_type: label("web"), node_id: None };
    let id = admin.register_workload(environment.id, &web, None).await.expect("ok").value.id;
    report(&admin, &node, &[id]).await;
    assert_eq!(statuses(&admin, &environment).await, [("web".into(), WorkloadStatus::Healthy)]);
    let said = admin.set_workload_health(id, UNHEALTHY).await.expect("said");
    assert_eq!(said.status, WorkloadStatus::Unhealthy);
    report(&admin, &node, &[id]).await;
    assert_eq!(statuses(&admin, &environment).await, [("web".into(), WorkloadStatus::Unhealthy)]);
    let before = events_of(&admin).await.len();
    admin.set_workload_health(id, UNHEALTHY).await.expect("said again");
    assert_eq!(events_of(&admin).await.len(), before, "nothing has changed");
    admin.set_workload_health(id, HEALTHY).await.expect("said");
    assert_eq!(statuses(&admin, &environment).await, [("web".into(), WorkloadStatus::Healthy)]);
    placements_agree(&platform).await;
}

#[tokio::test]
async fn without_a_worker_nothing_is_placed_and_nothing_changes() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let edge = NewEnrolmentToken {
        network_id: network,
        node_name: label("n9"),
        roles: vec![NodeRole::Edge],
        expires_in: 3600,
    };
    let token = admin.create_enrolment_token(&edge, None).await.expect("token").token;
    let machine = Machine::new(9, token.expect("shown"));
    let nobody = platform.client(&[&replica], sextant_api::Auth::Nobody);
    let edge = nobody.enrol(&machine.request).await.expect("enrolled").node;
    let before = events_of(&admin).await.len();
    let new = processes(&[("web", 1)]);
    assert_eq!(code(admin.deploy(environment.id, &new, None).await), "no-worker");
    let mut by_hand = NewWorkload { process_type: label("web"), node_id: None };
    let refused = admin.register_workload(environment.id, &by_hand, None).await;
    assert_eq!(code(refused), "no-worker");
    by_hand.node_id = Some(edge.id);
    let refused = admin.register_workload(environment.id, &by_hand, None).await;
    assert_eq!(code(refused), "node-unfit");
    for (list, says) in [
        (&[][..], "processes is empty"),
        (&[("web", 0)], "\"web\" is 0"),
        (&[("web", 101)], "\"web\" is 101"),
        (&[("web", 1), ("web", 1)], "\"web\" twice"),
    ] {
        let refused = admin.deploy(environment.id, &processes(list), None).await.expect_err(says);
        assert_eq!(refused.code(), "processes-invalid");
        assert!(refused.to_string().contains(says), "{refused}");
    }
    assert_eq!(events_of(&admin).await.len(), before);
    enrol(&platform, &replica, network, 1).await;
    assert_eq!(deploy(&admin, &environment, &[("web", 1)]).await.number, 1, "no number was lost");
}

#[tokio::test]
async fn a_deploy_leaves_out_the_node_that_went_silent() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (silent, silent_client) = enrol(&platform, &replica, network, 1).await;
    let (second, second_client) = enrol(&platform, &replica, network, 2).await;
    report(&admin, &silent_client, &[]).await;
    report(&admin, &second_client, &[]).await;
    let pool = sqlx::PgPool::connect_lazy(&platform.database.url).expect("pool");
    sqlx::query(
        "UPDATE node_reports SET reported_at = now() - interval '1 hour' WHERE node_id = $1",
    )
    .bind(silent.node.id.0)
    .execute(&pool)
    .await
    .expect("as if it were dead");
    let release = deploy(&admin, &environment, &[("web", 2)]).await;
    assert!(release.workloads.iter().all(|w| w.node_id == second.node.id), "{release:?}");
    // Who asks for it by name gets it.
    let there = NewWorkload { process_type: label("web"), node_id: Some(silent.node.id) };
    admin.register_workload(environment.id, &there, None).await.expect("registered");
}

#[tokio::test]
async fn an_address_is_released_when_its_node_has_let_go_and_not_reused_at_once() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (_, node) = enrol(&platform, &replica, network, 1).await;
    let web = NewWorkload { process_type: label("web"), node_id: None };
    let workload = admin.register_workload(environment.id, &web, None).await.expect("ok").value;
    report(&admin, &node, &[workload.id]).await;
    let refused = admin.delete_environment(environment.id, None).await.expect_err("in use");
    assert_eq!(refused.code(), "environment-in-use");
    let withdrawn = admin.remove_workload(workload.id, None).await.expect("withdrawn");
    assert_eq!(withdrawn.status, WorkloadStatus::Withdrawn);
    assert_eq!(admin.remove_workload(workload.id, None).await.expect("again"), withdrawn);
    let next = admin.register_workload(environment.id, &web, None).await.expect("ok").value;
    assert_ne!(next.address, workload.address, "the node has not let go");
    report(&admin, &node, &[next.id]).await;
    becomes(&admin, workload.id, WorkloadStatus::Released).await;
    let third = admin.register_workload(environment.id, &web, None).await.expect("ok").value;
    assert_ne!(third.address, workload.address, "it rests");
    for id in [next.id, third.id] {
        admin.remove_workload(id, None).await.expect("withdrawn");
    }
    admin.delete_environment(environment.id, None).await.expect("nothing runs in it");
    placements_agree(&platform).await;
}

#[tokio::test]
async fn a_node_takes_its_workloads_with_it() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let (first, _) = enrol(&platform, &replica, network, 1).await;
    let (second, second_client) = enrol(&platform, &replica, network, 2).await;
    let release = deploy(&admin, &environment, &[("web", 2)]).await;
    let (gone, stays): (Vec<_>, Vec<_>) =
        release.workloads.iter().partition(|w| w.node_id == first.node.id);
    assert_eq!((gone.len(), stays.len()), (1, 1));
    report(&admin, &second_client, &[stays[0].id]).await;
    let before = events_of(&admin).await.len();
    admin.remove_node(first.node.id, None).await.expect("removed");
    let events = events_of(&admin).await;
    assert_eq!(events[before..before + 2], ["workload-withdrawn", "node-withdrawn"]);
    assert_eq!(
        admin.workload(gone[0].id).await.expect("read").value.status,
        WorkloadStatus::Withdrawn
    );
    assert_eq!(admin.release(release.id).await.expect("read").status, ReleaseStatus::Incomplete);
    // Once the others have dropped the node, its workloads' addresses are released too.
    report(&admin, &second_client, &[stays[0].id]).await;
    becomes(&admin, gone[0].id, WorkloadStatus::Released).await;
    let next = deploy(&admin, &environment, &[("web", 2)]).await;
    assert!(next.workloads.iter().all(|w| w.node_id == second.node.id), "{next:?}");
    placements_agree(&platform).await;
}

#[tokio::test]
async fn deploys_and_departures_at_once_leave_no_workload_on_a_node_that_has_left() {
    let Stage { platform, replica, network, admin, environment } = stage().await;
    let mut nodes = Vec::new();
    for n in 1..=4 {
        nodes.push(enrol(&platform, &replica, network, n).await.0.node.id);
    }
    let deploys = async {
        for _ in 0..6 {
            match admin.deploy(environment.id, &processes(&[("web", 8)]), None).await {
                Ok(_) => {}
                Err(error) => assert_eq!(error.code(), "concurrent-change", "{error}"),
            }
        }
    };
    let departures = async {
        for node in &nodes[..3] {
            let left = async || match admin.remove_node(*node, None).await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.code(), "concurrent-change", "{error}");
                    false
                }
            };
            while !left().await {}
        }
    };
    tokio::join!(deploys, departures);
    for node in &nodes[..3] {
        let query = WorkloadQuery { node_id: Some(*node), ..WorkloadQuery::default() };
        let left = admin.workloads(&query).await.expect("workloads").items;
        assert!(left.iter().all(|w| w.status == WorkloadStatus::Withdrawn), "{left:?}");
    }
    deploy(&admin, &environment, &[("web", 1)]).await;
    placements_agree(&platform).await;
}
