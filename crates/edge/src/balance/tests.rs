use super::*;

const EJECTION: Ejection =
    Ejection { after: 2, first: Duration::from_secs(1), longest: Duration::from_secs(3) };

fn backends(count: u16) -> Vec<Arc<Backend>> {
    (0..count).map(|port| Arc::new(Backend::new(([127, 0, 0, 1], port + 1).into()))).collect()
}

fn at(millis: u64) -> Moment {
    Moment::from_micros(1_000_000 + millis * 1000)
}

fn chosen(backends: &[Arc<Backend>], now: Moment) -> Option<usize> {
    choose(backends, &[], now, 0).map(|(index, _)| index)
}

/// Fails until it is ejected, as connections would that are made one after the other.
fn eject(backend: &Arc<Backend>, now: Moment) {
    while !backend.lease(false).failed(now, &EJECTION) {}
}

#[test]
fn connections_spread_evenly_and_ties_rotate() {
    let backends = backends(3);
    let leases: Vec<_> =
        (0..30).map(|_| choose(&backends, &[], at(0), 0).expect("backend")).collect();
    assert!(backends.iter().all(|backend| backend.connections() == 10));
    drop(leases);
    assert!(backends.iter().all(|backend| backend.connections() == 0));
    let firsts: Vec<_> =
        (0..6).map(|start| choose(&backends, &[], at(0), start).expect("backend").0).collect();
    assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn what_was_tried_is_not_chosen_again() {
    let backends = backends(2);
    assert_eq!(choose(&backends, &[0], at(0), 0).map(|(index, _)| index), Some(1));
    assert!(choose(&backends, &[1, 0], at(0), 0).is_none());
    assert!(choose(&[], &[], at(0), 0).is_none());
}

#[test]
fn failures_in_a_row_eject_and_a_success_between_them_does_not_count_them_together() {
    let backends = backends(2);
    assert!(!backends[0].lease(false).failed(at(0), &EJECTION));
    backends[0].lease(false).connected();
    assert!(!backends[0].lease(false).failed(at(0), &EJECTION));
    assert!(backends[0].lease(false).failed(at(0), &EJECTION));
    assert_eq!(backends[0].usability(at(1)), Usability::Ejected(at(1000)));
    assert_eq!(chosen(&backends, at(999)), Some(1));
}

#[test]
fn after_an_ejection_one_connection_tries() {
    let backends = backends(2);
    eject(&backends[0], at(0));
    let (index, trial) = choose(&backends, &[], at(1000), 0).expect("the trial");
    assert_eq!(index, 0);
    assert_eq!(chosen(&backends, at(1000)), Some(1), "only one tries");
    trial.connected();
    assert_eq!(backends[0].usability(at(1001)), Usability::Usable);
}

#[test]
fn ejections_in_a_row_last_longer_up_to_a_bound() {
    let backends = backends(1);
    eject(&backends[0], at(0));
    let mut now = 1000;
    for length in [2000, 3000, 3000] {
        let (_, trial) = choose(&backends, &[], at(now), 0).expect("the trial");
        assert!(trial.failed(at(now), &EJECTION));
        assert_eq!(backends[0].usability(at(now)), Usability::Ejected(at(now + length)));
        now += length;
    }
}

#[test]
fn a_trial_that_is_given_up_frees_the_next() {
    let backends = backends(2);
    eject(&backends[0], at(0));
    drop(choose(&backends, &[], at(1000), 0));
    assert_eq!(chosen(&backends, at(1001)), Some(1));
    assert_eq!(chosen(&backends, at(6000)), Some(0));
}

#[test]
fn ejection_never_takes_the_last_one_away() {
    let backends = backends(2);
    eject(&backends[0], at(0));
    eject(&backends[1], at(500));
    assert_eq!(chosen(&backends, at(600)), Some(0), "the one that returns first");
    backends[0].set_health(Health::Down);
    assert_eq!(chosen(&backends, at(600)), Some(1));
    backends[1].set_health(Health::Down);
    assert_eq!(chosen(&backends, at(600)), None, "an active check is believed");
    backends[1].set_health(Health::Up);
    assert_eq!(backends[1].usability(at(600)), Usability::Usable, "up again means usable again");
}

#[test]
fn late_failures_do_not_make_an_ejection_longer() {
    let backends = backends(1);
    let early: Vec<_> = (0..5).map(|_| backends[0].lease(false)).collect();
    eject(&backends[0], at(0));
    assert!(early.iter().all(|lease| !lease.failed(at(900), &EJECTION)));
    assert_eq!(backends[0].usability(at(901)), Usability::Ejected(at(1000)));
}
