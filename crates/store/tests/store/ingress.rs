use std::collections::BTreeSet;

use sextant_api::resource::edge::EdgeReport;
use sextant_model::{
    AppId, Cursor, EnvironmentId, EventBody, HostPattern, NetworkId, NodeId, NodeRole, OrgId,
    RouteId, Timestamp, WorkloadId,
    aggregate::{EnvironmentState, NodeState, RouteState, WorkloadState},
    event::{
        EnvironmentCreated, Holder, HostnameAcquired, HostnameClaimed, HostnameReleased,
        HostnameSurrendered, HostnameVerified, NodeEnrolled, NodeWithdrawn, PortGrantRevoked,
        PortGranted, RouteChanged, RouteCreated, RouteDeleted, RouteMoved, WorkloadHealth,
        WorkloadHealthChanged, WorkloadPlaced, WorkloadWithdrawn,
    },
    neighbours::site,
    routing::{
        Endpoint, HealthSource, ProtocolHint, Routing, desired::RoutingSnapshot,
        table::ListenerKind,
    },
};
use sextant_store::{
    Store, Unit,
    claims::{HostnameTaking, HostnameWish, ListenerWish},
};
use uuid::Uuid;

use crate::{ACTOR, Fixture, enrolled, label};

const ORG: OrgId = OrgId(Uuid::from_u128(1));
const OTHER_ORG: OrgId = OrgId(Uuid::from_u128(2));
const MESH: NetworkId = NetworkId(Uuid::from_u128(3));

fn pattern(text: &str) -> HostPattern {
    HostPattern::new(text).expect(text)
}

fn environment(n: u128) -> EnvironmentId {
    EnvironmentId(Uuid::from_u128(0xE00 + n))
}

fn named(name: &HostPattern) -> ListenerWish<'_> {
    ListenerWish { network: MESH, port: 443, kind: ListenerKind::Tls, hostname: Some(name) }
}

fn raw(port: u16) -> ListenerWish<'static> {
    ListenerWish { network: MESH, port, kind: ListenerKind::Raw, hostname: None }
}

async fn take(unit: &mut Unit, name: &str, owner: EnvironmentId, org: OrgId) -> HostnameTaking {
    let hostname = &pattern(name);
    let site = site(hostname, &"apps.test".parse().expect("domain"));
    let wish = HostnameWish { hostname, environment: owner, org, site: site.as_deref() };
    unit.take_hostname(wish).await.expect("decided")
}

#[tokio::test]
async fn a_hostname_has_one_environment_and_its_wildcard_one_org() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let mut unit = store.begin();
    let (one, two) = (environment(1), environment(2));
    assert_eq!(take(&mut unit, "*.a.test", one, ORG).await, HostnameTaking::Taken);
    assert_eq!(take(&mut unit, "*.a.test", one, ORG).await, HostnameTaking::Taken, "again");
    for (name, owner, org, expected) in [
        ("x.a.test", two, OTHER_ORG, "overlaps"),
        ("x.a.test", two, ORG, "taken"),
        ("y.x.a.test", two, OTHER_ORG, "taken"),
        ("a.test", two, OTHER_ORG, "taken"),
        ("*.x.a.test", two, OTHER_ORG, "taken"),
        ("*.test", two, ORG, "overlaps"),
        ("localhost", two, OTHER_ORG, "taken"),
        ("*.a.test", two, ORG, "held"),
        ("b.a.apps.test", one, ORG, "taken"),
        ("a.apps.test", two, OTHER_ORG, "site"),
        ("c.a.apps.test", two, OTHER_ORG, "site"),
        ("c.a.apps.test", two, ORG, "taken"),
        ("b.apps.test", two, OTHER_ORG, "taken"),
    ] {
        let taking = take(&mut unit, name, owner, org).await;
        let word = match taking {
            HostnameTaking::Taken => "taken",
            HostnameTaking::Held(holder) => {
                assert_eq!((holder.environment_id, holder.org_id), (one, ORG));
                "held"
            }
            HostnameTaking::Overlaps => "overlaps",
            HostnameTaking::SiteHeld => "site",
        };
        assert_eq!(word, expected, "{name}");
    }
    unit.commit().await.expect("a conflict leaves the transaction usable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_takers_of_overlapping_names_one_org_wins() {
    let Fixture { store, database: _database } = Fixture::new().await;
    for round in 0..20 {
        let takers: Vec<_> = (0..8_u128)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move {
                    let org = OrgId(Uuid::from_u128(100 + n));
                    let name = if n % 2 == 0 { "*" } else { "www" };
                    // Below the platform's domain it is the site that they share.
                    let name = match (round % 2, n) {
                        (0, _) => format!("{name}.r{round}.test"),
                        (_, 0) => format!("r{round}.apps.test"),
                        _ => format!("{name}.x{n}.r{round}.apps.test"),
                    };
                    let mut unit = store.begin();
                    let taking = take(&mut unit, &name, environment(n), org).await;
                    let taken = taking == HostnameTaking::Taken;
                    unit.commit().await.expect("committed");
                    (taken, org, name)
                })
            })
            .collect();
        let mut winners = vec![];
        for taker in takers {
            let (taken, org, name) = taker.await.expect("task");
            if taken {
                winners.push((org, name));
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
    }
}

#[tokio::test]
async fn the_database_itself_refuses_what_the_code_must_never_ask_for() {
    let fixture = Fixture::new().await;
    let (one, two) = (environment(1), environment(2));
    let name = pattern("a.test");
    let mut unit = fixture.store.begin();
    take(&mut unit, "a.test", one, ORG).await;
    take(&mut unit, "b.test", one, ORG).await;
    take(&mut unit, "s.apps.test", one, ORG).await;
    let route = RouteId(Uuid::now_v7());
    assert_eq!(unit.take_listener(route, one, named(&name)).await.expect("taken"), None);
    let lone = RouteId(Uuid::now_v7());
    assert_eq!(unit.take_listener(lone, one, raw(5000)).await.expect("taken"), None);
    unit.commit().await.expect("committed");

    let pool = fixture.raw(&fixture.database.app_url);
    let (one, two, mesh) = (one.0, two.0, MESH);
    let claim = "INSERT INTO hostname_claims VALUES";
    let listen = "INSERT INTO listener_claims VALUES (gen_random_uuid(), ";
    for (statement, constraint) in [
        (format!("{claim} ('a.test', '{two}', '{two}', 'test', 0)"), "hostname_claims_pkey"),
        (format!("{claim} ('*.test', '{two}', '{two}', 'test', 1)"), "hostname_claims_one_org"),
        (
            format!("{claim} ('x.s.apps.test', '{two}', '{two}', 's.apps.test', 0, 's.apps.test')"),
            "hostname_claims_one_site",
        ),
        (
            format!(
                "UPDATE hostname_claims SET org_id = '{two}', is_wildcard = 1 WHERE hostname = 'a.test'"
            ),
            "hostname_claims_one_org",
        ),
        (
            "DELETE FROM hostname_claims WHERE hostname = 'a.test'".into(),
            "listener_claims_hostname",
        ),
        (format!("{listen}'{two}', '{mesh}', 443, 1, 'b.test')"), "listener_claims_hostname"),
        (format!("{listen}'{two}', '{mesh}', 443, 1, 'c.test')"), "listener_claims_hostname"),
        (format!("{listen}'{one}', '{mesh}', 443, 1, 'a.test')"), "listener_claims_named"),
        (format!("{listen}'{one}', '{mesh}', 443, 0, NULL)"), "listener_claims_one_kind"),
        (format!("{listen}'{one}', '{mesh}', 443, 2, 'b.test')"), "listener_claims_one_kind"),
        (format!("{listen}'{one}', '{mesh}', 5000, 0, NULL)"), "listener_claims_raw"),
        (format!("{listen}'{one}', '{mesh}', 5000, 1, 'b.test')"), "listener_claims_one_kind"),
        (format!("{listen}'{one}', '{mesh}', 444, 1, NULL)"), "listener_claims_name"),
        (format!("{listen}'{one}', '{mesh}', 0, 0, NULL)"), "listener_claims_port"),
    ] {
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(&pool).await;
        let error = done.expect_err(&statement);
        let database = error.as_database_error().expect("the database refuses");
        assert_eq!(database.constraint(), Some(constraint), "{statement}");
    }
}

#[tokio::test]
async fn a_hostname_that_moves_takes_its_listeners_along_and_stays_within_its_neighbours_org() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let (one, two) = (environment(1), environment(2));
    let name = pattern("a.test");
    let only = BTreeSet::from([name.clone()]);
    let mut unit = store.begin();
    take(&mut unit, "a.test", one, ORG).await;
    let route = RouteId(Uuid::now_v7());
    unit.take_listener(route, one, named(&name)).await.expect("taken");
    unit.hand_over_hostnames(&only, one, two, OTHER_ORG).await.expect("moved");
    assert_eq!(unit.routes_of_hostname(&name, two).await.expect("read"), [route]);
    assert_eq!(
        (unit.routes_in(one).await.expect("read"), unit.routes_in(two).await.expect("read")),
        (0, 1)
    );
    take(&mut unit, "*.test", two, OTHER_ORG).await;
    unit.commit().await.expect("committed");

    let mut unit = store.begin();
    let error = unit.hand_over_hostnames(&only, two, one, ORG).await.expect_err("overlaps");
    assert!(error.to_string().contains("hostname \"a.test\" overlaps"), "{error}");
    let mut unit = store.begin();
    assert!(unit.hand_over_hostnames(&only, one, two, ORG).await.is_err(), "not its own");
    let mut unit = store.begin();
    let both = BTreeSet::from([name.clone(), pattern("*.test")]);
    unit.hand_over_hostnames(&both, two, one, ORG).await.expect("together");
    unit.commit().await.expect("committed");
    let mut unit = store.begin();
    assert_eq!(unit.routes_of_hostname(&name, one).await.expect("read"), [route]);
}

#[tokio::test]
async fn a_listener_that_is_taken_says_by_whom() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let (one, two) = (environment(1), environment(2));
    let (a, b) = (pattern("a.test"), pattern("b.test"));
    let mut unit = store.begin();
    take(&mut unit, "a.test", one, ORG).await;
    take(&mut unit, "b.test", two, ORG).await;
    let ids: Vec<_> = (0..5).map(|_| RouteId(Uuid::now_v7())).collect();
    assert_eq!(unit.take_listener(ids[0], one, named(&a)).await.expect("free"), None);
    assert_eq!(unit.take_listener(ids[1], two, named(&b)).await.expect("free"), None);
    let holder = unit.take_listener(ids[2], one, named(&a)).await.expect("asked").expect("taken");
    assert_eq!((holder.route_id, holder.same_name), (ids[0], true));
    let holder = unit.take_listener(ids[3], one, raw(443)).await.expect("asked").expect("taken");
    assert!(!holder.same_name);
    assert_eq!(unit.take_listener(ids[3], one, raw(5000)).await.expect("free"), None);
    let holder = unit.take_listener(ids[4], two, raw(5000)).await.expect("asked").expect("taken");
    assert_eq!((holder.route_id, holder.environment_id), (ids[3], one));
    assert_eq!(unit.routes_on_port(one, 5000).await.expect("read"), 1);
    let elsewhere = ListenerWish { network: NetworkId(Uuid::from_u128(9)), ..raw(5000) };
    assert_eq!(unit.take_listener(ids[2], two, elsewhere).await.expect("free"), None);
    unit.release_listener(ids[3]).await.expect("released");
    assert_eq!(unit.take_listener(ids[4], two, raw(5000)).await.expect("free"), None);
}

/// Events of every kind that the ingress projections read.
pub async fn grow(store: &Store) -> Vec<RouteId> {
    let mut unit = store.begin();
    let (one, two) = (EnvironmentId(Uuid::now_v7()), EnvironmentId(Uuid::now_v7()));
    for (id, name) in [(one, "one"), (two, "two")] {
        let created = EventBody::EnvironmentCreated(EnvironmentCreated {
            org_id: ORG,
            app_id: AppId(Uuid::from_u128(4)),
            network_id: MESH,
            name: label(name),
        });
        append::<EnvironmentState>(&mut unit, id.0, vec![created]).await;
    }
    let (a, b, c) = (pattern("a.test"), pattern("b.test"), pattern("*.c.test"));
    let org_id = ORG;
    let claimed = |hostname: &HostPattern, challenge: Option<&str>| {
        let (hostname, challenge) = (hostname.clone(), challenge.map(str::to_owned));
        EventBody::HostnameClaimed(HostnameClaimed { org_id, hostname, challenge })
    };
    let hostnames = vec![
        claimed(&a, None),
        claimed(&b, Some("proof")),
        EventBody::HostnameVerified(HostnameVerified { org_id, hostname: b.clone() }),
        claimed(&c, Some("waiting")),
        claimed(&pattern("d.test"), None),
        EventBody::HostnameReleased(HostnameReleased { org_id, hostname: pattern("d.test") }),
        EventBody::PortGranted(PortGranted { org_id, port: 5432, reason: "why".into() }),
        EventBody::PortGranted(PortGranted { org_id, port: 5433, reason: "why".into() }),
        EventBody::PortGrantRevoked(PortGrantRevoked { org_id, port: 5433 }),
        EventBody::HostnameSurrendered(HostnameSurrendered {
            org_id,
            hostname: b.clone(),
            to: Some(Holder { org_id, environment_id: two }),
        }),
    ];
    append::<EnvironmentState>(&mut unit, one.0, hostnames).await;
    let had = Holder { org_id, environment_id: one };
    let acquired = HostnameAcquired { org_id, hostname: b.clone(), from: Some(had) };
    append::<EnvironmentState>(&mut unit, two.0, vec![EventBody::HostnameAcquired(acquired)]).await;
    let routes: Vec<_> = (0..4).map(|_| RouteId(Uuid::now_v7())).collect();
    for (id, hostname, port) in
        [(routes[0], Some(&a), 443), (routes[1], Some(&b), 443), (routes[2], None, 5432)]
    {
        append::<RouteState>(&mut unit, id.0, vec![route(one, hostname.cloned(), port)]).await;
    }
    let changed = EventBody::RouteChanged(RouteChanged {
        org_id,
        environment_id: Some(one),
        network_id: MESH,
        backend_process_type: label("api"),
        backend_port: 9443,
        proxy_protocol: true,
        health_source: HealthSource::Tcp { port: Some(9000) },
    });
    append::<RouteState>(&mut unit, routes[0].0, vec![changed]).await;
    let moved = EventBody::RouteMoved(RouteMoved {
        network_id: MESH,
        from: Some(had),
        to: Some(route_created(two, Some(b.clone()), 443)),
    });
    append::<RouteState>(&mut unit, routes[1].0, vec![moved]).await;
    let deleted = RouteDeleted { org_id, environment_id: one, network_id: MESH };
    append::<RouteState>(&mut unit, routes[2].0, vec![EventBody::RouteDeleted(deleted)]).await;
    for (n, process_type, health) in
        [(1, "web", Some(WorkloadHealth::Healthy)), (2, "web", None), (3, "api", None)]
    {
        let id = WorkloadId(Uuid::now_v7());
        append::<WorkloadState>(&mut unit, id.0, workload(one, process_type, n, health)).await;
    }
    unit.commit().await.expect("committed");
    routes
}

async fn append<A: sextant_model::aggregate::Aggregate>(
    unit: &mut Unit,
    id: Uuid,
    events: Vec<EventBody>,
) {
    let mut loaded = unit.load::<A>(id).await.expect("loaded");
    unit.append(&mut loaded, &events, ACTOR).await.expect("appended");
}

fn route(environment: EnvironmentId, hostname: Option<HostPattern>, port: u16) -> EventBody {
    EventBody::RouteCreated(route_created(environment, hostname, port))
}

fn route_created(
    environment: EnvironmentId,
    hostname: Option<HostPattern>,
    port: u16,
) -> RouteCreated {
    let protocol_hint = match hostname {
        Some(_) => ProtocolHint::TlsPassthrough,
        None => ProtocolHint::TcpRaw,
    };
    RouteCreated {
        org_id: ORG,
        environment_id: environment,
        network_id: MESH,
        hostname,
        listen_port: port,
        protocol_hint,
        match_host: false,
        backend_process_type: label("web"),
        backend_port: 8443,
        proxy_protocol: false,
        ipv4_required: false,
        health_source: HealthSource::None,
        endpoint: Endpoint::Ipv6Only,
    }
}

/// The third one is withdrawn.
fn workload(
    environment: EnvironmentId,
    process_type: &str,
    n: u16,
    health: Option<WorkloadHealth>,
) -> Vec<EventBody> {
    let (org_id, network_id) = (ORG, MESH);
    let node_id = NodeId(Uuid::from_u128(5));
    let mut events = vec![EventBody::WorkloadPlaced(WorkloadPlaced {
        org_id,
        environment_id: environment,
        release_id: None,
        process_type: label(process_type),
        network_id,
        node_id,
        address: std::net::Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, n),
    })];
    events.extend(health.map(|health| {
        EventBody::WorkloadHealthChanged(WorkloadHealthChanged {
            org_id,
            environment_id: environment,
            network_id,
            health,
        })
    }));
    if n == 3 {
        events.push(EventBody::WorkloadWithdrawn(WorkloadWithdrawn {
            org_id,
            environment_id: environment,
            network_id,
            node_id,
        }));
    }
    events
}

#[tokio::test]
async fn a_routing_snapshot_is_the_fold_of_the_events_before_it() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let routes = grow(&store).await;
    let settled = store.settle().await.expect("settled");
    store.project(settled).await.expect("projected");
    let (cursor, snapshot) = store.routing(MESH).await.expect("snapshot");
    assert_eq!(cursor.event_id, settled);
    assert_eq!((snapshot.routes.len(), snapshot.workloads.len()), (2, 2));
    assert_eq!(snapshot.deleted, [routes[2]].into());
    let mut folded = Routing::empty(MESH);
    for event in store.events(0, settled, 1000).await.expect("events") {
        folded.apply(&event);
    }
    assert_eq!(snapshot.withdrawn.len(), 1);
    let nothing_gone = (BTreeSet::new(), BTreeSet::new());
    let (deleted, withdrawn) = nothing_gone;
    assert_eq!(RoutingSnapshot::from(&folded), RoutingSnapshot { deleted, withdrawn, ..snapshot });
    let (_, elsewhere) = store.routing(NetworkId(Uuid::from_u128(9))).await.expect("snapshot");
    assert_eq!((elsewhere.routes.len(), elsewhere.workloads.len()), (0, 0));
}

#[tokio::test]
async fn an_event_is_acknowledged_when_every_live_edge_serves_it() {
    let Fixture { store, database: _database } = Fixture::new().await;
    let mut unit = store.begin();
    let nodes: Vec<_> = (0..4).map(|_| NodeId(Uuid::now_v7())).collect();
    for (n, roles) in [
        (0, vec![NodeRole::Edge]),
        (1, vec![NodeRole::Worker, NodeRole::Edge]),
        (2, vec![NodeRole::Worker]),
        (3, vec![NodeRole::Edge]),
    ] {
        let joined = NodeEnrolled { roles, ..enrolled(MESH, u16::try_from(n).expect("small") + 1) };
        append::<NodeState>(&mut unit, nodes[n].0, vec![EventBody::NodeEnrolled(joined)]).await;
    }
    let left = EventBody::NodeWithdrawn(NodeWithdrawn { network_id: MESH });
    append::<NodeState>(&mut unit, nodes[3].0, vec![left]).await;
    let event_id = unit.commit().await.expect("committed");
    store.project(store.settle().await.expect("settled")).await.expect("projected");
    let epoch = store.epoch().await.expect("epoch");
    let now = Timestamp::from_unix_seconds(1_800_000_000).expect("time");
    let report = async |node: NodeId, event_id: i64| {
        let report = EdgeReport {
            revision: Cursor { epoch, event_id },
            version: "test".into(),
            routes: 0,
            refused: vec![],
            listeners: vec![],
        };
        store.keep_edge_report(node, &report, now).await.expect("kept");
    };
    let acknowledged = async || store.edges_acknowledged(MESH, event_id).await.expect("read");
    assert!(!acknowledged().await, "nobody has reported");
    report(nodes[0], event_id).await;
    report(nodes[1], event_id - 1).await;
    assert!(!acknowledged().await, "one is behind");
    report(nodes[1], event_id).await;
    assert!(acknowledged().await);
    report(nodes[1], 1).await;
    assert!(acknowledged().await, "a late report takes nothing back");
    assert!(store.edges_acknowledged(MESH, 1).await.expect("read"), "all joined after it");
    let elsewhere = NetworkId(Uuid::from_u128(9));
    assert!(store.edges_acknowledged(elsewhere, event_id).await.expect("read"), "no edge there");
}
