//! Prefixes, addresses, names and keys that are held, against the nodes and networks there are.

use super::Comparison;
use crate::{error::Result, postgres::query};

/// What is compared; the query for what must be held; the query for what is.
const CLAIMS: [(&str, &str, &str); 5] = [
    (
        "pools and networks",
        "SELECT network_id, ipv6_prefix FROM networks",
        "SELECT pool_id, prefix FROM ipam_pools",
    ),
    (
        "prefixes in use and nodes that have not been released",
        "SELECT network_id, node_id, prefix FROM nodes WHERE phase <> 'released'",
        "SELECT pool_id, owner_id, block FROM ipam_blocks WHERE released_at IS NULL",
    ),
    (
        "addresses in use and nodes that have not been released",
        "SELECT node_id, host(ipv6_address), prefix FROM nodes WHERE phase <> 'released'",
        "SELECT owner_id, host(address), block FROM ipam_addresses WHERE released_at IS NULL",
    ),
    (
        "names, and networks and nodes that have one",
        "SELECT '00000000-0000-0000-0000-000000000000'::uuid, 'network', name, network_id
         FROM networks
         UNION ALL
         SELECT network_id, 'node', name, node_id FROM nodes WHERE phase <> 'released'",
        "SELECT scope, kind, name, owner_id FROM name_claims",
    ),
    (
        "keys and all nodes there ever were",
        "SELECT public_key, node_id FROM nodes",
        "SELECT public_key, owner_id FROM key_claims",
    ),
];

/// Compares every kind of claim.
pub(in super::super) fn compare(url: &str) -> Result<Vec<Comparison>> {
    CLAIMS
        .into_iter()
        .map(|(what, needed, held)| {
            Ok(Comparison::of_sets(what, query(url, needed)?, query(url, held)?))
        })
        .collect()
}
