//! Registered endpoints against those in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{Finding, Kind, Links, Mesh, pairs};

/// What is wrong with the endpoints of nodes.
pub(super) struct Endpoints {
    /// Nodes that share one with others.
    shared: BTreeMap<SocketAddr, BTreeSet<usize>>,
    /// Nodes that all peers reach somewhere else, and where.
    unused: BTreeMap<usize, SocketAddr>,
    /// The same for nodes behind address translation.
    translated: BTreeMap<usize, SocketAddr>,
}

impl Endpoints {
    pub(super) fn of(mesh: &Mesh<'_>) -> Self {
        let mut shared: BTreeMap<SocketAddr, BTreeSet<usize>> = BTreeMap::new();
        for at in &mesh.active {
            shared.entry(mesh.node(*at).endpoint).or_default().insert(*at);
        }
        shared.retain(|_, nodes| nodes.len() > 1);
        let (mut elsewhere, mut as_registered) =
            (BTreeMap::<usize, Vec<SocketAddr>>::new(), BTreeSet::new());
        for from in &mesh.active {
            let Some(report) = mesh.judged(*from) else { continue };
            for (id, peer) in report.peers.iter().filter(|(id, _)| pairs::is_alive(report, **id)) {
                let Some(at) = mesh.index.get(id) else { continue };
                // One that was registered a moment ago is not known to all reports yet.
                match peer.endpoint.filter(|used| *used != mesh.node(*at).endpoint) {
                    Some(used) => elsewhere.entry(*at).or_default().push(used),
                    None => drop(as_registered.insert(*at)),
                }
            }
        }
        let (mut unused, mut translated) = (BTreeMap::new(), BTreeMap::new());
        for (at, used) in elsewhere {
            let names_itself = used.iter().any(|used| is_its_own(mesh, at, *used));
            if let Some(used) =
                used.first().filter(|_| !as_registered.contains(&at) && !names_itself)
            {
                let inside = is_private(mesh.node(at).endpoint) && !is_private(*used);
                let nodes = if inside { &mut translated } else { &mut unused };
                nodes.insert(at, *used);
            }
        }
        Self { shared, unused, translated }
    }

    /// Whether dead links of this node need no other explanation.
    pub(super) fn explains(&self, at: usize) -> bool {
        let is_shared = self.shared.values().any(|nodes| nodes.contains(&at));
        is_shared || self.unused.contains_key(&at)
    }

    pub(super) fn findings(&self, mesh: &Mesh<'_>, links: &Links) -> Vec<Finding> {
        let shared =
            self.shared.iter().map(|(endpoint, nodes)| self.shared(mesh, *endpoint, nodes));
        let is_shared = |at: &usize| self.shared.values().any(|nodes| nodes.contains(at));
        let unused = self.unused.iter().filter(|(at, _)| !is_shared(at));
        let translated = self.translated.iter().filter(|(at, _)| !is_shared(at));
        shared
            .chain(unused.map(|(at, used)| unused_one(mesh, links, *at, *used)))
            .chain(translated.map(|(at, used)| translated_one(mesh, *at, *used)))
            .collect()
    }

    fn shared(&self, mesh: &Mesh<'_>, endpoint: SocketAddr, nodes: &BTreeSet<usize>) -> Finding {
        let names = mesh.names(nodes.iter().copied());
        let really: Vec<String> = nodes
            .iter()
            .filter_map(|at| {
                Some(format!("; peers reach {} at {}", mesh.name(*at), self.unused.get(at)?))
            })
            .collect();
        Finding::new(
            Kind::EndpointShared,
            format!("nodes {names}"),
            format!("all of them are registered at {endpoint}{}", really.concat()),
            "correct the wrong one with `sextant node set-endpoint`; an endpoint in its agent.toml \
             takes that back",
        )
        .about(nodes.iter().map(|at| mesh.node(*at).id))
    }
}

/// Whether the registered endpoint is right although peers see another address of the machine: it
/// has several, and the kernel chooses which to send from.
fn is_its_own(mesh: &Mesh<'_>, at: usize, used: SocketAddr) -> bool {
    let node = mesh.node(at);
    let is_local =
        node.report.as_ref().is_some_and(|report| report.endpoint_is_local == Some(true));
    is_local && used.port() == node.endpoint.port() && is_private(used) == is_private(node.endpoint)
}

/// Whether others than its neighbours can send there.
fn is_private(endpoint: SocketAddr) -> bool {
    match endpoint.ip() {
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
    }
}

fn unused_one(mesh: &Mesh<'_>, links: &Links, at: usize, used: SocketAddr) -> Finding {
    let node = mesh.node(at);
    let registered = node.endpoint;
    let lost = mesh.names(links.lost_to(at));
    let lost = if lost.is_empty() { lost } else { format!(", and {lost} not at all") };
    Finding::of(
        node,
        Kind::EndpointUnused,
        format!(
            "it is registered at {registered}, where nobody reaches it; peers do at {used}{lost}"
        ),
        format!(
            "correct it with `sextant node set-endpoint {} {used}`; an endpoint in its agent.toml \
             takes that back",
            node.name
        ),
    )
}

fn translated_one(mesh: &Mesh<'_>, at: usize, used: SocketAddr) -> Finding {
    let (node, kind) = (mesh.node(at), Kind::EndpointBehindNat);
    let registered = node.endpoint;
    let what =
        format!("it is registered at {registered}, a private address; peers reach it at {used}");
    Finding::of(node, kind, what, kind.remedy())
}
