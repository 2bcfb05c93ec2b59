use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use rustix::process::Signal;
use sextant_edge::{listen::Socket, worker::Settings};

use crate::support::{
    Backend, Edge, Load, Port, ServiceManager, Start, eventually, pass, raw, talk, talk_on,
};

fn start(manager: &ServiceManager, start: &Start) -> Edge {
    let mut start = start.again();
    manager.prepare(&mut start.command);
    start.start()
}

#[test]
fn a_restart_under_load_refuses_nobody() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let manager = ServiceManager::start();
    let how = Start::with_routes(&raw(&port, &backend));
    let mut edge = start(&manager, &how);
    eventually("the socket is kept", || manager.stored().len() == 1);
    let load = Load::start(port.address, 7, 8);
    for _ in 0..3 {
        let served = load.served();
        eventually("clients are served", || load.served() > served + 200);
        edge.signal(Signal::TERM);
        assert!(edge.ended().success());
        // Clients that come now wait in the queue of the socket.
        std::thread::sleep(Duration::from_millis(100));
        edge = start(&manager, &how);
        assert!(edge.messages().contains("took over listening sockets"));
    }
    let served = load.served();
    eventually("clients are served", || load.served() > served + 200);
    assert!(load.end() > 800);
}

#[test]
fn a_restart_under_a_thousand_connections_a_second_refuses_nobody() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let manager = ServiceManager::start();
    let how = Start::with_routes(&raw(&port, &backend));
    let mut edge = start(&manager, &how);
    eventually("the socket is kept", || manager.stored().len() == 1);
    let load = Load::open(port.address, 7, 1000);
    for _ in 0..3 {
        let served = load.served();
        eventually("clients are served", || load.served() > served + 500);
        edge.signal(Signal::TERM);
        assert!(edge.ended().success());
        edge = start(&manager, &how);
    }
    let served = load.served();
    eventually("clients are served", || load.served() > served + 500);
    assert!(load.end() > 2000);
}

#[test]
fn sockets_that_are_not_needed_any_more_leave_the_store() {
    let backend = Backend::start("backend");
    let (one, two) = (Port::reserve(), Port::reserve());
    let manager = ServiceManager::start();
    let how = Start::with_routes(&format!("{}{}", raw(&one, &backend), raw(&two, &backend)));
    let mut edge = start(&manager, &how);
    eventually("both are kept", || manager.stored().len() == 2);
    edge.signal(Signal::TERM);
    edge.ended();
    std::fs::write(how.path("routes.toml"), raw(&one, &backend)).expect("written");
    let edge = start(&manager, &how);
    eventually("one is kept", || manager.stored().len() == 1);
    assert!(edge.messages().contains("is not needed; closed"), "{}", edge.messages());
    assert!(TcpStream::connect(two.address).is_err());
}

#[test]
fn who_is_connected_may_finish_within_the_limit() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let config = "drain_timeout = \"1s\"\n";
    let mut edge = Start::with_routes(&raw(&port, &backend)).config(config).start();
    let mut patient = TcpStream::connect(port.address).expect("connected");
    talk_on(&mut patient, b"ping", 7).expect("served");
    edge.signal(Signal::TERM);
    eventually("nobody listens", || TcpStream::connect(port.address).is_err());
    talk_on(&mut patient, b"still", 0).expect("the connection goes on");
    assert!(edge.ended().success());
    assert!(edge.messages().contains("cut=1"), "{}", edge.messages());
    assert!(talk_on(&mut patient, b"gone", 0).is_err());
}

#[test]
fn nothing_is_opened_beside_the_socket_of_a_socket_unit() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let everywhere = port.everywhere();
    let unit = Socket { address: everywhere, dual: false };
    let unit = unit.open(&Settings::default()).expect("opened");
    let mut start = Start::with_routes(&raw(everywhere, &backend));
    pass(&unit, &mut start.command);
    let edge = start.start();
    eventually("attempts", || {
        let listeners = edge.status()["listeners"].clone();
        let error = listeners[1]["error"].as_str().unwrap_or_default();
        listeners[0]["open"] == true && error.contains("set BindIPv6Only=both there")
    });
    for _ in 0..20 {
        assert_eq!(talk(port.address, b"ping", 7).expect("served"), "backend");
    }
}

#[test]
fn a_second_signal_cuts_downloads_visibly() {
    let listener = TcpListener::bind("[::1]:0").expect("bound");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        let chunk = vec![1; 65_536];
        while stream.write_all(&chunk).is_ok() {}
    });
    let port = Port::reserve();
    let routes = format!("[[routes]]\nlisten = \"{port}\"\nbackends = [\"{address}\"]\n");
    let mut edge = Edge::with_routes(&routes);
    let mut client = TcpStream::connect(port.address).expect("connected");
    client.read_exact(&mut [0; 1000]).expect("it begins");
    edge.signal(Signal::TERM);
    eventually("nobody listens", || TcpStream::connect(port.address).is_err());
    edge.signal(Signal::TERM);
    assert_eq!(edge.ended().code(), Some(143));
    let mut buffer = vec![0; 65_536];
    let end = loop {
        match client.read(&mut buffer) {
            Ok(1..) => {}
            end => break end,
        }
    };
    let error =
        end.expect_err("a download that was broken off does not end as if it were complete");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_edge_that_can_serve_nothing_is_not_ready() {
    let backend = Backend::start("backend");
    let taken = TcpListener::bind("[::1]:0").expect("bound");
    let address = taken.local_addr().expect("address");
    let manager = ServiceManager::start();
    let mut start = Start::with_routes(&raw(address, &backend));
    manager.prepare(&mut start.command);
    let (status, _, errors) = start.output();
    assert_eq!(status.code(), Some(1), "{errors}");
    let reason =
        format!("nothing can be served: cannot listen on {address}: Address already in use");
    assert!(errors.contains(&reason), "{errors}");
    assert_eq!(manager.count("READY=1"), 0);
}

#[test]
fn a_start_waits_a_moment_for_whoever_is_just_leaving_its_port() {
    let backend = Backend::start("backend");
    let taken = TcpListener::bind("[::1]:0").expect("bound");
    let address = taken.local_addr().expect("address");
    let edge = Start::with_routes(&raw(address, &backend)).spawn();
    drop(taken);
    eventually("it serves", || talk(address, b"ping", 7).is_ok());
    drop(edge);
}
