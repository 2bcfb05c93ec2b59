use super::*;
use crate::health::tests::{healthy, now, report};

fn later(milliseconds: i64) -> Timestamp {
    Timestamp(now().0 + time::Duration::milliseconds(milliseconds))
}

fn names() -> NetworkNames {
    [(NetworkId(uuid::Uuid::from_u128(1)), DnsLabel::new("mesh").expect("label"))].into()
}

#[test]
fn a_healthy_mesh_has_no_findings() {
    let status = healthy(4);
    let checks = status.nodes.iter().map(|one| node(one, &status));
    for check in checks.chain([mtus(&status, &names()), projections("url", &status)]) {
        assert_eq!(check.findings, [], "{}", check.name);
    }
}

#[test]
fn each_thing_that_ails_a_node_is_a_finding_of_its_own() {
    type Change = fn(&mut Status);
    let table: [(Change, &str); 12] = [
        (|status| status.nodes[0].contact_age_s = None, "never reported"),
        (|status| status.nodes[0].contact_age_s = Some(30), "last report was 30s ago"),
        (|status| status.nodes[0].lag = Some(3), "3 events behind"),
        (|status| status.nodes[0].clock_skew_ms = Some(2001), "2001 ms ahead of"),
        (|status| status.nodes[0].clock_skew_ms = Some(-9000), "9000 ms behind"),
        (
            |status| status.nodes[0].node.certificate_not_after = Some(later(3_600_000)),
            "ends in 60m",
        ),
        (|status| status.nodes[0].node.certificate_not_after = Some(later(-1000)), "ended 1s ago"),
        (|status| report(status, 0).mtu = 1279, "overlay MTU is 1279"),
        (|status| report(status, 0).underlay_mtu = 1499, "does not fit into its underlay MTU 1499"),
        (
            |status| report(status, 0).problems.push("no route to x".into()),
            "reports: no route to x",
        ),
        (
            |status| {
                status.nodes[0].node.phase = NodePhase::Withdrawn;
                status.nodes[2].contact_age_s = Some(99);
            },
            "dropped it: n3",
        ),
        (|status| status.nodes[0].lag = Some(-1), "-1 events behind"),
    ];
    for (change, what) in table {
        let mut status = healthy(3);
        change(&mut status);
        let findings = node(&status.nodes[0], &status).findings;
        assert_eq!(findings.len(), 1, "{what}: {findings:?}");
        assert!(findings[0].what.contains(what), "{what}: {findings:?}");
        assert_eq!(findings[0].place, "node n1");
        assert!(!findings[0].remedy.is_empty());
    }
}

#[test]
fn what_is_just_within_bounds_is_no_finding() {
    type Change = fn(&mut Status);
    let table: [Change; 6] = [
        |status| status.nodes[0].contact_age_s = Some(29),
        |status| status.nodes[0].clock_skew_ms = Some(-2000),
        |status| status.nodes[0].node.certificate_not_after = Some(later(12 * 86_400_000)),
        |status| status.nodes[0].node.certificate_not_after = None,
        |status| report(status, 0).mtu = 1280,
        |status| status.nodes[0].node.phase = NodePhase::Withdrawn,
    ];
    for (index, change) in table.into_iter().enumerate() {
        let mut status = healthy(3);
        change(&mut status);
        assert_eq!(node(&status.nodes[0], &status).findings, [], "row {index}");
    }
}

#[test]
fn differing_mtus_are_named_per_network() {
    let mut status = healthy(3);
    report(&mut status, 2).mtu = 8920;
    let findings = mtus(&status, &names()).findings;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].what, "overlay MTUs differ: 1420 on n1, n2; 8920 on n3");
    assert_eq!(findings[0].place, "network mesh");
    let unnamed = mtus(&status, &NetworkNames::new()).findings;
    assert!(unnamed[0].place.starts_with("network 00000000-"), "{unnamed:?}");
    status.nodes[2].node.network_id = NetworkId(uuid::Uuid::from_u128(2));
    assert_eq!(mtus(&status, &names()).findings, [], "another network may have another MTU");
}

#[test]
fn a_node_without_an_interface_has_problems_but_no_mtu() {
    let mut status = healthy(3);
    report(&mut status, 0).mtu = 0;
    report(&mut status, 0).problems.push("cannot make the interface".into());
    let findings = node(&status.nodes[0], &status).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].what.contains("cannot make the interface"), "{findings:?}");
    assert_eq!(mtus(&status, &names()).findings, []);
}

#[test]
fn a_projection_that_is_behind_is_named() {
    let mut status = healthy(1);
    status.projections[0].checkpoint = 4;
    let findings = projections("https://cp", &status).findings;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].what, "projection \"nodes\" is 5 event ids behind");
}

#[test]
fn clocks_are_compared_with_the_time_the_question_took() {
    for (asked, theirs, answered, said) in [
        (0, 0, 10, None),
        (0, 2000, 10, None),
        (0, -2000, 10, None),
        // A slow answer says less about the clocks.
        (0, 6000, 5000, None),
        (0, 7001, 5000, Some("2001 ms behind")),
        (0, -3000, 10, Some("3000 ms ahead")),
    ] {
        let findings = clock("url", later(asked), later(theirs), later(answered)).findings;
        match said {
            None => assert_eq!(findings, [], "{theirs}"),
            Some(said) => assert!(findings[0].what.contains(said), "{findings:?}"),
        }
    }
}

#[test]
fn a_server_certificate_in_the_last_tenth_of_its_life_is_a_finding() {
    let at = now().unix_seconds();
    let findings = |begin, end| server_certificate("url", at + begin, at + end, now()).len();
    assert_eq!(findings(-80, 20), 0);
    assert_eq!(findings(-91, 9), 1);
    assert_eq!(findings(-100, -1), 1);
}

#[test]
fn replicas_of_different_logs_or_versions_are_found() {
    let answer = |epoch: u128, version: &str| {
        let mut status = healthy(1);
        status.epoch = sextant_model::Epoch(uuid::Uuid::from_u128(epoch));
        status.version = version.into();
        (Url::parse(&format!("https://cp{epoch}")).expect("URL"), status)
    };
    assert_eq!(replicas_agree(&[answer(1, "1"), answer(1, "1")]).findings, []);
    assert_eq!(replicas_agree(&[answer(1, "1"), answer(2, "1")]).findings.len(), 1);
    assert_eq!(replicas_agree(&[answer(1, "1"), answer(1, "2")]).findings.len(), 1);
    assert_eq!(replicas_agree(&[]).findings, []);
}
