//! Backends that fail, and routes that change under connections.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::edge::{
    Edge, PATIENCE, Setup, accept, backend, echo, eventually, hello, read_exactly, refused_address,
    routed,
};
use crate::{
    balance::{Backend, Ejection, Health, Usability},
    outcome::{Metric, Outcome},
    table::Route,
    timer::Moment,
    worker::{Drained, Listening, RouteRemoved, Settings, prepare_listener},
};

/// Connects and says what the backend calls itself.
fn name_of_backend(edge: &Edge, name: &str) -> String {
    let mut client = edge.connect();
    client.write_all(&hello(name)).expect("hello");
    let answer = read_exactly(&mut client, 3 + hello(name).len());
    String::from_utf8_lossy(&answer[..3]).into_owned()
}

#[test]
fn another_backend_is_tried_before_a_byte_is_sent() {
    let mut edge = Edge::start(Setup::default());
    edge.serve("foo.example", &[refused_address(), refused_address(), echo("foo")]);
    for _ in 0..10 {
        assert_eq!(name_of_backend(&edge, "foo.example"), "foo");
    }
    let record = edge.record(|record| record.attempts > 1);
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(record.bytes_up, hello("foo.example").len() as u64);
}

#[test]
fn raw_connections_try_another_backend_too() {
    let edge = Edge::start(Setup::default());
    edge.serve("", &[refused_address(), echo("raw")]);
    for _ in 0..4 {
        assert_eq!(read_exactly(&mut edge.connect(), 3), b"raw");
    }
}

#[test]
fn no_backend_is_said_to_the_client() {
    let mut edge = Edge::start(Setup::default());
    let route = edge.serve("foo.example", &[refused_address(), refused_address()]);
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    assert_eq!(read_exactly(&mut client, 7), [21, 3, 3, 0, 2, 2, 80]);
    let record = edge.record(|record| record.outcome == Outcome::ConnectRefused);
    assert_eq!(record.attempts, 2);
    for backend in &**route.backends() {
        backend.set_health(Health::Down);
    }
    edge.connect().write_all(&hello("foo.example")).expect("hello");
    assert_eq!(edge.record(|record| record.outcome == Outcome::NoBackend).attempts, 0);
    assert!(route.backends().iter().all(|backend| backend.connections() == 0));
}

/// An address where connections are neither taken nor refused: its queue is full.
fn unanswered() -> (SocketAddr, Vec<TcpStream>, OwnedFd) {
    let (listener, address) = backend();
    let listener = OwnedFd::from(listener);
    rustix::net::listen(&listener, 0).expect("shorter queue");
    let mut streams = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        streams.push(stream);
    }
    (address, streams, listener)
}

#[test]
fn a_backend_that_does_not_answer_costs_one_timeout() {
    let connect_timeout = Duration::from_millis(500);
    let settings = Settings { connect_timeout, ..Settings::default() };
    let mut edge = Edge::start(Setup { settings, workers: 1, ..Setup::default() });
    let (silent, _streams, _listener) = unanswered();
    let good = echo("foo");
    let route = edge.serve("foo.example", &[silent, good]);
    for _ in 0..2 {
        let begin = Instant::now();
        assert_eq!(name_of_backend(&edge, "foo.example"), "foo");
        assert!(begin.elapsed() < PATIENCE / 2);
    }
    let record = edge.record(|record| record.attempts == 2);
    assert_eq!((record.outcome, record.backend), (Outcome::Completed, Some(good)));
    assert!(record.duration >= connect_timeout);
    eventually("no connection is counted", || {
        route.backends().iter().all(|backend| backend.connections() == 0)
    });
    edge.serve("foo.example", &[silent]);
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    assert_eq!(read_exactly(&mut client, 7)[6], 80);
    edge.record(|record| record.outcome == Outcome::ConnectTimeout);
}

#[test]
fn a_backend_that_fails_is_left_alone_and_comes_back() {
    let ejection =
        Ejection { after: 2, first: Duration::from_millis(500), longest: Duration::from_secs(1) };
    let settings = Settings { ejection, ..Settings::default() };
    let edge = Edge::start(Setup { settings, ..Setup::default() });
    let dead = refused_address();
    let route = edge.serve("foo.example", &[dead, echo("foo")]);
    let ejected = || {
        let usability = route.backends()[0].usability(Moment::now());
        matches!(usability, Usability::Ejected(until) if until > Moment::now())
    };
    while !ejected() {
        assert_eq!(name_of_backend(&edge, "foo.example"), "foo");
    }
    let connects = || edge.workers.counters().map(|c| c.connects.get()).sum::<u64>();
    let before = connects();
    assert_eq!(name_of_backend(&edge, "foo.example"), "foo");
    assert_eq!(connects(), before + 1, "it was not tried");
    let listener = TcpListener::bind(dead).expect("the same address");
    eventually("its return", || {
        drop(edge.connect().write_all(&hello("foo.example")));
        thread::sleep(Duration::from_millis(20));
        route.backends()[0].usability(Moment::now()) == Usability::Usable
    });
    drop(listener);
}

#[test]
fn connections_are_spread_and_counted() {
    let edge = Edge::start(Setup::default());
    let (first, second) = (echo("one"), echo("two"));
    let route = edge.serve("foo.example", &[first, second]);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = edge.connect();
            client.write_all(&hello("foo.example")).expect("hello");
            read_exactly(&mut client, 3);
            client
        })
        .collect();
    for backend in &**route.backends() {
        assert_eq!(backend.connections(), 10);
    }
    assert_eq!(route.connections(), 20);
    drop(clients);
    eventually("the end of all", || route.connections() == 0 && edge.workers.connections() == 0);
}

#[test]
fn changes_touch_no_established_connection() {
    let edge = Edge::start(Setup::default());
    edge.serve("foo.example", &[echo("old")]);
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    assert_eq!(read_exactly(&mut client, 3), b"old");
    read_exactly(&mut client, hello("foo.example").len());
    let stop = AtomicBool::new(false);
    let new = echo("new");
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                edge.serve("foo.example", &[new]);
                thread::yield_now();
            }
        });
        let begin = Instant::now();
        let mut rounds = 0_u32;
        while begin.elapsed() < Duration::from_secs(1) || rounds < 50 {
            client.write_all(&rounds.to_be_bytes()).expect("ping");
            assert_eq!(read_exactly(&mut client, 4), rounds.to_be_bytes());
            let name = name_of_backend(&edge, "foo.example");
            assert!(name == "new" || rounds == 0, "{name} in round {rounds}");
            rounds += 1;
        }
        stop.store(true, Relaxed);
    });
}

#[test]
fn a_route_to_the_edge_itself_is_cut_and_disturbs_no_other() {
    let mut edge = Edge::start(Setup::default());
    let itself = routed(edge.route("loop.example", &[edge.address]));
    let other = routed(edge.route("foo.example", &[edge.address, echo("foo")]));
    edge.publish(&[itself, other]);
    for _ in 0..20 {
        let mut client = edge.connect();
        client.write_all(&hello("loop.example")).expect("hello");
        assert_eq!(read_exactly(&mut client, 7)[6], 80);
        assert_eq!(name_of_backend(&edge, "foo.example"), "foo");
    }
    let record = edge.record(|record| record.outcome == Outcome::Loop);
    assert_eq!(record.backend, Some(edge.address));
    eventually("all are counted", || edge.ended(Metric::Loop) == 20);
    let accepted: u64 = edge.workers.counters().map(|c| c.accepted.get()).sum();
    assert_eq!(accepted, 40, "none came back");
}

/// A connection to a backend that its route loses then, under this policy.
fn lost_backend(policy: RouteRemoved) -> (Edge, Arc<Route>, TcpStream) {
    let settings = Settings { route_removed: policy, ..Settings::default() };
    let edge = Edge::start(Setup { settings, ..Setup::default() });
    let (old, new) = (echo("old"), echo("new"));
    let route = edge.serve("foo.example", &[old]);
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    read_exactly(&mut client, 3 + hello("foo.example").len());
    let backends = [Arc::new(Backend::new(new))].into();
    let changed = Arc::new(route.changed(edge.route("foo.example", &[new]), backends));
    edge.publish(&[Arc::clone(&changed)]);
    edge.workers.routes_removed();
    assert_eq!(name_of_backend(&edge, "foo.example"), "new");
    (edge, route, client)
}

#[test]
fn connections_of_a_backend_that_left_its_route_are_cut_if_so_wanted() {
    let (mut edge, _, mut client) = lost_backend(RouteRemoved::Cut);
    let error = client.read(&mut [0; 1]).expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    edge.record(|record| record.outcome == Outcome::BackendRemoved);
}

#[test]
fn connections_of_a_backend_that_comes_back_in_time_go_on() {
    let time = Duration::from_millis(1500);
    let (edge, route, mut client) = lost_backend(RouteRemoved::DrainFor(time));
    let served = route.served().clone();
    edge.publish(&[Arc::new(route.changed(served, Arc::clone(route.backends())))]);
    thread::sleep(time * 2);
    client.write_all(b"still here").expect("ping");
    assert_eq!(read_exactly(&mut client, 10), b"still here");
}

#[test]
fn connections_of_a_backend_that_left_its_route_are_kept_if_so_wanted() {
    let (_edge, _, mut client) = lost_backend(RouteRemoved::Keep);
    client.write_all(b"still here").expect("ping");
    assert_eq!(read_exactly(&mut client, 10), b"still here");
}

/// A connection through foo.example of an edge with this policy, whose route is removed then.
fn removed(policy: RouteRemoved) -> (Edge, TcpStream) {
    let settings = Settings { route_removed: policy, ..Settings::default() };
    let edge = Edge::start(Setup { settings, ..Setup::default() });
    let route = edge.serve("foo.example", &[echo("foo")]);
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    read_exactly(&mut client, 3 + hello("foo.example").len());
    // A change first: what was routed before it belongs to the same route.
    let changed = Arc::new(route.changed(route.served().clone(), Arc::clone(route.backends())));
    edge.publish(&[Arc::clone(&changed)]);
    edge.publish(&[]);
    changed.mark_removed();
    edge.workers.routes_removed();
    (edge, client)
}

#[test]
fn connections_of_a_removed_route_are_cut_if_so_wanted() {
    let (mut edge, mut client) = removed(RouteRemoved::Cut);
    let error = client.read(&mut [0; 1]).expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    edge.record(|record| record.outcome == Outcome::RouteRemoved);
}

#[test]
fn connections_of_a_removed_route_have_their_time_if_so_wanted() {
    let time = Duration::from_millis(2500);
    let begin = Instant::now();
    let (mut edge, mut client) = removed(RouteRemoved::DrainFor(time));
    let error = loop {
        if let Err(error) = client.write_all(b"x").and_then(|()| client.read(&mut [0; 1])) {
            break error;
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert!(begin.elapsed() >= time, "{:?}: {error}", begin.elapsed());
    assert!(begin.elapsed() < time * 3, "{:?}", begin.elapsed());
    edge.record(|record| record.outcome == Outcome::RouteRemoved);
}

#[test]
fn connections_of_a_removed_route_are_kept_if_so_wanted() {
    let (edge, mut client) = removed(RouteRemoved::Keep);
    let mut late = edge.connect();
    assert!(late.read(&mut [0; 1]).is_err(), "nothing listens any more");
    client.write_all(b"still here").expect("ping");
    assert_eq!(read_exactly(&mut client, 10), b"still here");
}

#[test]
fn draining_waits_for_connections_and_loses_none_that_waits_to_be_accepted() {
    let edge = Edge::start(Setup::default());
    edge.serve("", &[echo("old")]);
    let mut client = edge.connect();
    assert_eq!(read_exactly(&mut client, 3), b"old");
    thread::scope(|scope| {
        let draining = scope.spawn(|| edge.workers.drain(PATIENCE));
        let socket = Arc::clone(&edge.socket);
        let address = edge.address;
        // Whoever comes now waits in the socket for the next process.
        let next = Edge::start(Setup::default());
        let mut served = edge.route("", &[echo("new")]);
        served.listen = address;
        next.publish(&[routed(served)]);
        let mut late;
        loop {
            late = edge.connect();
            late.set_read_timeout(Some(Duration::from_millis(200))).expect("timeout");
            // Until the workers have heard of it, they accept.
            if late.read_exact(&mut [0; 3]).is_err() {
                break;
            }
        }
        late.set_read_timeout(Some(PATIENCE)).expect("timeout");
        client.write_all(b"still here").expect("ping");
        assert_eq!(read_exactly(&mut client, 10), b"still here");
        let proxy_header_from = Arc::from([]);
        next.workers.set_listeners(vec![Listening { socket, address, proxy_header_from }]);
        assert_eq!(read_exactly(&mut late, 3), b"new");
        drop(client);
        assert_eq!(draining.join().expect("drained"), Drained { cut: 0 });
    });
}

#[test]
fn draining_cuts_what_is_left_at_the_deadline() {
    let mut edge = Edge::start(Setup::default());
    edge.serve("", &[echo("raw")]);
    let mut clients: Vec<_> = (0..5).map(|_| edge.connect()).collect();
    for client in &mut clients {
        read_exactly(client, 3);
    }
    let begin = Instant::now();
    assert_eq!(edge.workers.drain(Duration::from_millis(300)), Drained { cut: 5 });
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert!(clients[0].read(&mut [0; 1]).is_err());
    assert_eq!(edge.ended(Metric::Shutdown), 5);
    edge.record(|record| record.outcome == Outcome::Shutdown);
}

#[test]
fn listeners_come_and_go_while_others_serve() {
    let edge = Edge::start(Setup::default());
    let listener = TcpListener::bind("[::1]:0").expect("second");
    let address = listener.local_addr().expect("address");
    let second = Arc::new(OwnedFd::from(listener));
    prepare_listener(&second, &Settings::default()).expect("options");
    let mut served = edge.route("", &[echo("two")]);
    (served.listen, served.key.0) = (address, "second".into());
    edge.publish(&[routed(edge.route("", &[echo("one")])), routed(served)]);
    let listening = |socket: &Arc<OwnedFd>, address| Listening {
        socket: Arc::clone(socket),
        address,
        proxy_header_from: Arc::from([]),
    };
    let first = listening(&edge.socket, edge.address);
    edge.workers.set_listeners(vec![first.clone(), listening(&second, address)]);
    let mut client = TcpStream::connect(address).expect("second");
    assert_eq!(read_exactly(&mut client, 3), b"two");
    edge.workers.set_listeners(vec![first]);
    client.write_all(b"x").expect("established");
    assert_eq!(read_exactly(&mut client, 1), b"x");
    eventually("the workers' letting go", || Arc::strong_count(&second) == 1);
    assert_eq!(read_exactly(&mut edge.connect(), 3), b"one");
}

#[test]
fn workers_are_seen_alive() {
    let edge = Edge::start(Setup::default());
    let before = Moment::now();
    eventually("a heartbeat of each", || edge.workers.heartbeat() > before);
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("descriptors").count()
}

#[test]
fn nothing_is_left_open() {
    let (listener, address) = backend();
    let server = thread::spawn(move || {
        for _ in 0..60 {
            let mut stream = accept(&listener);
            // Closing with something unread would be a reset.
            read_exactly(&mut stream, hello("foo.example").len());
            let _ = stream.write_all(&vec![1; 200_000]);
        }
    });
    let before = open_descriptors();
    let edge = Edge::start(Setup::default());
    edge.serve("foo.example", &[refused_address(), address]);
    for round in 0..60 {
        let mut client = edge.connect();
        client.write_all(&hello("foo.example")).expect("hello");
        if round % 3 > 0 {
            read_exactly(&mut client, 100_000);
        }
        if round % 3 > 1 {
            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("reset");
        }
    }
    server.join().expect("server");
    eventually("the end of all", || edge.workers.connections() == 0);
    drop(edge);
    eventually("no descriptor left", || open_descriptors() <= before);
}
