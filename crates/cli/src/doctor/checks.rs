//! From what was seen to findings. Nothing here looks anywhere itself.

use std::collections::{BTreeMap, BTreeSet};

use sextant_api::resource::{
    node::NodePhase,
    status::{NodeStatus, Status},
};
use sextant_model::{DnsLabel, NetworkId, Timestamp, mtu};
use url::Url;

use super::{Check, Finding, local::ends};
use crate::{
    duration::ago,
    health::{CONTACT_LIMIT_S, active_peers, duplicates, events_behind, in_contact, is_active},
};

/// Difference of clocks that is worth a word, in milliseconds.
const SKEW_LIMIT_MS: i64 = 2000;

/// Seconds of life under which a node's certificate should long have been renewed: it lives thirty
/// days, and agents renew it after half of that at the latest.
const NODE_CERTIFICATE_NOTICE_S: i64 = 10 * 86_400;

/// What networks are called, as far as that is known.
pub type NetworkNames = BTreeMap<NetworkId, DnsLabel>;

/// The clock here against that of the control plane, which said `theirs` at some moment between
/// the other two.
pub fn clock(url: &str, asked_at: Timestamp, theirs: Timestamp, answered_at: Timestamp) -> Check {
    let ahead_ms = (asked_at.0 - theirs.0).whole_milliseconds();
    let behind_ms = (theirs.0 - answered_at.0).whole_milliseconds();
    let limit = i128::from(SKEW_LIMIT_MS);
    let finding = (ahead_ms.max(behind_ms) > limit).then(|| {
        let (by, which) = if ahead_ms > 0 { (ahead_ms, "ahead") } else { (behind_ms, "behind") };
        Finding::new(
            format!("the clock of this machine is at least {by} ms {which} of the control plane's"),
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

/// Whether the projections contain every settled event.
pub fn projections(url: &str, status: &Status) -> Check {
    let behind = status.projections.iter().filter(|one| one.checkpoint < status.settled);
    let findings = behind.map(|projection| {
        let events = status.settled - projection.checkpoint;
        Finding::new(
            format!("projection \"{}\" is {events} event ids behind", projection.name),
            url,
            "run doctor again; if it stays behind, look for this projection in the control plane's log",
        )
    });
    Check::new("projections", findings)
}

/// One node.
pub fn node(node: &NodeStatus, status: &Status) -> Check {
    let name = format!("node {}", node.node.name);
    let findings = match node.node.phase {
        NodePhase::Active => active(node, status, &name),
        NodePhase::Withdrawn => leaving(node, status, &name).into_iter().collect(),
        NodePhase::Released => Vec::new(),
    };
    Check::new(name, findings)
}

fn active(node: &NodeStatus, status: &Status, name: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |what: String, remedy: &str| findings.push(Finding::new(what, name, remedy));
    match node.contact_age_s {
        None => find(
            "it has never reported".into(),
            "look at the log of sextant-agent there: it must reach the control plane's API URLs",
        ),
        Some(age) if age >= CONTACT_LIMIT_S => find(
            format!("its last report was {}", ago(age)),
            "check that the machine is up, sextant-agent runs and the API URLs are reachable from it",
        ),
        Some(_) => {}
    }
    if let Some(duplicates) = duplicates(node) {
        find(
            duplicates,
            "stop the copy, empty its state folder and enrol it under a name of its own; if the copy is the one that is served, stop it there",
        );
    }
    if node.node.certificates_revoked {
        find(
            "its certificates are revoked: it learns of no change".into(),
            "`sextant node readmit` trusts its key again; else remove it, empty its state folder and enrol it again",
        );
    }
    if let Some(lag) = node.lag.filter(|lag| *lag != 0) {
        find(
            format!("it is {}", events_behind(lag)),
            "run doctor again; if it stays behind, look at the log of sextant-agent there",
        );
    }
    if let Some(skew) = node.clock_skew_ms.filter(|skew| skew.abs() > SKEW_LIMIT_MS) {
        let which = if skew > 0 { "ahead of" } else { "behind" };
        find(
            format!("its clock is {} ms {which} the control plane's", skew.abs()),
            "synchronise its clock (NTP)",
        );
    }
    if let Some(end) = node.node.certificate_not_after {
        let left = end.unix_seconds() - status.now.unix_seconds();
        if left <= 0 {
            find(
                format!("its client certificate {}", ends(end.unix_seconds(), status.now)),
                "its agent renews it by itself once it reaches the control plane: check that the machine is up and sextant-agent runs",
            );
        } else if left < NODE_CERTIFICATE_NOTICE_S {
            find(
                format!("its client certificate {}", ends(end.unix_seconds(), status.now)),
                "the agent renews it by itself and did not; look at the log of sextant-agent there",
            );
        }
    }
    if let Some(report) = &node.report {
        if report.mtu == 0 {
            // It has no interface; its problems, below, say why.
        } else if report.mtu < mtu::MINIMUM {
            find(
                format!("its overlay MTU is {}, and IPv6 needs {}", report.mtu, mtu::MINIMUM),
                "raise the MTU of its underlay to at least 1360",
            );
        } else if report.underlay_mtu > 0
            && report.mtu.saturating_add(mtu::OVERHEAD) > report.underlay_mtu
        {
            find(
                format!(
                    "its overlay MTU {} does not fit into its underlay MTU {}",
                    report.mtu, report.underlay_mtu
                ),
                "restart sextant-agent there, which sets it to the underlay MTU less 80",
            );
        }
        for problem in &report.problems {
            find(format!("it reports: {problem}"), "look at the log of sextant-agent there");
        }
    }
    findings
}

/// A leave is worth a word only if somebody holds it up.
fn leaving(node: &NodeStatus, status: &Status, name: &str) -> Option<Finding> {
    let silent: Vec<&str> = active_peers(node, status)
        .filter(|peer| !in_contact(peer))
        .map(|peer| peer.node.name.as_str())
        .collect();
    (!silent.is_empty()).then(|| {
        Finding::new(
            format!("it cannot leave before these have dropped it: {}", silent.join(", ")),
            name,
            "bring them back into contact, or remove them too if they are gone for good",
        )
    })
}

/// Whether the nodes of each network agree on the MTU. A node without an interface, which reports
/// MTU 0, has no say.
pub fn mtus(status: &Status, names: &NetworkNames) -> Check {
    let mut by_network: BTreeMap<NetworkId, BTreeMap<u32, Vec<&str>>> = BTreeMap::new();
    for node in status.nodes.iter().filter(|node| is_active(node)) {
        if let Some(report) = node.report.as_ref().filter(|report| report.mtu != 0) {
            let mtus = by_network.entry(node.node.network_id).or_default();
            mtus.entry(report.mtu).or_default().push(node.node.name.as_str());
        }
    }
    let findings = by_network.into_iter().filter(|(_, mtus)| mtus.len() > 1).map(|(id, mtus)| {
        let groups: Vec<String> =
            mtus.iter().map(|(mtu, names)| format!("{mtu} on {}", names.join(", "))).collect();
        Finding::new(
            format!("overlay MTUs differ: {}", groups.join("; ")),
            names
                .get(&id)
                .map_or_else(|| format!("network {id}"), |name| format!("network {name}")),
            "give the nodes' underlays the same MTU; until then large packets to the narrower \
             nodes depend on path MTU discovery",
        )
    });
    Check::new("MTUs", findings)
}

#[cfg(test)]
mod tests;
