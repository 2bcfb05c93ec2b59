//! Limits of the edge, and of the system.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    process::Command,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::edge::{Edge, Setup, echo, eventually, hello, read_exactly, routed};
use crate::{
    limits::{Limit, LimitSettings},
    outcome::{Metric, Outcome},
    worker::Settings,
};

fn limited(limits: LimitSettings) -> Edge {
    let edge = Edge::start(Setup { limits, ..Setup::default() });
    edge.serve("foo.example", &[echo("foo")]);
    edge
}

fn expect_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 1]).expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// A client that is being served.
fn served(edge: &Edge) -> TcpStream {
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    assert_eq!(read_exactly(&mut client, 3), b"foo");
    client
}

#[test]
fn connections_of_one_source_are_limited() {
    let edge = limited(LimitSettings { source_connections: 3, ..LimitSettings::default() });
    let clients: Vec<_> = (0..3).map(|_| served(&edge)).collect();
    expect_reset(&mut edge.connect());
    assert_eq!(edge.ended(Metric::OverSourceConnections), 1);
    drop(clients);
    eventually("room", || edge.limits.connections() == 0);
    served(&edge);
}

#[test]
fn connections_that_say_nothing_do_not_keep_others_out() {
    let edge = limited(LimitSettings { source_prereads: 2, ..LimitSettings::default() });
    // Connections that are routed do not count.
    let _clients: Vec<_> = (0..5).map(|_| served(&edge)).collect();
    let silent: Vec<_> = (0..2).map(|_| edge.connect()).collect();
    eventually("two that wait", || edge.limits.prereads() == 2);
    expect_reset(&mut edge.connect());
    assert_eq!(edge.ended(Metric::OverSourcePrereads), 1);
    drop(silent);
    eventually("room", || edge.limits.prereads() == 0);
    served(&edge);
}

#[test]
fn all_connections_together_are_limited() {
    let edge = limited(LimitSettings { connections: 2, ..LimitSettings::default() });
    let _clients: Vec<_> = (0..2).map(|_| served(&edge)).collect();
    expect_reset(&mut edge.connect());
    assert_eq!(edge.ended(Metric::OverConnections), 1);
}

#[test]
fn connections_of_a_route_are_limited() {
    let mut edge = Edge::start(Setup::default());
    let mut route = edge.route("foo.example", &[echo("foo")]);
    route.max_connections = Some(1);
    let other = routed(edge.route("bar.example", &[echo("bar")]));
    edge.publish(&[routed(route), other]);
    let client = served(&edge);
    let mut second = edge.connect();
    second.write_all(&hello("foo.example")).expect("hello");
    expect_reset(&mut second);
    edge.record(|record| record.outcome == Outcome::OverLimit(Limit::RouteConnections));
    let mut other = edge.connect();
    other.write_all(&hello("bar.example")).expect("hello");
    assert_eq!(read_exactly(&mut other, 3), b"bar");
    drop(client);
    eventually("room", || edge.workers.connections() == 1);
    served(&edge);
}

#[test]
fn connections_wait_before_the_descriptors_for_their_backends_are_short() {
    let free = std::fs::File::open("/dev/null").expect("a descriptor").as_raw_fd();
    let descriptors = usize::try_from(free).expect("a number") + 214;
    let settings = Settings { descriptors, ..Settings::default() };
    let edge = Edge::start(Setup { settings, ..Setup::default() });
    edge.serve("foo.example", &[echo("foo")]);
    // Each takes a descriptor here, and two of the edge and one of the backend when it is served.
    let mut silent: Vec<_> = (0..60).map(|_| edge.connect()).collect();
    let pauses = || edge.workers.counters().map(|c| c.accept_pauses.get()).sum::<u64>();
    // One after the other, and longer and longer: nobody is let in little by little.
    eventually("pauses", || pauses() >= 8);
    assert!(edge.limits.prereads() < 40, "{}", edge.limits.prereads());
    for mut client in silent.drain(..) {
        client.write_all(&hello("foo.example")).expect("hello");
        assert_eq!(read_exactly(&mut client, 3), b"foo");
    }
    assert_eq!(edge.ended(Metric::OutOfResources), 0);
}

#[test]
fn workers_of_a_quiet_edge_share_the_connections() {
    let edge = limited(LimitSettings::default());
    let _clients: Vec<_> = (0..128).map(|_| served(&edge)).collect();
    let accepted: Vec<_> = edge.workers.counters().map(|c| c.accepted.get()).collect();
    assert!(accepted.iter().all(|count| *count >= 32), "{accepted:?}");
}

const CHILD: &str = "worker::tests::limits::child_without_descriptors";

/// In a process of its own: what it runs out of, all its threads run out of.
#[test]
fn connections_wait_while_descriptors_are_short() {
    let program = std::env::current_exe().expect("this program");
    let status = Command::new(program).args(["--exact", CHILD, "--ignored"]).status();
    assert!(status.expect("child").success());
}

#[test]
#[ignore = "takes descriptors away from its process; run by the test above"]
fn child_without_descriptors() {
    let edge = limited(LimitSettings::default());
    // The sockets of these clients are in this process too.
    let mut clients: Vec<_> = (0..20).map(|_| served(&edge)).collect();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            rustix::net::socket(
                rustix::net::AddressFamily::INET6,
                rustix::net::SocketType::STREAM,
                None,
            )
            .expect("socket")
        })
        .collect();
    let limit = getrlimit(Resource::Nofile);
    // The lowest number that is free, and with this limit out of reach.
    let free = std::fs::File::open("/dev/null").expect("a descriptor").as_raw_fd();
    let scarce = Rlimit { current: u64::try_from(free).ok(), ..limit };
    setrlimit(Resource::Nofile, scarce).expect("fewer descriptors");
    for socket in &waiting {
        rustix::net::connect(socket, &edge.address).expect("the kernel accepts it");
    }
    let pauses = || edge.workers.counters().map(|c| c.accept_pauses.get()).sum::<u64>();
    eventually("pauses", || pauses() >= 4);
    let begin = pauses();
    std::thread::sleep(Duration::from_millis(500));
    assert!(pauses() - begin < 100, "{} pauses in half a second", pauses() - begin);
    // Established connections go on.
    for client in &mut clients {
        client.write_all(b"ping").expect("ping");
        let skipped = hello("foo.example").len();
        assert_eq!(read_exactly(client, skipped + 4)[skipped..], *b"ping");
    }
    setrlimit(Resource::Nofile, limit).expect("enough descriptors");
    for socket in waiting {
        let mut client = TcpStream::from(socket);
        client.write_all(&hello("foo.example")).expect("hello");
        assert_eq!(read_exactly(&mut client, 3), b"foo");
    }
}
