//! Pairs of nodes: between whom packets pass, which way, and of which size.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Endpoints, Finding, HANDSHAKE_LIMIT_S, Kind, Mesh, Peer, Report,
    groups::{self, Pair},
    text,
};
use crate::{id::NodeId, mtu};

/// A node that enrolled less than so many seconds ago may still be finding its peers.
pub(super) const GRACE_S: u64 = 10;

/// Echoes lost in a row that are no accident.
const LOSSES: u32 = 2;

/// A side that heard nothing for so many seconds, while the other did just now, does not get the
/// other's packets: agents send at least that often to a peer that does not answer.
const DEAF_S: u64 = 4;

/// How one node sees another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// Its echoes come back.
    Alive,
    /// They do not.
    Lost,
    /// One did not, and an earlier version does not say how many.
    Doubtful,
    /// It does not say.
    Unknown,
}

/// What all reports together say about pairs.
pub(super) struct Links {
    dead: BTreeSet<Pair>,
    /// The largest packet that passes, where that is not the largest that may be sent.
    narrow: BTreeMap<Pair, u32>,
    /// Whose echoes are lost by whom, although packets pass both ways.
    unanswered: Vec<(usize, usize)>,
}

impl Links {
    pub(super) fn between(mesh: &Mesh<'_>) -> Self {
        let mut links =
            Self { dead: BTreeSet::new(), narrow: BTreeMap::new(), unanswered: Vec::new() };
        for from in &mesh.active {
            let Some(report) = mesh.judged(*from) else { continue };
            for (id, peer) in &report.peers {
                let Some(to) = mesh.index.get(id).filter(|to| *to != from) else { continue };
                links.take(mesh, *from, *to, Some(peer));
            }
            if report.is_partial || mesh.node(*from).lag != Some(0) {
                continue;
            }
            let network = mesh.node(*from).network_id;
            for to in &mesh.active {
                let other = mesh.node(*to);
                if other.network_id == network
                    && to != from
                    && !report.peers.contains_key(&other.id)
                {
                    links.take(mesh, *from, *to, None);
                }
            }
        }
        let dead = &links.dead;
        links.narrow.retain(|pair, _| !dead.contains(pair));
        links
    }

    fn take(&mut self, mesh: &Mesh<'_>, from: usize, to: usize, peer: Option<&Peer>) {
        let (Some(one), Some(other)) = (mesh.judged(from), mesh.judged(to)) else { return };
        let there = view(one, mesh.node(to).id);
        let back = view(other, mesh.node(from).id);
        let alive = [there, back].contains(&View::Alive);
        let lost = [there, back].contains(&View::Lost);
        if !alive && (lost || there == View::Doubtful && back == View::Doubtful) {
            self.dead.insert(pair(from, to));
        }
        if there == View::Lost && back == View::Alive {
            self.unanswered.push((from, to));
        }
        if let Some(largest) = peer.and_then(|peer| peer.largest_ok) {
            let known = self.narrow.entry(pair(from, to)).or_insert(largest);
            *known = largest.min(*known);
        }
    }

    /// Who hears a node, and who has lost it, of those whose reports are judged.
    pub(super) fn heard_by(mesh: &Mesh<'_>, at: usize) -> (Vec<usize>, Vec<usize>) {
        let node = mesh.node(at);
        let (mut hear, mut lost) = (Vec::new(), Vec::new());
        for peer in mesh.active.iter().copied().filter(|peer| *peer != at) {
            let Some(report) = mesh.judged(peer) else { continue };
            if !report.peers.contains_key(&node.id) {
                continue;
            }
            match view(report, node.id) {
                View::Alive => hear.push(peer),
                View::Lost => lost.push(peer),
                View::Doubtful | View::Unknown => {}
            }
        }
        (hear, lost)
    }

    /// Whom a node does not reach.
    pub(super) fn lost_to(&self, at: usize) -> impl Iterator<Item = usize> {
        self.dead.iter().filter_map(move |(one, other)| match at {
            _ if *one == at => Some(*other),
            _ if *other == at => Some(*one),
            _ => None,
        })
    }
}

/// What `from` knows of how it reaches `to` by its last echo.
fn view(report: &Report<'_>, to: NodeId) -> View {
    let Some(peer) = report.peers.get(&to) else {
        return if report.is_partial { View::Unknown } else { View::Lost };
    };
    let has_session = peer.handshake_age_s.is_some_and(|age| age <= HANDSHAKE_LIMIT_S);
    let is_blind = report.problems.iter().any(|one| one.kind == Some(Kind::ProbeBlind));
    match (peer.rtt_us, peer.lost) {
        (Some(_), _) => View::Alive,
        (None, Some(lost)) if lost >= LOSSES => View::Lost,
        (None, Some(_)) => View::Unknown,
        (None, None) if is_blind && has_session => View::Alive,
        (None, None) if has_session => View::Doubtful,
        (None, None) => View::Lost,
    }
}

/// Whether `from` sees that `to` is there.
pub(super) fn is_alive(report: &Report<'_>, to: NodeId) -> bool {
    view(report, to) == View::Alive
}

fn pair(one: usize, other: usize) -> Pair {
    (one.min(other), one.max(other))
}

pub(super) fn findings(mesh: &Mesh<'_>, links: &Links, endpoints: &Endpoints) -> Vec<Finding> {
    let explained = |(one, other): &Pair| endpoints.explains(*one) || endpoints.explains(*other);
    let mut dead = links.dead.clone();
    dead.retain(|pair| !explained(pair));
    let mut findings = Vec::new();
    if !dead.is_empty() {
        findings.extend(split(mesh, &mut dead));
    }
    for (at, lost) in groups::by_node(&mut dead, |at| peers(mesh, at)) {
        findings.push(cut_off(mesh, at, &lost));
    }
    findings.extend(dead.iter().map(|pair| dead_pair(mesh, *pair)));
    let mut narrow: BTreeSet<Pair> = links.narrow.keys().copied().collect();
    for (at, partners) in groups::by_node(&mut narrow, |at| peers(mesh, at)) {
        findings.push(narrow_node(mesh, links, at, &partners));
    }
    findings.extend(narrow.iter().map(|pair| narrow_pair(mesh, links, *pair)));
    findings.extend(links.unanswered.iter().map(|(from, to)| unanswered(mesh, *from, *to)));
    findings
}

/// Peers of a node that are judged.
fn peers(mesh: &Mesh<'_>, at: usize) -> usize {
    let network = mesh.node(at).network_id;
    let of_network = |peer: &&usize| {
        **peer != at && mesh.node(**peer).network_id == network && mesh.judged(**peer).is_some()
    };
    mesh.active.iter().filter(of_network).count()
}

/// A mesh that fell into groups; takes the pairs between these out of `dead`.
fn split(mesh: &Mesh<'_>, dead: &mut BTreeSet<Pair>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let networks: BTreeSet<_> = mesh.active.iter().map(|at| mesh.node(*at).network_id).collect();
    for network in networks {
        let judged =
            |at: &usize| mesh.node(*at).network_id == network && mesh.judged(*at).is_some();
        let nodes: BTreeSet<usize> = mesh.active.iter().copied().filter(judged).collect();
        let mut alive = BTreeSet::new();
        for from in &nodes {
            let Some(report) = mesh.judged(*from) else { continue };
            for (id, _) in report.peers.iter().filter(|(id, _)| is_alive(report, **id)) {
                if let Some(to) = mesh.index.get(id).filter(|to| nodes.contains(to)) {
                    alive.insert(pair(*from, *to));
                }
            }
        }
        let islands = groups::islands(&nodes, &alive);
        if islands.is_empty() {
            continue;
        }
        let island = |at: usize| islands.iter().position(|island| island.contains(&at));
        dead.retain(|(one, other)| match (island(*one), island(*other)) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        });
        let groups: Vec<String> =
            islands.iter().map(|island| mesh.names(island.iter().copied())).collect();
        let what = format!("these groups do not reach each other: {}", groups.join("; "));
        let ids = islands.iter().flatten().map(|at| mesh.node(*at).id);
        let kind = Kind::MeshSplit;
        findings.push(Finding::new(kind, "mesh", what, kind.remedy()).about(ids));
    }
    findings
}

fn cut_off(mesh: &Mesh<'_>, at: usize, lost: &BTreeSet<usize>) -> Finding {
    let node = mesh.node(at);
    let some = if lost.len() < peers(mesh, at) { "these of its peers" } else { "all of its peers" };
    Finding::of(
        node,
        Kind::NodeCutOff,
        format!(
            "nothing passes between it and {some}, although all report: {}",
            mesh.names(lost.iter().copied())
        ),
        format!(
            "peers send to UDP {}: check that this is its address on the underlay (`sextant node \
             set-endpoint` corrects it), and that firewalls let UDP to that port in and out",
            node.endpoint
        ),
    )
}

fn dead_pair(mesh: &Mesh<'_>, (one, other): Pair) -> Finding {
    let (a, b) = (mesh.node(one), mesh.node(other));
    let sides = format!("{}; {}", side(mesh, one, other), side(mesh, other, one));
    let way = [(one, other), (other, one)]
        .into_iter()
        .find(|(from, to)| hears(mesh, *from, *to) && is_deaf(mesh, *to, *from));
    let finding = |kind, what: String, remedy: String| {
        let subject = format!("pair {}, {}", a.name, b.name);
        Finding::new(kind, subject, what, remedy).about([a.id, b.id])
    };
    match way {
        Some((from, to)) => {
            let (from, to) = (mesh.node(from), mesh.node(to));
            finding(
                Kind::PairOneWay,
                format!(
                    "packets from {} do not reach {}, and those of {} do arrive ({sides})",
                    from.name, to.name, to.name
                ),
                format!(
                    "check firewalls and routes for UDP on the way from {} ({}) to {} ({})",
                    from.name, from.endpoint, to.name, to.endpoint
                ),
            )
        }
        None => finding(
            Kind::PairDead,
            format!("nothing passes, either way ({sides})"),
            format!(
                "check that {} and {} are their addresses on the underlay (`sextant node \
                 set-endpoint` corrects one), and that UDP passes between these, both ways",
                a.endpoint, b.endpoint
            ),
        ),
    }
}

fn measured<'a>(mesh: &Mesh<'a>, at: usize, peer: usize) -> Option<&'a Peer> {
    mesh.node(at).report.as_ref()?.peers.get(&mesh.node(peer).id)
}

fn side(mesh: &Mesh<'_>, at: usize, peer: usize) -> String {
    let said = match measured(mesh, at, peer) {
        None => "not a peer there".into(),
        Some(peer) => match peer.handshake_age_s {
            None => "never a handshake".into(),
            Some(age) => format!("handshake {}", text::age(age)),
        },
    };
    format!("{} with {}: {said}", mesh.name(at), mesh.name(peer))
}

/// Whether `at` has just had packets from `peer`.
fn hears(mesh: &Mesh<'_>, at: usize, peer: usize) -> bool {
    measured(mesh, at, peer).is_some_and(|peer| peer.heard_age_s.is_some_and(|age| age <= 1))
}

/// Whether `at` has had none from `peer` for longer than these are apart. An agent that does not
/// say so is not taken to be deaf.
fn is_deaf(mesh: &Mesh<'_>, at: usize, peer: usize) -> bool {
    measured(mesh, at, peer).is_some_and(|peer| peer.heard_age_s.is_some_and(|age| age >= DEAF_S))
}

fn narrow_node(mesh: &Mesh<'_>, links: &Links, at: usize, partners: &BTreeSet<usize>) -> Finding {
    let node = mesh.node(at);
    let sizes = partners.iter().filter_map(|peer| links.narrow.get(&pair(at, *peer)));
    let largest = sizes.copied().min().unwrap_or(mtu::MINIMUM);
    let names = mesh.names(partners.iter().copied());
    let what = format!(
        "long packets between it and {names} are lost: {largest} bytes pass, {} do not",
        overlay_mtu(mesh, at)
    );
    Finding::of(node, Kind::LargePacketsLost, what, narrow_remedy(mesh, at, largest))
}

fn narrow_pair(mesh: &Mesh<'_>, links: &Links, (one, other): Pair) -> Finding {
    let (a, b) = (mesh.node(one), mesh.node(other));
    let largest = links.narrow.get(&(one, other)).copied().unwrap_or(mtu::MINIMUM);
    let mtu = overlay_mtu(mesh, one).min(overlay_mtu(mesh, other));
    let what = format!("long packets between them are lost: {largest} bytes pass, {mtu} do not");
    let subject = format!("pair {}, {}", a.name, b.name);
    let remedy = narrow_remedy(mesh, one, largest);
    Finding::new(Kind::LargePacketsLost, subject, what, remedy).about([a.id, b.id])
}

fn overlay_mtu(mesh: &Mesh<'_>, at: usize) -> u32 {
    mesh.node(at).report.as_ref().map_or(0, |report| report.mtu)
}

fn narrow_remedy(mesh: &Mesh<'_>, at: usize, largest: u32) -> String {
    let (name, outer) = (mesh.name(at), overlay_mtu(mesh, at) + mtu::OVERHEAD);
    format!(
        "something on the way has a smaller MTU than {outer}: raise it, or lower the MTU of {name}'s \
         underlay interface to {}, from which the agent takes the overlay's; `sextant-agent doctor` \
         there measures it",
        largest + mtu::OVERHEAD
    )
}

fn unanswered(mesh: &Mesh<'_>, from: usize, to: usize) -> Finding {
    let (a, b) = (mesh.node(from), mesh.node(to));
    let what = format!("it does not answer the echoes of {}, although packets pass", a.name);
    Finding::of(b, Kind::EchoFiltered, what, Kind::EchoFiltered.remedy()).about([b.id, a.id])
}
