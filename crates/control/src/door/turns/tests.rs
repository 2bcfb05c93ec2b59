use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules { at_once: 4, of_group: 2, of_member: 1, queue_of_group: 3, queue: 8 };

fn who(group: u128, member: u128) -> Who {
    Who { group, member: group << 8 | member }
}

#[test]
fn a_group_and_a_member_have_their_bound_and_leave_the_rest_to_others() {
    let mut turns = Turns::new(RULES);
    assert_eq!(turns.ask(who(1, 1)), Asked::Go);
    assert!(matches!(turns.ask(who(1, 1)), Asked::Wait(_)), "one of a member");
    assert_eq!(turns.ask(who(1, 2)), Asked::Go);
    assert!(matches!(turns.ask(who(1, 3)), Asked::Wait(_)), "two of a group");
    assert_eq!(turns.ask(who(2, 1)), Asked::Go);
    assert_eq!(turns.ask(who(3, 1)), Asked::Go);
    assert!(matches!(turns.ask(who(4, 1)), Asked::Wait(_)), "four in all");
}

#[test]
fn groups_that_wait_get_turns_one_after_the_other() {
    let rules = Rules { at_once: 1, of_member: 9, of_group: 9, queue_of_group: 9, queue: 99 };
    let mut turns = Turns::new(rules);
    assert_eq!(turns.ask(who(9, 0)), Asked::Go);
    let mut tickets = BTreeMap::new();
    for (group, count) in [(1, 3), (2, 1), (3, 2)] {
        for member in 0..count {
            let Asked::Wait(ticket) = turns.ask(who(group, member)) else { panic!("it waits") };
            tickets.insert(ticket, who(group, member));
        }
    }
    let (mut order, mut working) = (Vec::new(), who(9, 0));
    while let [ticket] = turns.done(working)[..] {
        working = tickets[&ticket];
        order.push(working.group);
    }
    assert_eq!(order, [1, 2, 3, 1, 3, 1]);
    assert_eq!(turns.counts(), (0, 0));
    assert!(turns.groups.is_empty() && turns.members.is_empty() && turns.round.is_empty());
}

#[test]
fn a_queue_has_a_bound_for_each_group_and_in_all() {
    let mut turns = Turns::new(RULES);
    turns.ask(who(1, 1));
    for _ in 0..3 {
        assert!(matches!(turns.ask(who(1, 1)), Asked::Wait(_)));
    }
    assert_eq!(turns.ask(who(1, 1)), Asked::GroupFull);
    for group in 2..=3 {
        turns.ask(who(group, 1));
        for _ in 0..3 {
            turns.ask(who(group, 1));
        }
    }
    assert_eq!(turns.counts().1, 8);
    assert_eq!(turns.ask(who(3, 1)), Asked::Full);
}

#[test]
fn who_stops_waiting_leaves_nothing_behind() {
    let mut turns = Turns::new(RULES);
    turns.ask(who(1, 1));
    let Asked::Wait(ticket) = turns.ask(who(1, 1)) else { panic!("it waits") };
    turns.forget(ticket, who(1, 1));
    assert!(turns.done(who(1, 1)).is_empty());
    assert!(turns.groups.is_empty() && turns.round.is_empty());
}

proptest! {
    /// Asks, ends and gives up in any order.
    #[test]
    fn bounds_hold_nobody_waits_who_could_work_and_all_get_their_turn(
        steps in prop::collection::vec((0u8..8, 0u128..5, 0u128..3, any::<usize>()), 0..200)
    ) {
        let mut turns = Turns::new(RULES);
        let (mut working, mut waiting) = (Vec::new(), BTreeMap::new());
        for (what, group, member, at) in steps {
            match what {
                0..5 => match turns.ask(who(group, member)) {
                    Asked::Go => working.push(who(group, member)),
                    Asked::Wait(ticket) => { waiting.insert(ticket, who(group, member)); }
                    Asked::GroupFull | Asked::Full => {}
                },
                5..7 if !working.is_empty() => {
                    let ended = working.swap_remove(at % working.len());
                    for ticket in turns.done(ended) {
                        working.push(waiting.remove(&ticket).expect("it waited"));
                    }
                }
                _ => if let Some(ticket) = waiting.keys().nth(at % waiting.len().max(1)).copied() {
                    let gone = waiting.remove(&ticket).expect("it waits");
                    turns.forget(ticket, gone);
                }
            }
            prop_assert_eq!(turns.counts(), (working.len(), waiting.len()));
            prop_assert!(working.len() <= RULES.at_once);
            for one in &working {
                let of_group = working.iter().filter(|other| other.group == one.group).count();
                let of_member = working.iter().filter(|other| other.member == one.member).count();
                prop_assert!(of_group <= RULES.of_group && of_member <= RULES.of_member);
            }
            prop_assert!(waiting.values().all(|one| !turns.may_work(*one)));
        }
        while let Some(ended) = working.pop() {
            for ticket in turns.done(ended) {
                working.push(waiting.remove(&ticket).expect("it waited"));
            }
        }
        prop_assert!(waiting.is_empty(), "all had their turn");
        prop_assert!(turns.groups.is_empty() && turns.members.is_empty());
    }
}
