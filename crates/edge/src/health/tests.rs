use sextant_model::routing::{Matching, RouteKey};
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::*;

#[test]
fn a_backend_falls_and_rises_after_enough_checks_in_a_row() {
    let mut standing = Standing::default();
    let rules = (2, 3);
    let outcomes = [
        (false, None),
        (false, None),
        (true, Some(Health::Up)),
        (true, None),
        (false, None),
        (false, None),
        (false, Some(Health::Down)),
        (false, None),
        (true, None),
        (false, None),
        (true, None),
        (true, Some(Health::Up)),
    ];
    for (index, (success, expected)) in outcomes.into_iter().enumerate() {
        assert_eq!(standing.take(success, rules), expected, "check {index}");
    }
}

#[test]
fn each_key_is_due_once() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    schedule.put(1, now + Duration::from_secs(60));
    schedule.put(1, now);
    schedule.put(2, now);
    schedule.remove(&2);
    assert_eq!(schedule.next(), Some(now));
    assert_eq!(schedule.take_due(now), Some(1));
    assert_eq!(schedule.take_due(now), None);
}

fn settings() -> config::Health {
    let ms = Duration::from_millis;
    config::Health {
        interval: ms(10),
        timeout: ms(500),
        rise: 2,
        fall: 2,
        eject_after: 1,
        eject_for: ms(1),
        eject_at_most: ms(1),
    }
}

#[test]
fn a_check_that_could_not_be_made_says_nothing_of_the_backend() {
    let mut checks = Checks::new(settings());
    let target = "[::1]:1".parse().expect("address");
    let backend = Arc::new(Backend::new(target));
    let check = Check { target, proxy_header: false };
    checks.take(Watch::Begin { check, backend: backend.clone(), owner: owner("a") });
    let key = (check, target);
    let finding = |errno: Errno| check.finding(&io::Error::from(errno));
    checks.judge(key, &Finding::Answers);
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
        checks.schedule.remove(&key);
        checks.judge(key, &finding(errno));
        assert_eq!(backend.health(), Health::Up, "{errno}");
        assert!(checks.schedule.next().is_some(), "it is checked again");
    }
    for errno in [Errno::CONNREFUSED, Errno::ADDRNOTAVAIL] {
        checks.judge(key, &finding(errno));
    }
    assert_eq!(backend.health(), Health::Down);
    let why = Finding::Fails("no local address or port towards [::1]:1".into());
    assert_eq!(finding(Errno::ADDRNOTAVAIL), why);
}

fn owner(name: &str) -> Owner {
    Owner::Route(RouteKey(name.into()))
}

#[test]
fn an_owner_who_takes_all_it_can_leaves_places_to_others() {
    let mut turns = Turns::new(8);
    for number in 0..100 {
        turns.wait("hog", number);
    }
    let mut begun = 0;
    while turns.begin().is_some() {
        begun += 1;
    }
    assert_eq!(begun, 4, "half of the places");
    turns.wait("other", 1);
    assert_eq!(turns.begin(), Some(("other", 1)), "before everything that waits");
    turns.wait("other", 2);
    assert_eq!(turns.begin(), Some(("other", 2)));
    assert_eq!(turns.begin(), None);
    turns.end(&"hog");
    turns.end(&"hog");
    turns.wait("other", 3);
    let next: Vec<_> = std::iter::from_fn(|| turns.begin()).map(|(owner, _)| owner).collect();
    assert_eq!(next, ["hog", "other"], "one after the other");
}

#[test]
fn nobody_who_waits_is_passed_over_for_ever() {
    let mut turns = Turns::new(2);
    for owner in ["a", "b", "c", "d"] {
        for number in 0..3 {
            turns.wait(owner, number);
        }
    }
    let mut order = Vec::new();
    while let Some((owner, _)) = turns.begin() {
        order.push(owner);
        turns.end(&owner);
    }
    assert_eq!(order.join(""), "abcdabcdabcd");
}

#[tokio::test]
async fn backends_that_do_not_answer_delay_no_check_of_another_owner() {
    let listener = TcpListener::bind("[::1]:0").await.expect("bound");
    let target = listener.local_addr().expect("address");
    let (silent, _queue, _silent_listener) = full_listener().await;
    let settings = config::Health { timeout: Duration::from_secs(60), ..settings() };
    let stop = CancellationToken::new();
    let watches = start(settings, stop.clone());
    let silent_ones = (1..=2 * CONCURRENT).map(|number| {
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(number).expect("port")));
        let check = Check { target: silent, proxy_header: false };
        Watch::Begin { check, backend: Arc::new(Backend::new(address)), owner: owner("silent") }
    });
    watches.send(silent_ones.collect()).expect("taken");
    let backend = Arc::new(Backend::new(target));
    let check = Check { target, proxy_header: false };
    let begin = Watch::Begin { check, backend: backend.clone(), owner: owner("good") };
    watches.send(vec![begin]).expect("taken");
    becomes(&backend, Health::Up).await;
    drop(listener);
    becomes(&backend, Health::Down).await;
    stop.cancel();
}

/// A listener that takes no further connection and refuses none: its queue is full.
async fn full_listener() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
    let socket = tokio::net::TcpSocket::new_v6().expect("socket");
    socket.bind("[::1]:0".parse().expect("address")).expect("bound");
    let listener = socket.listen(0).expect("listening");
    let address = listener.local_addr().expect("address");
    let mut streams = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(Ok(stream)) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        streams.push(stream);
    }
    (address, streams, listener)
}

#[test]
fn a_header_is_sent_only_to_the_port_that_expects_one() {
    let address = "[fd00::1]:8443".parse().expect("address");
    let check = |health_source, proxy_protocol| {
        let route = ServedRoute {
            environment_id: None,
            key: RouteKey("web".into()),
            listen: "[::]:443".parse().expect("address"),
            matching: Matching::Whole,
            backends: vec![address],
            proxy_protocol,
            health_source,
            max_connections: None,
        };
        Check::of(address, &route).map(|check| (check.target.port(), check.proxy_header))
    };
    for (port, proxy_protocol, expected) in [
        (None, false, (8443, false)),
        (None, true, (8443, true)),
        (Some(8443), true, (8443, true)),
        (Some(9000), true, (9000, false)),
    ] {
        assert_eq!(check(HealthSource::Tcp { port }, proxy_protocol), Some(expected));
    }
    assert_eq!(check(HealthSource::None, true), None);
}

#[tokio::test]
async fn a_backend_that_expects_a_header_gets_one_that_forwards_nobody() {
    let listener = TcpListener::bind("[::1]:0").await.expect("bound");
    let target = listener.local_addr().expect("address");
    let check = Check { target, proxy_header: true };
    let checking = tokio::spawn(check.make(Duration::from_secs(10)));
    let mut header = [0; 16];
    let (mut stream, _) = listener.accept().await.expect("accepted");
    stream.read_exact(&mut header).await.expect("header");
    assert_eq!(header, proxy_protocol::encode_local().as_bytes());
    assert_eq!(stream.read(&mut header).await.expect("no reset"), 0);
    drop(stream);
    assert_eq!(checking.await.expect("checked"), Finding::Answers);
}

async fn becomes(backend: &Backend, health: Health) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while backend.health() != health {
        assert!(Instant::now() < deadline, "{:?} instead of {health:?}", backend.health());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_backend_that_goes_away_and_comes_back_is_noticed() {
    let listener = TcpListener::bind("[::1]:0").await.expect("bound");
    let target = listener.local_addr().expect("address");
    let stop = CancellationToken::new();
    let watches = start(settings(), stop.clone());
    let backend = Arc::new(Backend::new("[::1]:1".parse().expect("address")));
    let check = Check { target, proxy_header: false };
    let begin = Watch::Begin { check, backend: backend.clone(), owner: owner("a") };
    watches.send(vec![begin]).expect("taken");
    becomes(&backend, Health::Up).await;
    drop(listener);
    becomes(&backend, Health::Down).await;
    let _listener = TcpListener::bind(target).await.expect("bound again");
    becomes(&backend, Health::Up).await;
    stop.cancel();
}
