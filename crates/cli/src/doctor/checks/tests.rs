use super::*;
use crate::health::tests::{healthy, now, report};

fn later(milliseconds: i64) -> Timestamp {
    Timestamp(now().0 + time::Duration::milliseconds(milliseconds))
}

#[test]
fn what_the_control_plane_found_is_a_check_of_its_subject() {
    let mut status = healthy(3);
    let names =
        |checks: &[Check]| checks.iter().map(|check| check.name.clone()).collect::<Vec<_>>();
    let well = platform(&status, &status.judged());
    let links = "links between nodes, edges, control planes";
    assert_eq!(names(&well), ["node n1", "node n2", "node n3", links]);
    assert!(well.iter().all(|check| check.findings.is_empty()));
    status.nodes[1].contact_age_s = Some(30);
    let lost = &mut report(&mut status, 0).peers[1];
    (lost.rtt_us, lost.lost) = (None, Some(2));
    let lost = &mut report(&mut status, 2).peers[0];
    (lost.rtt_us, lost.lost) = (None, Some(2));
    let checks = platform(&status, &status.judged());
    assert_eq!(names(&checks), ["node n1", "node n2", "node n3", "pair n1, n3"]);
    let counts: Vec<usize> = checks.iter().map(|check| check.findings.len()).collect();
    assert_eq!(counts, [0, 1, 0, 1]);
    assert!(checks[1].findings[0].what.contains("its last report was 30 s ago"), "{checks:?}");
}

#[test]
fn clocks_are_compared_with_the_time_the_question_took() {
    for (asked, theirs, answered, said) in [
        (0, 0, 10, None),
        (0, 2000, 10, None),
        (0, -2000, 10, None),
        // A slow answer says less about the clocks.
        (0, 6000, 5000, None),
        (0, 7001, 5000, Some("2.0 s behind the")),
        (0, -3000, 10, Some("3.0 s ahead of the")),
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
