use uuid::Uuid;

use super::*;

fn id(n: u128) -> NodeId {
    NodeId(Uuid::from_u128(n))
}

fn address(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, n, 0, 0, 0, 1)
}

fn answer(echo: &Echo) -> Vec<u8> {
    let mut message = echo.message.clone();
    message[0] = ECHO_REPLY;
    message
}

fn rtts(prober: &Prober) -> BTreeMap<NodeId, u32> {
    prober.measurements(Instant::now()).rtts
}

fn prober(now: Instant) -> Prober {
    let mut prober = Prober::new(7);
    prober.set_targets(&Targets::from([(id(1), address(1)), (id(2), address(2))]), now);
    prober
}

#[test]
fn new_peers_are_measured_at_once_and_one_echo_is_under_way_to_each() {
    let now = Instant::now();
    let mut prober = prober(now);
    assert_eq!(prober.due(now, || 5).len(), 2);
    assert_eq!(prober.due(now + DEADLINE, || 5), [], "both are outstanding");
    let three = [(id(1), address(1)), (id(2), address(2)), (id(3), address(3))];
    prober.set_targets(&Targets::from(three), now);
    let to: Vec<_> = prober.due(now, || 5).iter().map(|echo| echo.to).collect();
    assert_eq!(to, [address(3)]);
}

#[test]
fn a_reply_gives_the_round_trip_and_the_next_echo_comes_some_seconds_later() {
    let start = Instant::now();
    let mut prober = Prober::new(7);
    prober.set_targets(&Targets::from([(id(1), address(1))]), start);
    let mut now = start;
    let mut pauses = Vec::new();
    for millis in [70, 3, 4] {
        let echo = prober.due(now, || 5).remove(0);
        prober.receive(address(1).into(), &answer(&echo), now + Duration::from_millis(millis));
        assert_eq!(rtts(&prober)[&id(1)], u32::try_from(millis).expect("short") * 1000);
        let next = prober.wake_at().expect("due");
        pauses.push(next - now);
        now = next;
    }
    assert_eq!(
        pauses,
        [SECOND_LOOK, SHORTEST_INTERVAL, SHORTEST_INTERVAL],
        "the first one included a handshake"
    );
}

#[test]
fn a_lost_echo_takes_the_round_trip_away() {
    let now = Instant::now();
    let mut prober = prober(now);
    let echoes = prober.due(now, || 5);
    prober.receive(address(1).into(), &answer(&echoes[0]), now);
    prober.expire(now + DEADLINE);
    assert!(rtts(&prober).contains_key(&id(1)), "only the other one is lost");
    let later = prober.wake_at().expect("due");
    assert_eq!(prober.due(later, || 5)[0].to, address(1));
    prober.expire(later + DEADLINE);
    assert!(rtts(&prober).is_empty());
}

#[test]
fn only_the_reply_that_is_waited_for_counts() {
    let now = Instant::now();
    let mut prober = prober(now);
    let mut nonce = 40;
    let echoes = prober.due(now, || {
        nonce += 1;
        nonce
    });
    let good = answer(&echoes[0]);
    let changed = |at: usize| {
        let mut message = good.clone();
        message[at] ^= 1;
        message
    };
    prober.receive(address(2).into(), &good, now);
    for (what, message) in [
        ("type", changed(0)),
        ("code", changed(1)),
        ("sequence", changed(7)),
        ("nonce", changed(15)),
    ] {
        prober.receive(address(1).into(), &message, now);
        assert!(rtts(&prober).is_empty(), "{what}");
    }
    prober.receive(address(1).into(), &good[..15], now);
    prober.receive(address(1).into(), &echoes[0].message, now);
    assert!(rtts(&prober).is_empty());
    prober.expire(now + DEADLINE);
    prober.receive(address(1).into(), &good, now + DEADLINE);
    assert!(rtts(&prober).is_empty(), "late is lost");
}

#[test]
fn a_peer_that_is_lost_is_tried_again_soon_and_then_rarely() {
    let mut now = Instant::now();
    let mut prober = Prober::new(7);
    prober.set_targets(&Targets::from([(id(1), address(1))]), now);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        assert_eq!(prober.due(now, || 5).len(), 1);
        now = prober.wake_at().expect("outstanding");
        prober.expire(now);
        let next = prober.wake_at().expect("due");
        pauses.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [1, 2, 3, 3, 3, 3]);
    let found = prober.measurements(now);
    assert_eq!(found.lost[&id(1)], 6);
    assert!(found.is_news, "it was lost less than half a minute ago");
    assert!(!prober.measurements(now + FRESH).is_news);
}

#[test]
fn a_new_interface_measures_everybody_at_once() {
    let now = Instant::now();
    let mut prober = prober(now);
    let echoes = prober.due(now, || 5);
    prober.receive(address(1).into(), &answer(&echoes[0]), now);
    prober.hurry(now);
    assert_eq!(prober.due(now, || 6).len(), 2);
    prober.receive(address(2).into(), &answer(&echoes[1]), now);
    assert_eq!(rtts(&prober).len(), 1, "the echo through the old interface is forgotten");
}

#[test]
fn a_peer_that_is_gone_or_moved_is_forgotten() {
    let now = Instant::now();
    let mut prober = prober(now);
    let echoes = prober.due(now, || 5);
    prober.set_targets(&Targets::from([(id(1), address(9))]), now);
    for echo in &echoes {
        prober.receive(echo.to.into(), &answer(echo), now);
    }
    assert!(rtts(&prober).is_empty());
    assert_eq!(prober.due(now, || 5).len(), 1);
}

#[test]
fn a_loss_is_news_with_the_second_one_and_so_is_the_way_back() {
    let mut now = Instant::now();
    let mut prober = Prober::new(7);
    prober.set_targets(&Targets::from([(id(1), address(1))]), now);
    let mut dead = Vec::new();
    for _ in 0..3 {
        prober.due(now, || 5);
        now = prober.wake_at().expect("outstanding");
        prober.expire(now);
        dead.push(prober.measurements(now).verdict().0.len());
        now = prober.wake_at().expect("due");
    }
    assert_eq!(dead, [0, 1, 1]);
    let echo = prober.due(now, || 5)[0].clone();
    prober.receive(address(1).into(), &answer(&echo), now);
    let found = prober.measurements(now);
    assert_eq!((found.verdict().0.len(), found.lost.len(), found.is_news), (0, 0, false));
}

#[test]
fn echoes_stay_few_in_large_meshes() {
    let now = Instant::now();
    for (peers, seconds) in [(1, 3), (60, 3), (100, 5), (200, 10), (1000, 10)] {
        let mut prober = Prober::new(7);
        prober.set_targets(&(0..peers).map(|n| (id(n.into()), address(n))).collect(), now);
        assert_eq!(prober.interval(), Duration::from_secs(seconds), "{peers}");
    }
}

#[test]
fn a_long_echo_follows_the_short_ones_to_a_peer_that_answers() {
    let start = Instant::now();
    let mut prober = Prober::new(7);
    prober.set_targets(&Targets::from([(id(1), address(1))]), start);
    let first = prober.due(start, || 5);
    let later = start + SECOND_LOOK;
    assert_eq!(first.len(), 1);
    prober.receive(address(1).into(), &answer(&first[0]), start);
    let short = prober.due(later, || 6);
    assert_eq!(short.len(), 1, "the MTU is not known yet");
    prober.receive(address(1).into(), &answer(&short[0]), later);
    prober.set_mtu(1420, later);
    let long = prober.due(later + SECOND_LOOK, || 7);
    let lengths: Vec<usize> = long.iter().map(|echo| echo.message.len()).collect();
    assert_eq!(lengths, [1420 - IPV6_HEADER]);
    prober.receive(address(1).into(), &answer(&long[0]), later + SECOND_LOOK);
    assert!(prober.measurements(later).largest.is_empty());
}
