use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TICK: Duration = Duration::from_millis(64);

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

fn fired(wheel: &mut Wheel, now: Moment) -> Vec<u32> {
    let mut indices = Vec::new();
    wheel.advance(now, &mut indices);
    indices.sort_unstable();
    indices
}

#[test]
fn a_deadline_fires_once_and_never_early() {
    let mut wheel = Wheel::new(TICK, at(1000));
    wheel.set(7, at(6000));
    assert!(fired(&mut wheel, at(5999)).is_empty());
    assert_eq!(fired(&mut wheel, at(6064)), [7]);
    assert!(fired(&mut wheel, at(100_000)).is_empty());
}

#[test]
fn a_deadline_that_was_cancelled_or_replaced_does_not_fire() {
    let mut wheel = Wheel::new(TICK, at(0));
    wheel.set(0, at(100));
    wheel.set(1, at(100));
    wheel.set(2, at(100));
    wheel.cancel(1);
    wheel.set(2, at(10_000_000));
    assert_eq!(fired(&mut wheel, at(1000)), [0]);
    assert_eq!(fired(&mut wheel, at(10_000_100)), [2]);
}

#[test]
fn waiting_ends_in_time_for_the_next_deadline() {
    let mut wheel = Wheel::new(TICK, at(0));
    let second = Duration::from_secs(1);
    assert_eq!(wheel.wait(at(0), second), second);
    wheel.set(0, at(200));
    assert_eq!(wheel.wait(at(10), second), Duration::from_millis(256 - 10));
    assert_eq!(wheel.wait(at(300), second), Duration::ZERO);
}

proptest! {
    #[test]
    fn it_fires_what_a_sorted_map_would(
        steps in prop::collection::vec((0_u32..20, 0_u64..200_000, 0_u64..3000, any::<bool>()), 1..200)
    ) {
        let mut wheel = Wheel::new(TICK, at(0));
        let mut model = BTreeMap::new();
        let mut now = 0;
        for (index, after, pass, cancel) in steps {
            if cancel {
                wheel.cancel(index);
                model.remove(&index);
            } else {
                wheel.set(index, at(now + after));
                model.insert(index, now + after);
            }
            now += pass;
            for index in fired(&mut wheel, at(now)) {
                let deadline = model.remove(&index);
                prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "{index} at {now}");
            }
            // What is left is not due by more than a tick.
            prop_assert!(model.values().all(|deadline| deadline + 64 >= now));
        }
    }
}
