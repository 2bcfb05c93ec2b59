use std::{
    fs::File,
    io::{ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sextant_edge::hello::builder::HelloBuilder;

use crate::support::{
    Backend, Edge, Load, Port, ServiceManager, Start, eventually, raw, talk, talk_on, tls,
};

#[test]
fn a_changed_file_changes_new_connections_and_keeps_the_old_ones() {
    let (first, second, port) =
        (Backend::start("first"), Backend::start("second"), Port::reserve());
    let edge = Edge::with_routes(&tls(&port, "a.example", &first));
    let hello = HelloBuilder::for_name("a.example").build();
    let mut old = TcpStream::connect(port.address).expect("connected");
    assert_eq!(talk_on(&mut old, &hello, 5).expect("served"), "first");

    edge.set_routes(&tls(&port, "a.example", &second));
    edge.becomes("the second file", |status| status["revision"] == 2);
    assert_eq!(talk(port.address, &hello, 6).expect("served"), "second");
    talk_on(&mut old, b"still here", 0).expect("the old connection goes on");

    // A file that was only truncated is a mistake.
    edge.set_routes("");
    edge.becomes("a refusal", |status| status["rejected"] == 1);
    assert_eq!(talk(port.address, &hello, 6).expect("served"), "second");

    edge.set_routes("routes = []\n");
    edge.becomes("the third file", |status| status["routes"] == 0);
    talk_on(&mut old, b"and here", 0).expect("the old connection goes on");
    assert!(TcpStream::connect(port.address).is_err(), "nobody listens any more");
}

#[test]
fn a_bad_file_changes_nothing_and_is_named() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let edge = Edge::with_routes(&raw(&port, &backend));
    edge.set_routes("[[routes]]\nlisten = \"[::1]:0\"\n");
    edge.becomes("a refusal", |status| status["rejected"] == 1);
    let problem = edge.status()["problem"].as_str().expect("problem").to_owned();
    assert!(problem.contains("line 2: route 1: listen: \"[::1]:0\" has port 0"), "{problem}");
    assert!(edge.messages().contains("line 2: route 1: listen: "));
    let rejected = edge.metric("sextant_edge_changes_rejected_total");
    assert!((rejected - 1.0).abs() < f64::EPSILON);
    assert_eq!(talk(port.address, b"ping", 7).expect("served"), "backend");
    edge.set_routes(&raw(&port, &backend));
    edge.becomes("no problem", |status| status["problem"].is_null());
}

#[test]
fn a_hangup_reads_the_file_again() {
    let (first, second, port) = (Backend::start("first"), Backend::start("other"), Port::reserve());
    let edge = Edge::with_routes(&raw(&port, &first));
    edge.signal(Signal::HUP);
    edge.becomes("the same again", |status| status["revision"] == 2);
    edge.set_routes(&raw(&port, &second));
    edge.signal(Signal::HUP);
    eventually("the second backend", || {
        talk(port.address, b"ping", 5).is_ok_and(|name| name == "other")
    });
}

#[test]
fn listeners_come_and_go_one_by_one() {
    let backend = Backend::start("backend");
    let (one, two) = (Port::reserve(), Port::reserve());
    let edge = Edge::with_routes(&raw(&one, &backend));
    let load = Load::start(one.address, 7, 2);
    for round in 0..5 {
        edge.set_routes(&format!("{}{}", raw(&one, &backend), raw(&two, &backend)));
        edge.becomes("two listeners", |status| {
            status["listeners"].as_array().is_some_and(|l| l.len() == 2)
        });
        assert_eq!(talk(two.address, b"ping", 7).expect("served"), "backend", "round {round}");
        edge.set_routes(&raw(&one, &backend));
        edge.becomes("one listener", |status| {
            status["listeners"].as_array().is_some_and(|l| l.len() == 1)
        });
    }
    assert!(load.end() > 0);
}

#[test]
fn a_port_that_is_taken_concerns_its_routes_alone_and_is_tried_again() {
    let (backend, free) = (Backend::start("backend"), Port::reserve());
    let taken = TcpListener::bind("[::1]:0").expect("bound");
    let address = taken.local_addr().expect("address");
    let second =
        format!("[[routes]]\nlisten = \"{address}\"\nbackends = [\"{}\"]\n", backend.address);
    let edge = Edge::with_routes(&format!("{}{second}", raw(&free, &backend)));
    assert_eq!(talk(free.address, b"ping", 7).expect("served"), "backend");
    let failed = |edge: &Edge| edge.metric("sextant_edge_listeners{state=\"failed\"}") > 0.0;
    assert!(failed(&edge));
    let status = edge.status();
    let errors: Vec<&str> = status["listeners"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|l| l["error"].as_str())
        .collect();
    assert!(matches!(errors[..], [error] if error.contains("in use")), "{errors:?}");
    drop(taken);
    eventually("listening at last", || !failed(&edge));
    assert_eq!(talk(address, b"ping", 7).expect("served"), "backend");
}

#[test]
fn removed_routes_are_cut_where_that_is_the_policy() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let start = Start::with_routes(&raw(&port, &backend)).config("on_route_removed = \"cut\"");
    let edge = start.start();
    let mut connection = TcpStream::connect(port.address).expect("connected");
    talk_on(&mut connection, b"ping", 7).expect("served");
    edge.set_routes("routes = []\n");
    assert!(
        talk_on(&mut connection, b"ping", 0).is_err() || {
            edge.becomes("cut", |status| status["connections"] == 0);
            true
        }
    );
}

#[test]
fn hundreds_of_changes_under_load_disturb_nobody() {
    let (one, two, port) = (Backend::start("one"), Backend::start("two"), Port::reserve());
    let edge = Edge::with_routes(&tls(&port, "a.example", &one));
    let hello = HelloBuilder::for_name("a.example").build();
    let mut old = TcpStream::connect(port.address).expect("connected");
    talk_on(&mut old, &hello, 3).expect("served");
    let routes = [tls(&port, "*.example", &two), tls(&port, "a.example", &one)];
    let load = Load::with(port.address, hello, 3, 2);
    for change in 0..200 {
        let revision = edge.status()["revision"].as_u64().expect("revision");
        edge.set_routes(&routes[change % 2]);
        edge.signal(Signal::HUP);
        edge.becomes("another", |status| status["revision"].as_u64() > Some(revision));
        talk_on(&mut old, b"still here", 0).expect("the old connection goes on");
    }
    assert!(load.end() > 200);
}

#[test]
fn a_listener_may_change_between_one_address_and_all() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let particular = raw(&port, &backend);
    let general = particular.replacen("[::1]", "[::]", 1);
    let edge = Edge::with_routes(&particular);
    for routes in [&general, &particular, &general] {
        edge.set_routes(routes);
        let listen = if *routes == general { "[::]" } else { "[::1]" };
        let listen = format!("{listen}:{}", port.address.port());
        edge.becomes("the other socket", |status| {
            status["listeners"] == serde_json::json!([{ "listen": listen, "open": true }])
        });
        assert_eq!(talk(port.address, b"ping", 7).expect("served"), "backend");
    }
}

fn listeners(edge: &Edge) -> Vec<(String, bool)> {
    let status = edge.status();
    let listeners = status["listeners"].as_array().expect("list").iter();
    let listener = |listener: &serde_json::Value| {
        let listen = listener["listen"].as_str().expect("address").to_owned();
        (listen, listener["open"].as_bool().expect("flag"))
    };
    listeners.map(listener).collect()
}

#[test]
fn a_general_address_that_cannot_be_had_leaves_particular_ones_of_its_port_alone() {
    let backend = Backend::start("backend");
    let (port, taken) = Port::beside_another();
    let everywhere = port.everywhere();
    let both = format!("{}{}", raw(&port, &backend), raw(everywhere, &backend));
    let failed = [(port.to_string(), true), (everywhere.to_string(), false)];

    let edge = Edge::with_routes(&raw(&port, &backend));
    let load = Load::start(port.address, 7, 2);
    for _ in 0..3 {
        edge.set_routes(&both);
        eventually("a failure", || listeners(&edge) == failed);
        edge.set_routes(&raw(&port, &backend));
        eventually("no failure", || listeners(&edge) == failed[..1]);
    }
    assert!(load.end() > 0);
    drop(edge);

    // From the start on, too.
    let edge = Edge::with_routes(&both);
    eventually("a failure", || listeners(&edge) == failed);
    assert_eq!(talk(port.address, b"ping", 7).expect("served"), "backend");
    drop(taken);
    eventually("the general one", || listeners(&edge) == [(everywhere.to_string(), true)]);
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port.address.port()));
    for address in [port.address, v4] {
        assert_eq!(talk(address, b"ping", 7).expect("served"), "backend");
    }
    assert!(TcpListener::bind(v4).is_err(), "nobody else may listen there");
}

#[test]
fn somebody_listens_at_every_moment_while_a_listener_becomes_another_one() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let routes = [raw(&port, &backend), raw(port.everywhere(), &backend)];
    let edge = Edge::with_routes(&routes[0]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                // Who is between two sockets in the moment of the change may be reset.
                let refused = talk(port.address, b"ping", 7)
                    .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
                assert!(!refused, "somebody listens");
            }
        });
        for change in 1..20 {
            edge.set_routes(&routes[change % 2]);
            edge.becomes("another", |status| status["revision"].as_u64() > Some(change as u64));
        }
        stop.store(true, Relaxed);
    });
}

#[test]
fn a_file_that_is_half_written_changes_nothing_until_it_is_closed() {
    let backend = Backend::start("backend");
    let (one, two) = (Port::reserve(), Port::reserve());
    let halves = [raw(&one, &backend), raw(&two, &backend)];
    let edge = Start::with_routes(&halves.concat()).config("on_route_removed = \"cut\"").start();
    let mut connection = TcpStream::connect(two.address).expect("connected");
    talk_on(&mut connection, b"ping", 7).expect("served");

    let mut file = File::create(edge.folder().join("routes.toml")).expect("truncated");
    file.write_all(halves[0].as_bytes()).expect("half");
    // Longer than it takes until a file that stands still is read.
    let deadline = Instant::now() + Duration::from_secs(6);
    while Instant::now() < deadline {
        talk_on(&mut connection, b"ping", 0).expect("the connection goes on");
        assert_eq!(talk(two.address, b"ping", 7).expect("served"), "backend");
    }
    // Not even for whoever asks for it.
    edge.signal(Signal::HUP);
    edge.becomes("a reason", |status| {
        status["problem"].as_str().is_some_and(|problem| problem.contains("is being written"))
    });
    assert_eq!(edge.status()["routes"], 2);
    file.write_all(halves[1].as_bytes()).expect("the rest");
    drop(file);
    edge.becomes("the whole", |status| status["problem"].is_null() && status["revision"] == 2);
    talk_on(&mut connection, b"ping", 0).expect("the connection goes on");
}

#[test]
fn a_file_whose_end_is_missing_changes_nothing() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let routes = format!("{}max_connections = 100\n", raw(&port, &backend));
    let edge = Edge::with_routes(&routes);
    edge.set_routes(routes.trim_end_matches("0\n"));
    edge.becomes("a refusal", |status| status["rejected"] == 1);
    let problem = edge.status()["problem"].to_string();
    assert!(problem.contains("line 4: does not end with a newline"), "{problem}");
    assert_eq!(edge.json("/routes")[0]["max_connections"], 100);
}

#[test]
fn a_reload_of_a_bad_file_is_told_to_the_service_manager() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let manager = ServiceManager::start();
    let mut start = Start::with_routes(&raw(&port, &backend));
    manager.prepare(&mut start.command);
    let edge = start.start();
    edge.set_routes("[[routes]]\nlisten = \"[::1]:0\"\n");
    edge.becomes("a refusal", |status| status["rejected"] == 1);
    manager.forget();
    edge.signal(Signal::HUP);
    manager.hears("READY=1");
    let status = manager.last("STATUS=").expect("a status");
    assert!(status.starts_with("1 routes; route file"), "{status}");
    assert!(status.contains("line 2: route 1: listen"), "{status}");
    edge.set_routes(&raw(&port, &backend));
    eventually("it is well again", || manager.last("STATUS=").as_deref() == Some("1 routes"));
}

#[test]
fn connections_of_a_backend_that_left_its_route_are_cut_where_that_is_the_policy() {
    let (old, new, port) = (Backend::start("old"), Backend::start("new"), Port::reserve());
    let edge = Start::with_routes(&raw(&port, &old)).config("on_route_removed = \"cut\"").start();
    let mut connection = TcpStream::connect(port.address).expect("connected");
    talk_on(&mut connection, b"ping", 3).expect("served");
    edge.set_routes(&raw(&port, &new));
    edge.becomes("cut", |status| status["connections"] == 0);
    let name = "sextant_edge_connections_ended_total{outcome=\"backend_removed\",reason=\"\"}";
    assert!((edge.metric(name) - 1.0).abs() < f64::EPSILON);
    assert_eq!(talk(port.address, b"ping", 3).expect("served"), "new");
}

#[test]
fn a_route_to_the_edge_itself_is_refused_and_the_others_stay() {
    let (backend, port) = (Backend::start("backend"), Port::reserve_both());
    let edge = Edge::with_routes(&raw(port.everywhere(), &backend));
    for itself in ["[::1]", "127.0.0.1", "[::ffff:127.0.0.1]"] {
        let rejected = edge.status()["rejected"].as_u64().expect("number");
        let number = port.address.port();
        edge.set_routes(&format!(
            "[[routes]]\nlisten = \"[::]:{number}\"\nbackends = [\"{itself}:{number}\"]\n"
        ));
        edge.becomes("a refusal", |status| status["rejected"].as_u64() > Some(rejected));
        let problem = edge.status()["problem"].to_string();
        assert!(problem.contains("connections would come back for ever"), "{problem}");
    }
    assert_eq!(talk(port.address, b"ping", 7).expect("served"), "backend");
}
