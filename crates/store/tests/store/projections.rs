use sextant_api::resource::node::NodePhase;
use sextant_model::{
    EventBody, IpStackMode, NetworkId, NodeId, Topology,
    aggregate::{NetworkState, NodeState},
    event::{NetworkCreated, NodeCertificateIssued, NodeEndpointChanged, NodeWithdrawn},
};
use sextant_store::{Store, StoreError, read::PageRequest};
use uuid::Uuid;

use crate::{ACTOR, Fixture, enrolled, label};

async fn grow(store: &Store) -> (NetworkId, Vec<NodeId>) {
    let network = NetworkId(Uuid::now_v7());
    let mut unit = store.begin();
    let mut state = unit.load::<NetworkState>(network.0).await.expect("loaded");
    let created = EventBody::NetworkCreated(NetworkCreated {
        name: label("mesh"),
        ip_stack_mode: IpStackMode::Ipv6,
        topology: Topology::FullMesh,
        ipv6_prefix: "fd00::/48".parse().ok(),
        ipv4_prefix: None,
    });
    unit.append(&mut state, &[created], ACTOR).await.expect("appended");
    let mut nodes = Vec::new();
    for n in 1..=5 {
        let id = NodeId(Uuid::now_v7());
        let mut node = unit.load::<NodeState>(id.0).await.expect("loaded");
        let joined = EventBody::NodeEnrolled(enrolled(network, n));
        let certified = EventBody::NodeCertificateIssued(NodeCertificateIssued {
            network_id: network,
            serial: "01".into(),
            not_after: sextant_model::Timestamp::from_unix_seconds(1_900_000_000).expect("time"),
        });
        unit.append(&mut node, &[joined, certified], ACTOR).await.expect("appended");
        nodes.push(id);
    }
    for (id, body) in [
        (
            nodes[0],
            EventBody::NodeEndpointChanged(NodeEndpointChanged {
                network_id: network,
                endpoint: "[2001:db8::77]:7".parse().expect("endpoint"),
            }),
        ),
        (nodes[1], EventBody::NodeWithdrawn(NodeWithdrawn { network_id: network })),
    ] {
        let mut node = unit.load::<NodeState>(id.0).await.expect("loaded");
        unit.append(&mut node, &[body], ACTOR).await.expect("appended");
    }
    unit.commit().await.expect("committed");
    (network, nodes)
}

async fn project(store: &Store) -> Result<i64, StoreError> {
    store.project(store.settle().await?).await
}

/// Every projection's rows as text, in a fixed order.
async fn dump(fixture: &Fixture) -> String {
    let pool = fixture.raw(&fixture.database.url);
    let mut all = String::new();
    for table in [
        "networks",
        "nodes",
        "enrolment_tokens",
        "api_tokens",
        "orgs",
        "apps",
        "environments",
        "releases",
        "workloads",
        "hostnames",
        "port_grants",
        "routes",
        "routing_heads",
        "projection_checkpoints",
    ] {
        let query = format!(
            "SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM {table} t"
        );
        let rows: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&pool).await.expect(table);
        all.push_str(&rows);
        all.push('\n');
    }
    all
}

#[tokio::test]
async fn projections_show_what_the_log_says() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let (network, nodes) = grow(&store).await;
    project(&store).await.expect("projected");
    let moved = store.node(nodes[0]).await.expect("read").expect("there");
    assert_eq!(moved.endpoint.to_string(), "[2001:db8::77]:7");
    assert_eq!((moved.version, moved.phase), (3, NodePhase::Active));
    let gone = store.node(nodes[1]).await.expect("read").expect("there");
    assert_eq!(gone.phase, NodePhase::Withdrawn);
    let (cursor, membership) =
        store.membership(network, nodes[0], false).await.expect("membership");
    assert_eq!(membership.members.len(), 4);
    assert!(membership.departed.contains(&nodes[1]));
    assert_eq!(cursor.event_id, store.settle().await.expect("settled"));
}

#[tokio::test]
async fn lists_come_in_pages_without_repeats_or_holes() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let (_, nodes) = grow(&store).await;
    project(&store).await.expect("projected");
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.nodes(PageRequest { after, limit: 2 }).await.expect("page");
        seen.extend(page.items.iter().map(|node| node.id));
        let Some(next) = page.next_after else { break };
        after = Some(next.parse().expect("id"));
    }
    assert_eq!(seen, nodes);
}

#[tokio::test]
async fn rebuilding_from_the_log_gives_identical_rows() {
    let fixture = Fixture::new().await;
    grow(&fixture.store).await;
    crate::ingress::grow(&fixture.store).await;
    crate::tenancy::grow(&fixture.store).await;
    project(&fixture.store).await.expect("projected");
    let before = dump(&fixture).await;
    assert!(before.contains("*.c.test") && before.contains("tcp:9000"), "{before}");
    assert!(before.contains("2001:db8::77"), "{before}");
    assert!(before.contains("shop") && before.contains("superseded"), "{before}");
    fixture.store.rebuild().await.expect("rebuilt");
    assert_eq!(dump(&fixture).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_project_at_the_same_time_apply_every_event_once() {
    let fixture = Fixture::new().await;
    grow(&fixture.store).await;
    let settled = fixture.store.settle().await.expect("settled");
    let replicas: Vec<_> = (0..4)
        .map(|_| {
            let store = fixture.store.clone();
            tokio::spawn(async move { store.project(settled).await })
        })
        .collect();
    for replica in replicas {
        assert_eq!(replica.await.expect("task").expect("projected"), settled);
    }
    let together = dump(&fixture).await;
    fixture.store.rebuild().await.expect("rebuilt");
    assert_eq!(dump(&fixture).await, together);
}

#[tokio::test]
async fn addresses_are_released_only_after_every_live_node_has_let_go() {
    use sextant_api::resource::report::{NodeReport, WireGuardImplementation};
    let Fixture { store, database: _database } = Fixture::new().await;
    let (_, nodes) = grow(&store).await;
    let head = project(&store).await.expect("projected");
    let epoch = store.epoch().await.expect("epoch");
    let now = sextant_model::Timestamp::from_unix_seconds(1_800_000_000).expect("time");
    let report = |event_id| NodeReport {
        revision: sextant_model::Cursor { epoch, event_id },
        agent_version: "test".into(),
        clock: now,
        implementation: WireGuardImplementation::Userspace,
        mtu: 1420,
        underlay_mtu: 1500,
        problems: vec![],
        peers: vec![],
        workloads_live: vec![],
        agent: None,
    };
    let live = [nodes[0], nodes[2], nodes[3], nodes[4]];
    for node in &live[..3] {
        store.keep_report(*node, &report(head), now).await.expect("kept");
    }
    store.keep_report(live[3], &report(1), now).await.expect("kept");
    let week = std::time::Duration::from_hours(24 * 7);
    let waits_for = async || store.leaving_nodes(week).await.expect("read")[&nodes[1]].clone();
    assert_eq!(waits_for().await, [live[3]], "one node has not acknowledged");
    store.keep_report(live[3], &report(head), now).await.expect("kept");
    assert_eq!(waits_for().await, []);
    store.keep_report(live[3], &report(1), now).await.expect("late");
    let revision = store.reports().await.expect("reports")[&live[3]].revision;
    assert_eq!(revision, head, "a late report does not take a revision back");
}

#[tokio::test]
async fn the_newest_report_counts_whatever_it_acknowledges() {
    use sextant_api::resource::report::{AgentReport, NodeReport, WireGuardImplementation};
    let Fixture { store, database: _database } = Fixture::new().await;
    let (_, nodes) = grow(&store).await;
    let head = project(&store).await.expect("projected");
    let epoch = store.epoch().await.expect("epoch");
    let at = |s: i64| sextant_model::Timestamp::from_unix_seconds(1_800_000_000 + s).expect("time");
    let report = |process: u128, number, event_id, problem: &str| NodeReport {
        revision: sextant_model::Cursor { epoch, event_id },
        agent_version: "test".into(),
        clock: at(0),
        implementation: WireGuardImplementation::Userspace,
        mtu: 1420,
        underlay_mtu: 1500,
        problems: vec![problem.into()],
        peers: vec![],
        workloads_live: vec![],
        agent: (process != 0).then(|| AgentReport {
            process: Uuid::from_u128(process),
            number,
            interval_s: 5,
            clock_ahead_at_most_ms: Some(0),
            endpoint_is_local: None,
            problems: vec![],
        }),
    };
    let kept = async |report: NodeReport, now| {
        store.keep_report(nodes[0], &report, at(now)).await.expect("kept");
        let row = store.reports().await.expect("reports")[&nodes[0]].clone();
        let problems = row.report.expect("report").problems.concat();
        (problems, row.revision, row.reported_at, row.clock_skew_ms)
    };
    assert_eq!(kept(report(1, 7, head, "a"), 0).await, ("a".into(), head, at(0), 0));
    // It took 6 s, which is not a wrong clock.
    let port_busy = kept(report(2, 1, 0, "the port is busy"), 6).await;
    assert_eq!(port_busy, ("the port is busy".into(), head, at(6), 0), "after a restart");
    assert_eq!(kept(report(2, 3, 0, "c"), 8).await, ("c".into(), head, at(8), 0));
    assert_eq!(
        kept(report(2, 2, 0, "b"), 9).await,
        ("c".into(), head, at(8), 0),
        "it was overtaken"
    );
    // Agents of the last version number nothing.
    assert_eq!(kept(report(0, 0, 1, "old"), 10).await.0, "old");
    assert_eq!(kept(report(0, 0, 0, "older"), 11).await, ("older".into(), head, at(11), -11_000));
}

#[tokio::test]
async fn silent_and_revoked_nodes_hold_up_no_release_and_others_do() {
    use sextant_api::resource::report::{NodeReport, WireGuardImplementation};
    use sextant_model::{aggregate::NodeState, event::NodeCertificatesRevoked};
    let Fixture { store, database: _database } = Fixture::new().await;
    let (network_id, nodes) = grow(&store).await;
    let head = project(&store).await.expect("projected");
    let epoch = store.epoch().await.expect("epoch");
    let long_ago = sextant_model::Timestamp::from_unix_seconds(1_600_000_000).expect("time");
    let report = NodeReport {
        revision: sextant_model::Cursor { epoch, event_id: 1 },
        agent_version: "test".into(),
        clock: long_ago,
        implementation: WireGuardImplementation::Userspace,
        mtu: 1420,
        underlay_mtu: 1500,
        problems: vec![],
        peers: vec![],
        workloads_live: vec![],
        agent: None,
    };
    // Seen long ago, revoked, just enrolled and never heard of, and up to date.
    store.keep_report(nodes[0], &report, long_ago).await.expect("kept");
    let mut unit = store.begin();
    let mut revoked = unit.load::<NodeState>(nodes[2].0).await.expect("loaded");
    let event = EventBody::NodeCertificatesRevoked(NodeCertificatesRevoked { network_id });
    unit.append(&mut revoked, &[event], ACTOR).await.expect("appended");
    unit.commit().await.expect("committed");
    project(&store).await.expect("projected");
    let now = sextant_model::Timestamp::from_unix_seconds(1_900_000_000).expect("time");
    let mut newest = report.clone();
    newest.revision.event_id = head;
    store.keep_report(nodes[4], &newest, now).await.expect("kept");
    let week = std::time::Duration::from_hours(24 * 7);
    let leaving = store.leaving_nodes(week).await.expect("read");
    assert_eq!(leaving[&nodes[1]], [nodes[3]], "only the one that may still hear of it soon");
    let never = std::time::Duration::from_hours(24 * 365 * 100);
    let leaving = store.leaving_nodes(never).await.expect("read");
    assert_eq!(leaving[&nodes[1]], [nodes[0], nodes[3]], "an operator may wait for silent ones");
}
