use proptest::prelude::*;

use super::*;

fn shares() -> Shares {
    Shares {
        strangers: Share { places: 12, of_group: 6, of_member: usize::MAX },
        loopback: 9,
        tenants: Share { places: 10, of_group: 8, of_member: 5 },
        operators: Share { places: 4, of_group: 4, of_member: usize::MAX },
        nodes: Share { places: 8, of_group: 3, of_member: usize::MAX },
    }
}

fn source(n: u64) -> Source {
    Source::V6(0x2001_0db8_0000_0000 + n)
}

fn tenant(org: u8, token: u8) -> Holder {
    let token = ApiTokenId(Uuid::from_u128(u128::from(org) << 8 | u128::from(token)));
    Holder::Tenant(OrgId(Uuid::from_u128(u128::from(org))), token)
}

fn node(n: u8) -> Holder {
    Holder::Node(NodeId(Uuid::from_u128(u128::from(n))))
}

fn operator(n: u8) -> Holder {
    Holder::Operator(ApiTokenId(Uuid::from_u128(u128::from(n))))
}

/// Enters and becomes `holder`.
fn place(places: &mut Places, holder: Holder) -> Result<ConnectionId, Full> {
    let (id, _) = places.enter(source(1000))?;
    match places.claim(id, holder) {
        Ok(_) => Ok(id),
        Err(full) => {
            places.leave(id);
            Err(full)
        }
    }
}

#[test]
fn a_source_that_has_all_its_places_gives_up_its_own_silent_one() {
    let mut places = Places::new(shares());
    let first: Vec<_> = (0..6).map(|_| places.enter(source(1)).expect("place").0).collect();
    let (seventh, gave_way) = places.enter(source(1)).expect("place");
    assert_eq!(gave_way, Some(first[0]));
    for id in first.into_iter().chain([seventh]) {
        places.set_busy(id, true);
    }
    assert_eq!(places.enter(source(1)), Err(Full::Group));
    assert!(places.enter(source(2)).is_ok(), "another source is not touched");
}

#[test]
fn in_a_full_room_the_source_with_most_gives_way_and_the_oldest_first() {
    let mut places = Places::new(shares());
    let large: Vec<_> = (0..6).map(|_| places.enter(source(1)).expect("place").0).collect();
    for n in 2..8 {
        places.enter(source(n)).expect("place");
    }
    assert_eq!(places.taken(Class::Strangers), 12);
    places.set_busy(large[0], true);
    let (_, gave_way) = places.enter(source(99)).expect("place");
    assert_eq!(gave_way, Some(large[1]), "the first is being answered");
    assert_eq!(places.taken(Class::Strangers), 12);
}

#[test]
fn strangers_who_have_one_each_give_way_by_age() {
    let mut places = Places::new(shares());
    let ids: Vec<_> = (0..12).map(|n| places.enter(source(n)).expect("place").0).collect();
    let (_, gave_way) = places.enter(source(99)).expect("place");
    assert_eq!(gave_way, Some(ids[0]));
}

#[test]
fn loopback_has_a_bound_of_its_own() {
    let mut places = Places::new(shares());
    for _ in 0..9 {
        assert_eq!(places.enter(Source::Loopback).expect("place").1, None);
    }
    assert!(places.enter(Source::Loopback).expect("place").1.is_some());
}

#[test]
fn tokens_orgs_and_nodes_have_bounds_and_an_org_gives_way_to_another_in_a_full_class() {
    let mut places = Places::new(shares());
    for _ in 0..5 {
        place(&mut places, tenant(1, 1)).expect("place");
    }
    assert_eq!(place(&mut places, tenant(1, 1)), Err(Full::Member));
    for _ in 0..3 {
        place(&mut places, tenant(1, 2)).expect("place");
    }
    assert_eq!(place(&mut places, tenant(1, 2)), Err(Full::Group));
    for token in 1..=5 {
        place(&mut places, tenant(2, token)).expect("an org with fewer gets its part");
    }
    assert_eq!(place(&mut places, tenant(2, 6)), Err(Full::Class), "both have as many");
    assert_eq!(places.taken(Class::Tenants), 10);
    for _ in 0..3 {
        place(&mut places, node(1)).expect("place");
    }
    assert_eq!(place(&mut places, node(1)), Err(Full::Group));
    place(&mut places, node(2)).expect("place");
    place(&mut places, operator(1)).expect("place");
}

#[test]
fn a_connection_never_gives_way_to_itself() {
    let mut places = Places::new(shares());
    for _ in 0..5 {
        place(&mut places, tenant(1, 1)).expect("place");
    }
    for _ in 0..3 {
        place(&mut places, tenant(1, 2)).expect("place");
    }
    for _ in 0..2 {
        place(&mut places, tenant(2, 1)).expect("place");
    }
    let last = *places.pots[&Class::Tenants].groups[&1].last().expect("one");
    assert_eq!(places.claim(last, tenant(2, 2)), Ok(None), "its old place is free for it");
    assert_eq!(places.taken(Class::Tenants), 10);
    places.leave(last);
    assert_eq!(places.taken(Class::Tenants), 9);
}

#[test]
fn shares_shrink_together_and_keep_a_place_each() {
    let small = shares().within(17);
    assert_eq!(
        (small.strangers.places, small.tenants.places, small.operators.places, small.nodes.places),
        (6, 5, 2, 4)
    );
    assert!(shares().within(0).operators.places == 1);
    assert_eq!(shares().within(1000), shares());
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u64),
    Claim(usize, Holder),
    Busy(usize, bool),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let holder = prop_oneof![
        (0u8..4, 0u8..3).prop_map(|(org, token)| tenant(org, token)),
        (0u8..3).prop_map(operator),
        (0u8..5).prop_map(node),
    ];
    let step = prop_oneof![
        4 => (0u64..5).prop_map(Step::Enter),
        4 => (any::<usize>(), holder).prop_map(|(at, holder)| Step::Claim(at, holder)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, busy)| Step::Busy(at, busy)),
        1 => any::<usize>().prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 0..200)
}

/// Does the steps; returns the connections that are still there.
fn run(places: &mut Places, steps: &[Step]) -> Vec<ConnectionId> {
    let mut live: Vec<ConnectionId> = Vec::new();
    for step in steps {
        let at = |at: usize, live: &[ConnectionId]| live.get(at % live.len().max(1)).copied();
        match *step {
            Step::Enter(from) => {
                if let Ok((id, gave_way)) = places.enter(source(from)) {
                    live.retain(|live| Some(*live) != gave_way);
                    live.push(id);
                }
            }
            Step::Claim(index, holder) => {
                if let Some(id) = at(index, &live)
                    && let Ok(gave_way) = places.claim(id, holder)
                {
                    live.retain(|live| Some(*live) != gave_way);
                }
            }
            Step::Busy(index, busy) => {
                if let Some(id) = at(index, &live) {
                    places.set_busy(id, busy);
                }
            }
            Step::Leave(index) => {
                if let Some(id) = at(index, &live) {
                    places.leave(id);
                    live.retain(|live| *live != id);
                }
            }
        }
    }
    live
}

proptest! {
    #[test]
    fn no_class_and_no_group_ever_has_more_than_its_share(steps in steps()) {
        let mut places = Places::new(shares());
        for end in 0..steps.len() {
            let _ = run(&mut places, &steps[end..=end]);
            for class in Class::ALL {
                let pot = &places.pots[&class];
                prop_assert!(pot.taken <= places.shares.of(class).places);
                prop_assert_eq!(pot.taken, pot.groups.values().map(BTreeSet::len).sum::<usize>());
                let most = places.shares.of(class).of_group;
                prop_assert!(pot.groups.values().all(|ids| ids.len() <= most));
                prop_assert!(pot.members.values().all(|n| *n <= places.shares.of(class).of_member));
            }
        }
    }

    #[test]
    fn what_strangers_and_tenants_do_takes_no_place_of_operators_and_nodes(steps in steps()) {
        let mut places = Places::new(shares());
        let theirs = |step: &&Step| match step {
            Step::Claim(_, holder) => holder.class() == Class::Tenants,
            Step::Busy(_, busy) => !busy,
            _ => true,
        };
        let steps: Vec<_> = steps.iter().filter(theirs).cloned().collect();
        run(&mut places, &steps);
        for n in 0..4 {
            prop_assert!(place(&mut places, operator(n)).is_ok());
        }
        for n in 0..8 {
            prop_assert!(place(&mut places, node(n)).is_ok());
        }
    }

    #[test]
    fn an_org_gets_a_place_whatever_another_holds_as_long_as_those_are_idle(tokens in 1u8..12) {
        let mut places = Places::new(shares());
        for token in 0..tokens {
            while place(&mut places, tenant(1, token)).is_ok() {
                if places.taken(Class::Tenants) >= 8 { break }
            }
        }
        for token in 0..5 {
            prop_assert!(place(&mut places, tenant(2, token)).is_ok());
        }
    }

    #[test]
    fn when_all_have_left_all_is_free(steps in steps()) {
        let mut places = Places::new(shares());
        for id in run(&mut places, &steps) {
            places.leave(id);
        }
        prop_assert!(places.entries.is_empty());
        for pot in places.pots.values() {
            prop_assert!(pot.taken == 0 && pot.groups.is_empty() && pot.members.is_empty());
        }
    }
}
