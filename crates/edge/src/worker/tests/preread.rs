//! What a client says first, and what becomes of it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use sextant_model::{Prefix, hostname::HostPattern, routing::Matching};

use super::edge::{
    Edge, Setup, accept, assert_same, backend, echo, eventually, hello, random_bytes, read_all,
    read_exactly, routed,
};
use crate::{
    hello::{self, builder::HelloBuilder},
    http_host,
    outcome::{Metric, Outcome},
    proxy_protocol,
    worker::Settings,
};

fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

/// An edge with two routes for names, to `foo` and `bar`.
fn two_names() -> Edge {
    let edge = Edge::start(Setup::default());
    let route = |host, name| routed(edge.route(host, &[echo(name)]));
    edge.publish(&[route("foo.example", "foo"), route("*.bar.example", "bar")]);
    edge
}

/// What a client gets that sends these bytes and then waits for the end.
fn answer_to(edge: &Edge, bytes: &[u8]) -> Vec<u8> {
    let mut client = edge.connect();
    client.write_all(bytes).expect("written");
    read_all(&mut client)
}

#[test]
fn names_lead_to_their_backends() {
    let edge = two_names();
    for (name, want) in
        [("foo.example", b"foo"), ("FOO.Example.", b"foo"), ("a.bar.example", b"bar")]
    {
        let mut client = edge.connect();
        client.write_all(&hello(name)).expect("hello");
        assert_eq!(read_exactly(&mut client, 3), want, "{name}");
        assert_eq!(read_exactly(&mut client, hello(name).len()), hello(name));
    }
}

#[test]
fn hellos_of_every_shape_arrive_unchanged() {
    let mut shapes = vec![
        HelloBuilder::for_name("foo.example").post_quantum().grease().ech_grease().build(),
        HelloBuilder::for_name("foo.example").padded_to(15_900).build(),
        HelloBuilder::for_name("foo.example").padded_to(20_000).sni_last().build(),
        HelloBuilder::for_name("foo.example").early_data(100_000).build(),
        HelloBuilder::for_name("foo.example").records([1]).padded_to(16_384).build(),
        HelloBuilder::for_name("foo.example").padded_to(65_540).sni_last().records([4]).build(),
    ];
    for first in [1, 5, 60, 100, 300] {
        shapes.push(HelloBuilder::for_name("foo.example").split_at(first).build());
    }
    let edge = two_names();
    for shape in shapes {
        let mut client = edge.connect();
        let mut writer = client.try_clone().expect("clone");
        thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&shape).expect("hello"));
            assert_eq!(read_exactly(&mut client, 3), b"foo");
            assert_same(&read_exactly(&mut client, shape.len()), &shape);
        });
    }
}

#[test]
fn a_hello_that_drips_is_routed() {
    let edge = two_names();
    let mut client = edge.connect();
    client.set_nodelay(true).expect("option");
    for byte in hello("foo.example") {
        client.write_all(&[byte]).expect("byte");
    }
    assert_eq!(read_exactly(&mut client, 3), b"foo");
    assert_eq!(read_exactly(&mut client, hello("foo.example").len()), hello("foo.example"));
}

#[test]
fn a_name_that_nobody_has_is_told_so() {
    let mut edge = two_names();
    for name in ["other.example", "bar.example", "a.b.bar.example", "foo.example.org"] {
        assert_eq!(answer_to(&edge, &hello(name)), alert(112), "{name}");
    }
    let record = edge.only_record();
    assert_eq!(record.outcome, Outcome::UnknownName);
    assert_eq!(record.name.expect("name").as_str(), "other.example");
    assert!(record.backend.is_none());
}

#[test]
fn the_alert_arrives_although_more_was_sent_than_was_read() {
    let edge = two_names();
    let sent = [hello("other.example"), random_bytes(1, 100_000)].concat();
    assert_eq!(answer_to(&edge, &sent), alert(112));
}

#[test]
fn whoever_is_refused_cannot_go_on_for_long() {
    let mut edge = two_names();
    let mut client = edge.connect();
    client.write_all(&hello("other.example")).expect("hello");
    assert_eq!(read_exactly(&mut client, 7), alert(112));
    let begin = Instant::now();
    while client.write_all(b"x").is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!(edge.only_record().outcome, Outcome::UnknownName);
}

#[test]
fn no_name_is_enough_only_for_a_sole_route() {
    let no_name = HelloBuilder::new().build();
    let mut edge = two_names();
    assert_eq!(answer_to(&edge, &no_name), alert(112));
    assert_eq!(edge.only_record().outcome, Outcome::NoName);
    let edge = Edge::start(Setup::default());
    edge.serve("foo.example", &[echo("foo")]);
    let mut client = edge.connect();
    client.write_all(&no_name).expect("hello");
    assert_eq!(read_exactly(&mut client, 3), b"foo");
}

#[test]
fn an_address_for_a_name_is_counted_and_enough_only_for_a_sole_route() {
    let counted = |edge: &Edge| {
        edge.workers.counters().map(|counters| counters.addresses_for_names.get()).sum::<u64>()
    };
    let mut edge = two_names();
    assert_eq!(answer_to(&edge, &hello("192.0.2.1")), alert(112));
    assert_eq!(edge.only_record().outcome, Outcome::NoName);
    assert_eq!(counted(&edge), 1);
    let edge = Edge::start(Setup::default());
    edge.serve("foo.example", &[echo("foo")]);
    for address in ["192.0.2.1", "2001:db8::1"] {
        let mut client = edge.connect();
        client.write_all(&hello(address)).expect("hello");
        assert_eq!(read_exactly(&mut client, 3), b"foo");
        assert_eq!(read_exactly(&mut client, hello(address).len()), hello(address));
    }
    assert_eq!(counted(&edge), 2);
}

#[test]
fn malformed_hellos_never_reach_a_sole_route() {
    let mut edge = Edge::start(Setup::default());
    let (listener, address) = backend();
    listener.set_nonblocking(true).expect("non-blocking");
    edge.serve("foo.example", &[address]);
    let twice = HelloBuilder::for_name("foo.example").sni("foo.example").build();
    let nul = HelloBuilder::for_name("foo.example\0.evil.example").build();
    let mut broken = hello("foo.example");
    // The length of the session id.
    broken[43] = 0xff;
    for (bytes, want) in [(twice, alert(47)), (nul, alert(47)), (broken, alert(50))] {
        assert_eq!(answer_to(&edge, &bytes), want);
    }
    for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-x\r\n", &[0x80, 0x2e, 1, 3, 1]] {
        assert_eq!(answer_to(&edge, other), b"", "nothing is said to who speaks no TLS");
    }
    edge.record(|record| record.outcome == Outcome::BadHello(hello::Rejected::DuplicateSni));
    assert_eq!(edge.ended(Metric::HelloNotTls), 3);
    assert_eq!(listener.accept().map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
}

#[test]
fn time_runs_from_accept_and_nothing_extends_it() {
    let preread_timeout = Duration::from_millis(1000);
    let settings = Settings { preread_timeout, ..Settings::default() };
    let mut edge = Edge::start(Setup { settings, ..Setup::default() });
    edge.serve("foo.example", &[echo("foo")]);
    let silent = edge.connect();
    let begin = Instant::now();
    let mut dripping = edge.connect();
    for byte in hello("foo.example") {
        if dripping.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(begin.elapsed() < Duration::from_millis(3000), "{:?}", begin.elapsed());
    let mut silent = silent;
    assert_eq!(read_all(&mut silent), b"");
    let record = edge.only_record();
    assert_eq!(record.outcome, Outcome::TooSlow);
    assert!(record.duration >= preread_timeout, "{:?}", record.duration);
    eventually("both", || edge.ended(Metric::TooSlow) == 2);
}

#[test]
fn probes_are_silent_and_half_a_hello_is_not() {
    let mut edge = two_names();
    drop(edge.connect());
    let reset = edge.connect();
    rustix::net::sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).expect("linger");
    drop(reset);
    eventually("two probes", || edge.ended(Metric::Probe) == 2);
    edge.connect().write_all(&hello("foo.example")[..50]).expect("half");
    assert_eq!(edge.only_record().outcome, Outcome::ClientLeft, "the first record there is");
}

#[test]
fn probes_of_a_proxy_are_silent_too() {
    let mut edge = behind_a_proxy();
    edge.serve("foo.example", &[echo("foo")]);
    for header in [proxy_protocol::encode_local(), header_for_client()] {
        edge.connect().write_all(header.as_bytes()).expect("header");
    }
    eventually("two probes", || edge.ended(Metric::Probe) == 2);
    edge.connect().write_all(&header_for_client().as_bytes()[..20]).expect("half");
    assert_eq!(edge.only_record().outcome, Outcome::ClientLeft, "the first record there is");
}

#[test]
fn raw_backends_may_speak_first() {
    let mut edge = Edge::start(Setup::default());
    edge.serve("", &[echo("220 ready")]);
    let mut client = edge.connect();
    assert_eq!(read_exactly(&mut client, 9), b"220 ready");
    client.write_all(b"quit").expect("quit");
    assert_eq!(read_exactly(&mut client, 4), b"quit");
    client.shutdown(Shutdown::Write).expect("end");
    assert_eq!(read_all(&mut client), b"");
    let record = edge.only_record();
    assert_eq!((record.outcome, record.bytes_up, record.bytes_down), (Outcome::Completed, 4, 13));
}

fn telling(edge: &Edge, host: &str, backend: SocketAddr) {
    let mut served = edge.route(host, &[backend]);
    served.proxy_protocol = true;
    edge.publish(&[routed(served)]);
}

#[test]
fn a_backend_is_told_who_connects() {
    let edge = Edge::start(Setup::default());
    let (listener, address) = backend();
    telling(&edge, "foo.example", address);
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    let header = proxy_protocol::encode(client.local_addr().expect("address"), edge.address);
    let mut server = accept(&listener);
    // One write, so that one read gets both.
    let mut first = [0; 4000];
    let count = server.read(&mut first).expect("first read");
    assert_eq!(first[..count], [header.as_bytes(), &hello("foo.example")].concat());
    telling(&edge, "", address);
    let client = edge.connect();
    let header = proxy_protocol::encode(client.local_addr().expect("address"), edge.address);
    let mut server = accept(&listener);
    let told = read_exactly(&mut server, header.as_bytes().len());
    assert_eq!(told, header.as_bytes(), "before the client has said anything");
}

/// An edge that trusts this host to say for whom it connects.
fn behind_a_proxy() -> Edge {
    let trusted = "::1/128".parse::<Prefix>().expect("prefix");
    Edge::start(Setup { proxy_header_from: vec![trusted], ..Setup::default() })
}

fn client_address() -> SocketAddr {
    ([203, 0, 113, 9], 4711).into()
}

fn header_for_client() -> proxy_protocol::Header {
    proxy_protocol::encode(client_address(), ([192, 0, 2, 1], 443).into())
}

#[test]
fn a_trusted_proxy_says_whose_connection_it_is() {
    let mut edge = behind_a_proxy();
    let (listener, address) = backend();
    telling(&edge, "foo.example", address);
    let header = header_for_client();
    let sent = [header.as_bytes(), &hello("foo.example")].concat();
    for step in [1, 7, sent.len()] {
        let mut client = edge.connect();
        client.set_nodelay(true).expect("option");
        for piece in sent.chunks(step) {
            client.write_all(piece).expect("piece");
        }
        let mut server = accept(&listener);
        assert_same(&read_exactly(&mut server, sent.len()), &sent);
    }
    let record = edge.only_record();
    assert_eq!(record.client, client_address());
    assert_eq!(record.local, SocketAddr::from(([192, 0, 2, 1], 443)));
    assert_eq!(record.bytes_up, hello("foo.example").len() as u64, "headers are not the client's");
}

#[test]
fn a_header_is_required_from_the_trusted_and_refused_from_others() {
    let mut edge = behind_a_proxy();
    edge.serve("foo.example", &[echo("foo")]);
    let mut client = edge.connect();
    client.write_all(&hello("foo.example")).expect("hello");
    let why = proxy_protocol::Refused::NotProxy;
    assert_eq!(edge.only_record().outcome, Outcome::BadProxyHeader(why));
    let mut edge = Edge::start(Setup::default());
    edge.serve("foo.example", &[echo("foo")]);
    assert_eq!(answer_to(&edge, header_for_client().as_bytes()), b"");
    assert_eq!(edge.only_record().outcome, Outcome::BadHello(hello::Rejected::NotTls));
}

#[test]
fn a_raw_connection_behind_a_proxy_begins_after_the_header() {
    let edge = behind_a_proxy();
    edge.serve("", &[echo("220 ")]);
    let mut client = edge.connect();
    client.write_all(proxy_protocol::encode_local().as_bytes()).expect("header");
    assert_eq!(read_exactly(&mut client, 4), b"220 ");
    client.write_all(b"x").expect("x");
    assert_eq!(read_exactly(&mut client, 1), b"x", "the header is not the backend's");
}

fn request_host(
    edge: &Edge,
    host: &str,
    name: &'static str,
) -> std::sync::Arc<crate::table::Route> {
    let mut served = edge.route(host, &[echo(name)]);
    served.matching = Matching::RequestHost(HostPattern::new(host).expect("host"));
    routed(served)
}

#[test]
fn requests_are_told_apart_by_their_host() {
    let mut edge = Edge::start(Setup::default());
    let routes =
        [request_host(&edge, "foo.example", "foo"), request_host(&edge, "bar.example", "bar")];
    edge.publish(&routes);
    let request = b"GET / HTTP/1.1\r\nHost: bar.example\r\n\r\n";
    let mut client: TcpStream = edge.connect();
    client.write_all(request).expect("request");
    assert_eq!(read_exactly(&mut client, 3), b"bar");
    assert_eq!(read_exactly(&mut client, request.len()), request);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n", "421"),
        ("GET / HTTP/1.1\r\nHost: foo.example\r\nHost: bar.example\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\n\r\n", "421"),
        ("GET / HTTP/1.1\r\nHost: 10.0.0.5:8080\r\n\r\n", "421"),
    ] {
        let answer = String::from_utf8(answer_to(&edge, request.as_bytes())).expect("text");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"));
    }
    let why = http_host::Refused::SeveralHosts;
    edge.record(|record| record.outcome == Outcome::BadRequest(why));
}

#[test]
fn bad_requests_never_reach_a_sole_route_and_one_without_a_host_does() {
    let preread_timeout = Duration::from_millis(500);
    let settings = Settings { preread_timeout, ..Settings::default() };
    let mut edge = Edge::start(Setup { settings, ..Setup::default() });
    let (listener, address) = backend();
    listener.set_nonblocking(true).expect("non-blocking");
    let mut served = edge.route("foo.example", &[address]);
    served.matching = Matching::RequestHost(HostPattern::new("foo.example").expect("host"));
    edge.publish(&[routed(served)]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: foo.example\r\nHost: foo.example\r\n\r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nHost : foo.example\r\n\r\n", "HTTP/1.1 400 "),
        ("GET http://foo.example/ HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nHost: 192.0.2\r\n\r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nHost: bar.example\r\n\r\n", "HTTP/1.1 421 "),
        ("\x16\x03\x01", ""),
    ] {
        let answer = String::from_utf8(answer_to(&edge, request.as_bytes())).expect("text");
        assert!(answer.starts_with(status) && answer.is_empty() == status.is_empty(), "{answer}");
    }
    assert_eq!(answer_to(&edge, b"GET / HTTP/1.0\r\n"), b"", "half a request, and then nothing");
    eventually("too slow", || edge.ended(Metric::TooSlow) == 1);
    assert_eq!(listener.accept().map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
    edge.record(|record| record.outcome == Outcome::BadRequest(http_host::Refused::SeveralHosts));

    listener.set_nonblocking(false).expect("blocking");
    for request in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 10.0.0.5:8080\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [fd00::1]:80\r\n\r\n",
    ] {
        edge.connect().write_all(request).expect("request");
        assert_eq!(read_exactly(&mut accept(&listener), request.len()), request);
    }
}

#[test]
fn an_address_without_a_route_resets() {
    let mut edge = Edge::start(Setup::default());
    let mut client = edge.connect();
    let error = client.read(&mut [0; 1]).expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(edge.only_record().outcome, Outcome::NoListener);
}
