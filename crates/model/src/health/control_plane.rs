//! The control planes and what they derive from the log.

use super::{Finding, Kind, Platform, SKEW_LIMIT_MS, text};

/// Seconds after which a control plane that should say every few seconds that it runs is missing.
const REPLICA_LIMIT_S: u64 = 12;

/// Seconds that a projection may be behind without a word: it always is, for a moment.
const PROJECTION_LIMIT_S: u64 = 10;

pub(super) fn findings(platform: &Platform<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for replica in &platform.replicas {
        let subject = format!("control plane {}", replica.name);
        if replica.seen_age_s >= REPLICA_LIMIT_S {
            findings.push(Finding::new(
                Kind::ReplicaSilent,
                subject,
                format!("it was last heard of {}", text::age(replica.seen_age_s)),
                "start sextant-control there, or look at its log; one that is gone for good is \
                 forgotten a day later",
            ));
        } else if replica.clock_ahead_ms.abs() > SKEW_LIMIT_MS {
            let way = text::ahead(replica.clock_ahead_ms);
            findings.push(Finding::new(
                Kind::ReplicaClock,
                subject,
                format!("its clock is {way} the database's"),
                "synchronise its clock (NTP): until then it refuses certificates that are valid, \
                 and agents refuse its own",
            ));
        }
    }
    for projection in &platform.projections {
        if projection.behind > 0 && projection.behind_s.is_some_and(|s| s >= PROJECTION_LIMIT_S) {
            findings.push(Finding::new(
                Kind::ProjectionBehind,
                format!("projection {}", projection.name),
                format!("it lacks the newest {} event ids", projection.behind),
                "look for this projection in the control plane's log",
            ));
        }
    }
    findings
}
