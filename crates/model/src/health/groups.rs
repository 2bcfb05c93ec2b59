//! Many pairs with one cause: at one node, or between groups of nodes.

use std::collections::{BTreeMap, BTreeSet};

/// Pairs of a node's that are one finding about the node, even if it has more peers than that.
const MANY: usize = 3;

/// A pair, the lower index first.
pub(super) type Pair = (usize, usize);

/// Takes out of `pairs` those of nodes that have all of their `peers` or many among them; returns
/// each such node with its partners, the one with the most first.
pub(super) fn by_node(
    pairs: &mut BTreeSet<Pair>,
    peers: impl Fn(usize) -> usize,
) -> Vec<(usize, BTreeSet<usize>)> {
    let mut nodes = Vec::new();
    loop {
        let mut partners: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (one, other) in pairs.iter() {
            partners.entry(*one).or_default().insert(*other);
            partners.entry(*other).or_default().insert(*one);
        }
        let whole = |at: &usize, count: usize| count >= MANY || (count >= 2 && count == peers(*at));
        let most = partners
            .into_iter()
            .filter(|(at, partners)| whole(at, partners.len()))
            .max_by_key(|(at, partners)| (partners.len(), std::cmp::Reverse(*at)));
        let Some((at, partners)) = most else { return nodes };
        pairs.retain(|(one, other)| *one != at && *other != at);
        nodes.push((at, partners));
    }
}

/// The groups of two or more among `nodes` that no `link` leads out of, if there are several. A
/// node on its own is no group.
pub(super) fn islands(nodes: &BTreeSet<usize>, links: &BTreeSet<Pair>) -> Vec<BTreeSet<usize>> {
    let mut neighbours: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (one, other) in links {
        neighbours.entry(*one).or_default().push(*other);
        neighbours.entry(*other).or_default().push(*one);
    }
    let (mut rest, mut islands) = (nodes.clone(), Vec::new());
    while let Some(first) = rest.pop_first() {
        let (mut island, mut open) = (BTreeSet::from([first]), vec![first]);
        while let Some(at) = open.pop() {
            for next in neighbours.get(&at).into_iter().flatten() {
                if rest.remove(next) {
                    island.insert(*next);
                    open.push(*next);
                }
            }
        }
        islands.push(island);
    }
    islands.retain(|island| island.len() > 1);
    if islands.len() > 1 { islands } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_with_one_node_in_common_are_one_group() {
        let mut pairs = BTreeSet::from([(0, 1), (0, 2), (0, 3), (1, 2)]);
        let nodes = by_node(&mut pairs, |_| 3);
        assert_eq!(nodes, [(0, BTreeSet::from([1, 2, 3]))]);
        assert_eq!(pairs, BTreeSet::from([(1, 2)]));
        let mut two = BTreeSet::from([(0, 1), (0, 2)]);
        assert_eq!(by_node(&mut two, |_| 3), [], "it has another peer, which it reaches");
        assert_eq!(by_node(&mut two, |_| 2).len(), 1);
    }

    #[test]
    fn a_mesh_that_fell_apart_has_islands() {
        let nodes = BTreeSet::from([0, 1, 2, 3, 4]);
        let links = BTreeSet::from([(0, 1), (2, 3)]);
        assert_eq!(islands(&nodes, &links), [BTreeSet::from([0, 1]), BTreeSet::from([2, 3])]);
        assert_eq!(islands(&nodes, &BTreeSet::from([(0, 1), (1, 2)])).len(), 0);
    }
}
