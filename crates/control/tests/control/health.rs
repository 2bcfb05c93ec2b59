//! What is wrong is judged by the control plane, from what came last.

use std::time::Duration;

use sextant_api::{
    Client,
    resource::{
        report::{AgentProblem, AgentReport, NodeReport, WireGuardImplementation},
        status::Status,
    },
};
use sextant_model::{Cursor, Timestamp};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Platform, enrol, network, tenancy::code};

const LIMIT: Duration = Duration::from_secs(20);

fn now() -> Timestamp {
    Timestamp(OffsetDateTime::now_utc())
}

fn report(revision: Cursor, number: i64, problems: &[(&str, &str)]) -> NodeReport {
    let problem =
        |(kind, text): &(&str, &str)| AgentProblem { kind: (*kind).into(), text: (*text).into() };
    NodeReport {
        revision,
        agent_version: "test".into(),
        clock: now(),
        implementation: WireGuardImplementation::Userspace,
        mtu: 1420,
        underlay_mtu: 1500,
        problems: problems.iter().map(|(_, text)| (*text).into()).collect(),
        peers: vec![],
        workloads_live: vec![],
        agent: Some(AgentReport {
            process: Uuid::from_u128(1),
            number,
            interval_s: 5,
            clock_ahead_at_most_ms: Some(0),
            endpoint_is_local: Some(true),
            problems: problems.iter().map(problem).collect(),
        }),
    }
}

fn kinds(status: &Status) -> Vec<String> {
    let findings = status.findings.as_ref().expect("judged");
    findings.iter().map(|finding| finding.kind.clone()).collect()
}

async fn head(client: &Client) -> Cursor {
    client.events(None, Some(1000)).await.expect("events").head
}

#[tokio::test]
async fn an_agent_that_cannot_apply_anything_since_its_restart_is_heard() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mesh = network(&client).await;
    let (_, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let head = head(&client).await;
    let taken = node.report(&report(head, 1, &[])).await.expect("taken").expect("answer");
    assert!((taken.now.0 - now().0).abs() < time::Duration::seconds(60));
    let status = client.status().await.expect("status");
    assert_eq!(kinds(&status), Vec::<String>::new());

    let nothing = Cursor { event_id: 0, ..head };
    let busy = ("port-busy", "UDP port 51820 is in use by nc (pid 7)");
    node.report(&report(nothing, 2, &[busy])).await.expect("taken");
    let status = client.status().await.expect("status");
    assert_eq!(kinds(&status), ["port-busy"]);
    let found = &status.findings.as_ref().expect("judged")[0];
    assert_eq!(found.subject, "node n1");
    assert_eq!(found.what, "it reports: UDP port 51820 is in use by nc (pid 7)");
    assert_eq!(status.nodes[0].revision, Some(head.event_id), "what was saved stays saved");

    node.report(&report(head, 3, &[("something-new", "of a later version")])).await.expect("taken");
    assert_eq!(kinds(&client.status().await.expect("status")), ["agent-trouble"]);
    node.report(&report(head, 4, &[])).await.expect("taken");
    assert_eq!(kinds(&client.status().await.expect("status")), Vec::<String>::new());
}

#[tokio::test]
async fn reports_cannot_turn_text_around_and_fields_of_later_versions_are_passed_over() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = platform.admin(&[&replica]);
    let mesh = network(&client).await;
    let (_, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let head = head(&client).await;
    for text in ["\u{202e}llun", "a\u{2066}b", "\u{1b}[2J"] {
        let refused = node.report(&report(head, 1, &[("disk-full", text)])).await;
        assert_eq!(code(refused), "request-invalid", "{text:?}");
    }
    let mut later = serde_json::to_value(report(head, 1, &[])).expect("JSON");
    later["something"] = 1.into();
    later["agent"]["something"] = 2.into();
    let read: NodeReport = serde_json::from_value(later).expect("read");
    assert_eq!(read.agent, report(head, 1, &[]).agent);
}

#[tokio::test]
async fn a_replica_that_is_killed_is_missing_and_one_that_is_stopped_is_not() {
    let platform = Platform::new().await;
    let first = platform.replica().await;
    let second = platform.replica().await;
    let client = platform.admin(&[&first]);
    let seen = async |count: usize| {
        let look = async {
            while client.status().await.expect("status").replicas.len() != count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, look).await.expect("seen");
    };
    seen(2).await;
    let status = client.status().await.expect("status");
    assert!(status.replicas.iter().all(|one| one.clock_ahead_ms.abs() < 2000), "{status:?}");
    second.stop.cancel();
    second.replica.stopped().await;
    seen(1).await;
}
