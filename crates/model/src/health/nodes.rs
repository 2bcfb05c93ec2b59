//! Single nodes: whether each is in contact, current, and content.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Kind, Links, Mesh, Node, Problem, Report, SKEW_LIMIT_MS, text};
use crate::{id::NetworkId, mtu, placement::CONTACT_LIMIT};

/// A node that has just enrolled needs not have reported yet, in seconds.
const FIRST_REPORT_S: u64 = 30;

/// Events may be on their way for so long without a word, in seconds.
const LAG_LIMIT_S: u64 = 10;

/// Seconds of life under which a node's certificate should long have been renewed: it lives thirty days,
/// and agents renew it after half of that at the latest.
pub const CERTIFICATE_NOTICE_S: i64 = 10 * 86_400;

/// Seconds without a report after which a node counts as silent: two reports are missing.
pub fn silent_after_s(interval_s: Option<u32>) -> u64 {
    let longest = CONTACT_LIMIT.as_secs();
    interval_s.map_or(longest, |interval| (2 * u64::from(interval) + 2).min(longest))
}

/// Whether its last report says nothing about now.
pub(super) fn is_silent(node: &Node<'_>) -> bool {
    let interval_s = node.report.as_ref().and_then(|report| report.interval_s);
    node.contact_age_s.is_none_or(|age| age >= silent_after_s(interval_s))
}

/// Whether it says itself that it cannot have a working mesh.
pub(super) fn is_broken(node: &Node<'_>) -> bool {
    let breaks = |problem: &Problem<'_>| problem.kind.is_some_and(Kind::breaks_mesh);
    node.report.as_ref().is_some_and(|report| report.mtu == 0 || report.problems.iter().any(breaks))
}

pub(super) fn findings(mesh: &Mesh<'_>) -> Vec<Finding> {
    let silent: Vec<usize> =
        mesh.active.iter().copied().filter(|at| is_silent(mesh.node(*at))).collect();
    let all_silent = silent.len() > 1 && silent.len() == mesh.active.len();
    let mut findings = Vec::new();
    if all_silent {
        findings.extend(nobody_reports(mesh));
    }
    for at in &mesh.active {
        let node = mesh.node(*at);
        if node.is_revoked {
            // It is not heard any more, and that is why.
            let (kind, what) = (Kind::NodeRevoked, "its certificates are revoked");
            findings.push(Finding::of(node, kind, what, kind.remedy()));
        } else if !silent.contains(at) {
            findings.extend(present(node));
        } else if !all_silent {
            findings.extend(missing(mesh, *at));
        }
    }
    findings.extend(mtus(mesh));
    let leaving = mesh.platform.nodes.iter().filter(|node| !node.is_active);
    findings.extend(leaving.filter_map(|node| leave(node, mesh, &silent)));
    findings
}

/// Where one cause keeps all of them away, it is at the other end.
fn nobody_reports(mesh: &Mesh<'_>) -> Option<Finding> {
    let enrolled = |at: &usize| mesh.node(*at).enrolled_age_s >= FIRST_REPORT_S;
    let nodes: Vec<usize> = mesh.active.iter().copied().filter(enrolled).collect();
    let youngest = nodes.iter().filter_map(|at| mesh.node(*at).contact_age_s).min();
    let since =
        youngest.map_or_else(String::new, |age| format!("; the last one {}", text::age(age)));
    let what = format!("none of {} nodes reports{since}", nodes.len());
    let finding = Finding::new(Kind::AllSilent, "all nodes", what, Kind::AllSilent.remedy());
    (!nodes.is_empty()).then(|| finding.about(nodes.iter().map(|at| mesh.node(*at).id)))
}

/// A node that does not report: its peers tell a dead machine from a dead agent.
fn missing(mesh: &Mesh<'_>, at: usize) -> Option<Finding> {
    let node = mesh.node(at);
    let Some(age) = node.contact_age_s else {
        let kind = Kind::NeverReported;
        return (node.enrolled_age_s >= FIRST_REPORT_S)
            .then(|| Finding::of(node, kind, "it has never reported", kind.remedy()));
    };
    let last = format!("its last report was {}", text::age(age));
    let (hear, lost) = Links::heard_by(mesh, at);
    Some(if !hear.is_empty() {
        Finding::of(
            node,
            Kind::AgentSilent,
            format!(
                "{last}; the machine is up ({} hear it): its agent or its way to TCP port 7443 of \
                 the control plane is down",
                mesh.names(hear)
            ),
            Kind::AgentSilent.remedy(),
        )
    } else if !lost.is_empty() {
        Finding::of(
            node,
            Kind::NodeUnreachable,
            format!(
                "{last}, and {} do not hear it either: the machine or its network is down",
                mesh.names(lost)
            ),
            Kind::NodeUnreachable.remedy(),
        )
    } else {
        Finding::of(
            node,
            Kind::NodeUnreachable,
            last,
            "check that the machine is up, sextant-agent runs, and it reaches the control plane's \
             URLs (TCP port 7443)",
        )
    })
}

fn present(node: &Node<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = duplicate(node).into_iter().collect();
    let mut find = |kind: Kind, what: String| {
        findings.push(Finding::of(node, kind, what, kind.remedy()));
    };
    match &node.report {
        None => find(Kind::ReportUnreadable, "its report is not understood here".into()),
        Some(report) => {
            for problem in worth_telling(report) {
                let kind = problem.kind.unwrap_or(Kind::AgentTrouble);
                find(kind, format!("it reports: {}", problem.text));
            }
            if let Some((kind, what)) = mtu(report) {
                find(kind, what);
            }
        }
    }
    let complains = node.report.as_ref().is_some_and(|report| !report.problems.is_empty());
    if let (Some(lag), Some(age)) = (node.lag.filter(|lag| *lag != 0), node.lag_age_s)
        && age >= LAG_LIMIT_S
        && !complains
    {
        let plural = if lag == 1 { "" } else { "s" };
        find(
            Kind::NodeBehind,
            format!("it is {lag} event{plural} behind, since {}", text::age(age)),
        );
    }
    if let Some(ahead) = node.clock_ahead_ms.filter(|ahead| ahead.abs() > SKEW_LIMIT_MS) {
        find(Kind::NodeClock, format!("its clock is {} the database's", text::ahead(ahead)));
    }
    findings.extend(certificate(node));
    findings
}

/// What a node complains of, less what only follows from something else it names.
fn worth_telling<'a>(report: &'a Report<'a>) -> impl Iterator<Item = &'a Problem<'a>> {
    let specific = |kind: Kind| kind.breaks_mesh() && kind != Kind::Interface;
    let named = report.problems.iter().filter_map(|problem| problem.kind).any(specific);
    report.problems.iter().filter(move |problem| !(named && problem.kind == Some(Kind::Interface)))
}

fn mtu(report: &Report<'_>) -> Option<(Kind, String)> {
    let said = report.problems.iter().any(|problem| problem.kind == Some(Kind::UnderlayMtu));
    if report.mtu == 0 {
        // Its problems say why.
        return report.problems.is_empty().then(|| (Kind::Interface, "it has no interface".into()));
    }
    if said {
        return None;
    }
    if report.mtu < mtu::MINIMUM {
        let what = format!("its overlay MTU is {}, and IPv6 needs {}", report.mtu, mtu::MINIMUM);
        return Some((Kind::UnderlayMtu, what));
    }
    let needed = report.mtu.saturating_add(mtu::OVERHEAD);
    (report.underlay_mtu > 0 && needed > report.underlay_mtu).then(|| {
        let (inner, outer) = (report.mtu, report.underlay_mtu);
        let what = format!("its overlay MTU {inner} does not fit into its underlay MTU {outer}");
        if mtu::overlay(outer).is_err() {
            (Kind::UnderlayMtu, what)
        } else {
            (Kind::MtuMisfit, what)
        }
    })
}

fn duplicate(node: &Node<'_>) -> Option<Finding> {
    let (first, others) = node.duplicates.split_first().filter(|(_, others)| !others.is_empty())?;
    let machines = if others.len() == 1 { "two" } else { "several" };
    let others = others.join(", ");
    let what =
        format!("{machines} machines run as this node: {first} is served, {others} is refused");
    Some(Finding::of(node, Kind::DuplicateNode, what, Kind::DuplicateNode.remedy()))
}

fn certificate(node: &Node<'_>) -> Option<Finding> {
    let left = node.certificate_left_s.filter(|left| *left < CERTIFICATE_NOTICE_S)?;
    let when = text::age(left.unsigned_abs());
    let kind = Kind::NodeCertificate;
    Some(if left <= 0 {
        let what = format!("its client certificate ended {when}");
        Finding::of(node, kind, what, kind.remedy())
    } else {
        let when = when.trim_end_matches(" ago");
        let what = format!("its client certificate ends in {when}, and its agent did not renew it");
        Finding::of(node, kind, what, kind.remedy())
    })
}

/// A leave is worth a word only if somebody holds it up.
fn leave(node: &Node<'_>, mesh: &Mesh<'_>, silent: &[usize]) -> Option<Finding> {
    let is_awaited = |at: &usize| node.waits_for.contains(&mesh.node(*at).id);
    let held_up_by: Vec<usize> = silent.iter().copied().filter(is_awaited).collect();
    let names = mesh.names(held_up_by.iter().copied());
    let kind = Kind::LeaveHeldUp;
    let what = format!("it cannot leave before these have dropped it: {names}");
    (!held_up_by.is_empty()).then(|| Finding::of(node, kind, what, kind.remedy()))
}

/// Whether the nodes of each network agree on the MTU. A node that cannot have a mesh has no say.
fn mtus(mesh: &Mesh<'_>) -> Vec<Finding> {
    let mut networks: BTreeMap<NetworkId, BTreeMap<u32, Vec<usize>>> = BTreeMap::new();
    for at in mesh.heard.difference(&mesh.broken).copied().collect::<BTreeSet<_>>() {
        let node = mesh.node(at);
        if let Some(report) = node.report.as_ref().filter(|report| mtu(report).is_none()) {
            networks.entry(node.network_id).or_default().entry(report.mtu).or_default().push(at);
        }
    }
    let differing = networks.into_iter().filter(|(_, mtus)| mtus.len() > 1);
    differing
        .map(|(id, mtus)| {
            let groups: Vec<String> = mtus
                .iter()
                .map(|(mtu, ats)| format!("{mtu} on {}", mesh.names(ats.iter().copied())))
                .collect();
            let name = mtus.values().flatten().find_map(|at| mesh.node(*at).network);
            let subject =
                name.map_or_else(|| format!("network {id}"), |name| format!("network {name}"));
            let what = format!("overlay MTUs differ: {}", groups.join("; "));
            let nodes = mtus.values().flatten().map(|at| mesh.node(*at).id);
            Finding::new(Kind::MtusDiffer, subject, what, Kind::MtusDiffer.remedy()).about(nodes)
        })
        .collect()
}
