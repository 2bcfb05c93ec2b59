use proptest::prelude::*;

use super::*;
use crate::{
    aggregate::node::tests::enrolled,
    membership::tests::{mesh, node_id},
};

fn desired(nodes: &BTreeSet<u16>) -> DesiredInterface {
    DesiredInterface {
        public_key: enrolled(0).public_key,
        listen_port: 51820,
        mtu: 1420,
        mesh: mesh(nodes.iter().copied().chain([0])).desired(node_id(0)).expect("member"),
    }
}

/// What a kernel does with a step; allowed IPs move to their newest owner, as in WireGuard.
fn execute(observed: &mut Option<ObservedInterface>, step: Step, key: PublicKey) {
    if step == Step::CreateLink {
        assert!(observed.is_none(), "created twice");
        *observed = Some(ObservedInterface {
            up: false,
            mtu: 1500,
            public_key: None,
            listen_port: None,
            addresses: BTreeSet::new(),
            routes: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            peers: BTreeMap::new(),
        });
        return;
    }
    let interface = observed.as_mut().expect("no interface yet");
    match step {
        Step::CreateLink => {}
        Step::SetDevice { listen_port } => {
            interface.public_key = Some(key);
            interface.listen_port = Some(listen_port);
        }
        Step::SetMtu(mtu) => interface.mtu = mtu,
        Step::AddAddress(address) => assert!(interface.addresses.insert(address)),
        Step::BringUp => interface.up = true,
        Step::RemovePeer(key) => assert!(interface.peers.remove(&key).is_some()),
        Step::SetPeer { public_key, endpoint, allowed_ips } => {
            for peer in interface.peers.values_mut() {
                peer.allowed_ips = peer.allowed_ips.difference(&allowed_ips).copied().collect();
            }
            let peer = interface.peers.entry(public_key).or_insert(ObservedPeer {
                endpoint: None,
                allowed_ips: BTreeSet::new(),
                handshake_age: None,
            });
            peer.endpoint = endpoint.or(peer.endpoint);
            peer.allowed_ips = allowed_ips;
        }
        Step::AddRoute(route) => {
            assert!(interface.up, "a route into an interface that is down");
            assert!(interface.routes.insert(route));
        }
        Step::RemoveRoute(route) => assert!(interface.routes.remove(&route)),
        Step::RemoveAddress(address) => assert!(interface.addresses.remove(&address)),
        Step::AddUnreachable(prefix) => assert!(interface.unreachable.insert(prefix)),
        Step::RemoveUnreachable(prefix) => assert!(interface.unreachable.remove(&prefix)),
    }
}

fn converge(observed: &mut Option<ObservedInterface>, desired: &DesiredInterface) -> Vec<Step> {
    let steps = plan(desired, observed.as_ref(), None);
    for step in steps.clone() {
        execute(observed, step, desired.public_key);
    }
    steps
}

#[test]
fn from_nothing_the_interface_is_built_in_an_order_the_kernel_accepts() {
    let mut observed = None;
    let steps = converge(&mut observed, &desired(&BTreeSet::from([1])));
    assert_eq!(steps[0], Step::CreateLink);
    let interface = observed.expect("built");
    assert!(interface.up);
    assert_eq!(interface.mtu, 1420);
    assert_eq!(interface.peers.len(), 1);
}

#[test]
fn a_join_is_one_step() {
    let mut observed = None;
    converge(&mut observed, &desired(&BTreeSet::from([1, 2])));
    let steps = converge(&mut observed, &desired(&BTreeSet::from([1, 2, 3])));
    assert!(matches!(steps.as_slice(), [Step::SetPeer { .. }]), "{steps:?}");
}

#[test]
fn a_workload_is_an_address_and_no_peer_is_touched() {
    let wanted = desired(&BTreeSet::from([1]));
    let mut observed = None;
    converge(&mut observed, &wanted);
    let address: Prefix = "fd00::99/128".parse().expect("prefix");
    let mut with = wanted.clone();
    with.mesh.addresses.insert(address);
    assert_eq!(converge(&mut observed, &with), [Step::AddAddress(address)]);
    assert_eq!(converge(&mut observed, &wanted), [Step::RemoveAddress(address)]);
}

#[test]
fn what_is_unreachable_is_kept_right_within_the_network_and_left_alone_elsewhere() {
    let wanted = desired(&BTreeSet::from([1]));
    let mut observed = None;
    converge(&mut observed, &wanted);
    let (stale, foreign): (Prefix, Prefix) =
        ("fd00:0:0:77::/64".parse().expect("prefix"), "fd99::/64".parse().expect("prefix"));
    observed.as_mut().expect("built").unreachable = BTreeSet::from([stale, foreign]);
    let own = *wanted.mesh.unreachable.first().expect("own prefix");
    assert_eq!(
        converge(&mut observed, &wanted),
        [Step::AddUnreachable(own), Step::RemoveUnreachable(stale)]
    );
}

#[test]
fn a_live_session_keeps_the_endpoint_it_roamed_to() {
    let wanted = desired(&BTreeSet::from([1]));
    let mut observed = None;
    converge(&mut observed, &wanted);
    let key = enrolled(1).public_key;
    let roamed = "[2001:db8::99]:9".parse().expect("endpoint");
    let mut set = |age: Option<u64>| {
        let peer = observed.as_mut().expect("built").peers.get_mut(&key).expect("peer");
        peer.endpoint = Some(roamed);
        peer.handshake_age = age.map(Duration::from_secs);
        plan(&wanted, observed.as_ref(), Some(&wanted.mesh))
    };
    assert_eq!(set(Some(10)), []);
    assert!(matches!(set(Some(181)).as_slice(), [Step::SetPeer { endpoint: Some(_), .. }]));
    assert!(matches!(set(None).as_slice(), [Step::SetPeer { endpoint: Some(_), .. }]));
}

#[test]
fn an_endpoint_changed_in_the_log_wins_over_a_live_session() {
    let before = desired(&BTreeSet::from([1]));
    let mut observed = None;
    converge(&mut observed, &before);
    let key = enrolled(1).public_key;
    let interface = observed.as_mut().expect("built");
    interface.peers.get_mut(&key).expect("peer").handshake_age = Some(Duration::from_secs(1));
    let mut after = before.clone();
    let moved: SocketAddr = "[2001:db8::77]:51820".parse().expect("endpoint");
    after.mesh.peers.get_mut(&key).expect("peer").endpoint = moved;
    let steps = plan(&after, observed.as_ref(), Some(&before.mesh));
    assert!(matches!(steps.as_slice(), [Step::SetPeer { endpoint: Some(to), .. }] if *to == moved));
}

proptest! {
    #[test]
    fn any_state_converges_in_one_round_and_members_of_both_are_never_cut(
        before in prop::collection::btree_set(1u16..30, 0..12),
        after in prop::collection::btree_set(1u16..30, 0..12),
    ) {
        let mut observed = None;
        converge(&mut observed, &desired(&before));
        let wanted = desired(&after);
        let steps = plan(&wanted, observed.as_ref(), None);
        for n in before.intersection(&after) {
            let key = enrolled(*n).public_key;
            for step in &steps {
                let touched = match step {
                    Step::RemovePeer(public_key) | Step::SetPeer { public_key, .. } => *public_key == key,
                    _ => false,
                };
                prop_assert!(!touched, "n{} is touched by {:?}", n, step);
            }
        }
        for step in steps {
            execute(&mut observed, step, wanted.public_key);
        }
        prop_assert_eq!(plan(&wanted, observed.as_ref(), None), vec![]);
        let peers = observed.expect("built").peers;
        prop_assert_eq!(peers.keys().collect::<Vec<_>>(), wanted.mesh.peers.keys().collect::<Vec<_>>());
    }
}
