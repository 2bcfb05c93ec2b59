//! From what was seen to findings. Nothing here looks anywhere itself.

use std::collections::BTreeSet;

use sextant_api::resource::status::Status;
use sextant_model::{
    Timestamp,
    health::{self, SKEW_LIMIT_MS, span_ms},
};
use url::Url;

use super::{Check, Finding, local::ends};

/// The clock here against that of the control plane, which said `theirs` at some moment between
/// the other two.
pub fn clock(url: &str, asked_at: Timestamp, theirs: Timestamp, answered_at: Timestamp) -> Check {
    let ahead_ms = (asked_at.0 - theirs.0).whole_milliseconds();
    let behind_ms = (theirs.0 - answered_at.0).whole_milliseconds();
    let limit = i128::from(SKEW_LIMIT_MS);
    let finding = (ahead_ms.max(behind_ms) > limit).then(|| {
        let (by, which) = if ahead_ms > 0 { (ahead_ms, "ahead of") } else { (behind_ms, "behind") };
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        Finding::new(
            format!(
                "the clock of this machine is at least {} {which} the control plane's",
                span_ms(by)
            ),
            url,
            "synchronise both clocks (NTP); certificates and tokens depend on them",
        )
    });
    Check::new(format!("clock of {url}"), finding)
}

/// The certificate of a control plane, valid from `begin` to `end` in seconds since the Unix epoch.
pub fn server_certificate(url: &str, begin: i64, end: i64, now: Timestamp) -> Vec<Finding> {
    // Whatever its length, the last tenth of a life is past the renewal.
    let left = end - now.unix_seconds();
    if left >= (end - begin) / 10 {
        return Vec::new();
    }
    vec![Finding::new(
        format!("the certificate {}", ends(end, now)),
        url,
        "restart the control plane, which makes a new one, and look at its log for why it did not",
    )]
}

/// Whether all that answered speak of the same log.
pub fn replicas_agree(replicas: &[(Url, Status)]) -> Check {
    let epochs: BTreeSet<String> =
        replicas.iter().map(|(_, status)| status.epoch.to_string()).collect();
    let versions: BTreeSet<&str> =
        replicas.iter().map(|(_, status)| status.version.as_str()).collect();
    let place: Vec<&str> = replicas.iter().map(|(url, _)| url.as_str()).collect();
    let place = place.join(", ");
    let mut findings = Vec::new();
    if epochs.len() > 1 {
        findings.push(Finding::new(
            format!("the control planes serve different logs: {epochs:?}"),
            &place,
            "they must use one database; stop those that use an old primary or a restored copy",
        ));
    }
    if versions.len() > 1 {
        findings.push(Finding::new(
            format!("the control planes have different versions: {versions:?}"),
            &place,
            "finish the upgrade",
        ));
    }
    Check::new("control planes agree", findings)
}

fn about<'a>(
    findings: &'a [health::Finding],
    subject: &'a str,
) -> impl Iterator<Item = Finding> + 'a {
    findings.iter().filter(move |one| one.subject == subject).map(Finding::from)
}

/// What the control plane found: a check for each node, and one for everything else that is wrong.
pub fn platform(status: &Status, findings: &[health::Finding]) -> Vec<Check> {
    let mut subjects: Vec<String> =
        status.nodes.iter().map(|node| format!("node {}", node.node.name)).collect();
    for finding in findings {
        if !subjects.contains(&finding.subject) {
            subjects.push(finding.subject.clone());
        }
    }
    let mut checks: Vec<Check> =
        subjects.iter().map(|subject| Check::new(subject, about(findings, subject))).collect();
    if !findings.iter().any(health::Finding::is_wrong) {
        checks.push(Check::new("links between nodes, edges, control planes", []));
    }
    checks
}

#[cfg(test)]
mod tests;
