//! Bytes: all of them, in order, in both directions, whatever the ends do.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use super::edge::{
    Edge, PATIENCE, Setup, accept, assert_same, backend, eventually, hello, random_bytes, read_all,
    read_exactly, write_in_chunks,
};
use crate::{
    outcome::{Metric, Outcome},
    worker::Settings,
};

/// An edge that copies everything.
fn copying() -> Setup {
    Setup { settings: Settings { pipes: 0, ..Settings::default() }, ..Setup::default() }
}

/// A client and the backend it was connected with, through a route for foo.example.
fn joined(edge: &Edge) -> (TcpStream, TcpStream, Vec<u8>) {
    let (listener, address) = backend();
    edge.serve("foo.example", &[address]);
    let mut client = edge.connect();
    let first = hello("foo.example");
    client.write_all(&first).expect("hello");
    let server = accept(&listener);
    (client, server, first)
}

fn both_ways(setup: Setup, seed: u64, length: usize) -> Edge {
    let edge = Edge::start(setup);
    let (mut client, mut server, first) = joined(&edge);
    let (up, down) = (random_bytes(seed, length), random_bytes(seed + 1, length));
    let write = |stream: &TcpStream, seed, bytes: &[u8]| {
        let mut writer = stream.try_clone().expect("clone");
        write_in_chunks(&mut writer, seed, bytes);
        writer.shutdown(Shutdown::Write).expect("end");
    };
    let (to_edge, from_server) = (client.try_clone(), server.try_clone());
    thread::scope(|scope| {
        scope.spawn(|| write(&to_edge.expect("clone"), seed, &up));
        scope.spawn(|| write(&from_server.expect("clone"), seed + 1, &down));
        let at_server = scope.spawn(|| read_all(&mut server));
        assert_same(&read_all(&mut client), &down);
        assert_same(&at_server.join().expect("server"), &[first, up.clone()].concat());
    });
    edge
}

#[test]
fn both_directions_arrive_whole_when_copied() {
    let mut edge = both_ways(copying(), 1, 20_000_000);
    let record = edge.only_record();
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(record.bytes_up, 20_000_000 + hello("foo.example").len() as u64);
    assert_eq!(record.bytes_down, 20_000_000);
    let spliced: u64 = edge.workers.counters().map(|counters| counters.bytes_spliced.get()).sum();
    assert_eq!(spliced, 0);
}

#[test]
fn both_directions_arrive_whole_through_pipes() {
    let mut edge = both_ways(Setup::default(), 3, 20_000_000);
    let record = edge.only_record();
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(record.bytes_down, 20_000_000);
    let spliced: u64 = edge.workers.counters().map(|counters| counters.bytes_spliced.get()).sum();
    assert!(spliced > 10_000_000, "{spliced} bytes went through pipes");
}

#[test]
fn a_client_that_ends_first_still_gets_everything() {
    let mut edge = Edge::start(Setup::default());
    let (mut client, mut server, first) = joined(&edge);
    client.write_all(b"request").expect("request");
    client.shutdown(Shutdown::Write).expect("end");
    assert_eq!(read_all(&mut server), [&first[..], b"request"].concat());
    let answer = random_bytes(5, 3_000_000);
    server.write_all(&answer).expect("answer");
    drop(server);
    assert_same(&read_all(&mut client), &answer);
    assert_eq!(edge.only_record().outcome, Outcome::Completed);
}

#[test]
fn a_backend_that_ends_first_still_gets_everything() {
    let mut edge = Edge::start(Setup::default());
    let (mut client, mut server, first) = joined(&edge);
    server.write_all(b"banner").expect("banner");
    server.shutdown(Shutdown::Write).expect("end");
    assert_eq!(read_all(&mut client), b"banner");
    let body = random_bytes(6, 3_000_000);
    client.write_all(&body).expect("body");
    client.shutdown(Shutdown::Write).expect("end");
    assert_same(&read_all(&mut server), &[first, body].concat());
    assert_eq!(edge.only_record().outcome, Outcome::Completed);
}

#[test]
fn a_hello_and_the_end_in_one_go_are_both_passed_on() {
    let mut edge = Edge::start(Setup::default());
    let (listener, address) = backend();
    edge.serve("foo.example", &[address]);
    for _ in 0..20 {
        let mut client = edge.connect();
        client.write_all(&hello("foo.example")).expect("hello");
        client.shutdown(Shutdown::Write).expect("end");
        let mut server = accept(&listener);
        assert_eq!(read_all(&mut server), hello("foo.example"));
        server.write_all(b"bye").expect("bye");
        drop(server);
        assert_eq!(read_all(&mut client), b"bye");
    }
    assert_eq!(edge.only_record().outcome, Outcome::Completed);
}

#[test]
fn data_that_comes_with_the_hello_is_passed_on() {
    let edge = Edge::start(Setup::default());
    let (listener, address) = backend();
    edge.serve("foo.example", &[address]);
    let mut client = edge.connect();
    let sent = [hello("foo.example"), random_bytes(9, 5_000_000)].concat();
    thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&sent).expect("all");
            client.shutdown(Shutdown::Write).expect("end");
        });
        assert_same(&read_all(&mut accept(&listener)), &sent);
    });
}

fn expect_reset(stream: &mut TcpStream) {
    let mut buffer = [0; 1000];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("a reset was passed on as an end"),
            Ok(_) => {}
            Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("linger");
}

#[test]
fn a_reset_of_the_backend_is_passed_on_after_what_it_said() {
    let mut edge = Edge::start(Setup::default());
    let (mut client, mut server, _) = joined(&edge);
    server.write_all(b"half an ans").expect("answer");
    assert_eq!(read_exactly(&mut client, 11), b"half an ans");
    reset(server);
    expect_reset(&mut client);
    assert_eq!(edge.only_record().outcome, Outcome::BackendReset);
}

#[test]
fn a_reset_behind_unread_data_is_no_end() {
    let mut edge = Edge::start(copying());
    let (mut client, mut server, _) = joined(&edge);
    // The edge has what it could not pass on, and behind it the kernel more of it and the reset.
    fill(&mut server);
    reset(server);
    expect_reset(&mut client);
    assert_eq!(edge.only_record().outcome, Outcome::BackendReset);
}

#[test]
fn a_complete_answer_arrives_although_the_backend_resets_afterwards() {
    let mut edge = Edge::start(Setup::default());
    let (listener, address) = backend();
    let route = edge.serve("foo.example", &[address]);
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    let mut server = accept(&listener);
    read_exactly(&mut server, hello("foo.example").len());
    let answer = random_bytes(10, 1_000_000);
    server.write_all(&answer).expect("answer");
    server.shutdown(Shutdown::Write).expect("end");
    eventually("the answer's way through the edge", || {
        edge.workers.counters().map(|counters| counters.bytes_down.get()).sum::<u64>() == 1_000_000
    });
    reset(server);
    // What the client says to the end is what the backend has no ear for any more.
    client.write_all(b"one more").expect("taken");
    eventually("the end of the backend's part", || route.backends()[0].connections() == 0);
    client.write_all(b"and more").expect("taken, too");
    assert_same(&read_all(&mut client), &answer);
    drop(client);
    let record = edge.only_record();
    assert_eq!((record.outcome, record.backend), (Outcome::BackendReset, Some(address)));
}

#[test]
fn a_reset_of_the_client_is_passed_on() {
    let mut edge = Edge::start(Setup::default());
    let (client, mut server, first) = joined(&edge);
    read_exactly(&mut server, first.len());
    reset(client);
    expect_reset(&mut server);
    assert_eq!(edge.only_record().outcome, Outcome::ClientReset);
}

#[test]
fn an_early_answer_arrives_although_the_backend_resets() {
    // A server that refuses an upload answers and closes with data unread, which resets.
    let mut edge = Edge::start(Setup::default());
    let (client, mut server, _) = joined(&edge);
    let mut writer = client.try_clone().expect("clone");
    let upload = thread::spawn(move || {
        loop {
            if let Err(error) = writer.write_all(&[7; 10_000]) {
                break error.kind();
            }
        }
    });
    read_exactly(&mut server, 1000);
    server.write_all(b"too much").expect("answer");
    eventually("the answer's way to the client", || {
        edge.workers.counters().map(|counters| counters.bytes_down.get()).sum::<u64>() == 8
    });
    drop(server);
    let mut client = client;
    assert_eq!(read_exactly(&mut client, 8), b"too much");
    // A reset is said once: here to the one who writes.
    let error = upload.join().expect("upload");
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert_eq!(edge.only_record().outcome, Outcome::BackendReset);
}

/// Bytes that the other end takes before the writer has to wait.
fn fill(writer: &mut TcpStream) -> usize {
    writer.set_nonblocking(true).expect("non-blocking");
    let chunk = vec![1; 65_536];
    let mut written = 0;
    let mut since = std::time::Instant::now();
    while since.elapsed() < Duration::from_millis(300) {
        match writer.write(&chunk) {
            Ok(count) => {
                written += count;
                since = std::time::Instant::now();
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
    writer.set_nonblocking(false).expect("blocking");
    written
}

fn a_slow_reader_holds_the_writer_back(setup: Setup) {
    let edge = Edge::start(setup);
    let (mut client, mut server, _) = joined(&edge);
    let filled = fill(&mut server);
    // What the four socket buffers and one buffer or pipe of the edge hold; not what was offered.
    assert!(filled < 100_000_000, "{filled} bytes were taken for a reader that reads nothing");
    let rest = random_bytes(8, 1_000_000);
    thread::scope(|scope| {
        scope.spawn(|| {
            server.write_all(&rest).expect("rest");
            server.shutdown(Shutdown::Write).expect("end");
        });
        let received = read_all(&mut client);
        assert!(received[..filled].iter().all(|byte| *byte == 1));
        assert_same(&received[filled..], &rest);
    });
}

#[test]
fn a_slow_reader_holds_the_writer_back_when_copied() {
    a_slow_reader_holds_the_writer_back(copying());
}

#[test]
fn a_slow_reader_holds_the_writer_back_through_pipes() {
    a_slow_reader_holds_the_writer_back(Setup::default());
}

#[test]
fn a_client_that_resets_while_it_is_blocked_frees_everything() {
    let mut edge = Edge::start(Setup::default());
    let (client, mut server, _) = joined(&edge);
    fill(&mut server);
    reset(client);
    expect_reset(&mut server);
    assert_eq!(edge.only_record().outcome, Outcome::ClientReset);
    eventually("the end of its pipe", || {
        edge.workers.counters().all(|counters| counters.pipes.get() <= 16)
    });
}

#[test]
fn idle_connections_end_and_active_ones_do_not() {
    let settings = Settings { idle_timeout: Duration::from_millis(1500), ..Settings::default() };
    let mut edge = Edge::start(Setup { settings, ..Setup::default() });
    let (mut client, mut server, first) = joined(&edge);
    read_exactly(&mut server, first.len());
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(500));
        client.write_all(b"x").expect("active");
        read_exactly(&mut server, 1);
    }
    expect_reset(&mut client);
    let record = edge.only_record();
    assert_eq!(record.outcome, Outcome::IdleTimeout);
    assert!(record.duration > Duration::from_millis(5400), "{:?}", record.duration);
    assert!(record.duration < PATIENCE);
}

#[test]
fn a_half_closed_connection_has_less_patience() {
    let half_close_timeout = Duration::from_millis(1200);
    let settings = Settings { half_close_timeout, ..Settings::default() };
    let mut edge = Edge::start(Setup { settings, ..Setup::default() });
    let (client, mut server, _) = joined(&edge);
    client.shutdown(Shutdown::Write).expect("end");
    read_all(&mut server);
    assert_eq!(edge.only_record().outcome, Outcome::HalfCloseTimeout);
    assert_eq!(edge.ended(Metric::HalfCloseTimeout), 1);
}

#[test]
fn patience_with_a_half_closed_connection_counts_from_the_close() {
    let half_close_timeout = Duration::from_secs(3);
    let settings = Settings { half_close_timeout, ..Settings::default() };
    let mut edge = Edge::start(Setup { settings, ..Setup::default() });
    let (mut client, mut server, _) = joined(&edge);
    thread::sleep(half_close_timeout);
    client.shutdown(Shutdown::Write).expect("end");
    read_all(&mut server);
    thread::sleep(half_close_timeout / 2);
    server.write_all(b"the answer took its time").expect("answer");
    drop(server);
    assert_eq!(read_all(&mut client), b"the answer took its time");
    assert_eq!(edge.only_record().outcome, Outcome::Completed);
}

#[test]
fn urgent_data_in_a_busy_flow_arrives_in_its_place() {
    let edge = Edge::start(Setup::default());
    let (mut client, mut server, first) = joined(&edge);
    rustix::net::sockopt::set_socket_oobinline(&server, true).expect("option");
    read_exactly(&mut server, first.len());
    let bulk = random_bytes(12, 4_000_000);
    thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&bulk).expect("bulk");
            rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).expect("urgent");
            client.write_all(&bulk).expect("more");
            client.shutdown(Shutdown::Write).expect("end");
        });
        assert_same(&read_all(&mut server), &[&bulk[..], b"!", &bulk].concat());
    });
}

#[test]
fn urgent_data_arrives_in_its_place_in_both_directions() {
    let edge = Edge::start(Setup::default());
    let (mut client, mut server, first) = joined(&edge);
    read_exactly(&mut server, first.len());
    for receiver in [&client, &server] {
        rustix::net::sockopt::set_socket_oobinline(receiver, true).expect("option");
    }
    exchange_urgent(&client, &mut server);
    exchange_urgent(&server, &mut client);
}

fn exchange_urgent(from: &TcpStream, to: &mut TcpStream) {
    rustix::net::send(from, b"before!", rustix::net::SendFlags::OOB).expect("urgent");
    rustix::net::send(from, b"after", rustix::net::SendFlags::empty()).expect("after");
    assert_eq!(read_exactly(to, 12), b"before!after");
}

/// Limits under which a peer that takes nothing is soon given up.
fn impatient() -> Setup {
    let tcp_user_timeout = Duration::from_millis(1500);
    Setup { settings: Settings { tcp_user_timeout, ..Settings::default() }, ..Setup::default() }
}

#[test]
fn a_client_that_takes_nothing_for_too_long_is_gone_and_did_not_reset() {
    let mut edge = Edge::start(impatient());
    let (_client, mut server, _) = joined(&edge);
    let chunk = vec![1; 65_536];
    while server.write_all(&chunk).is_ok() {}
    let record = edge.only_record();
    assert_eq!(record.outcome, Outcome::ClientGone);
    assert_eq!(edge.ended(Metric::ClientReset), 0);
}

#[test]
fn a_backend_that_takes_nothing_for_too_long_is_gone_and_did_not_reset() {
    let mut edge = Edge::start(impatient());
    let (mut client, _server, _) = joined(&edge);
    // The time limit is set on connections that last.
    let chunk = vec![1; 65_536];
    while client.write_all(&chunk).is_ok() {}
    let record = edge.only_record();
    assert_eq!(record.outcome, Outcome::BackendGone);
    assert_eq!(edge.ended(Metric::BackendReset), 0);
}
