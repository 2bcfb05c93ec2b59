use super::*;
use tokio::net::TcpListener;

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
    let ms = Duration::from_millis;
    let settings = config::Health {
        interval: ms(10),
        timeout: ms(500),
        rise: 2,
        fall: 2,
        eject_after: 1,
        eject_for: ms(1),
        eject_at_most: ms(1),
    };
    let stop = CancellationToken::new();
    let watches = start(settings, stop.clone());
    let backend = Arc::new(Backend::new("[::1]:1".parse().expect("address")));
    let begin = Watch::Begin { target, backend: backend.clone() };
    watches.send(vec![begin]).expect("taken");
    becomes(&backend, Health::Up).await;
    drop(listener);
    becomes(&backend, Health::Down).await;
    let _listener = TcpListener::bind(target).await.expect("bound again");
    becomes(&backend, Health::Up).await;
    stop.cancel();
}
