use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::{
    Backend, Edge, Load, NextProgram, Port, ServiceManager, Start, eventually, raw, talk, talk_on,
};

#[test]
fn an_upgrade_under_load_refuses_nobody_and_lets_old_connections_finish() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let manager = ServiceManager::start();
    let mut start = Start::with_routes(&raw(&port, &backend));
    manager.prepare(&mut start.command);
    let mut edge = start.start();
    let mut old = TcpStream::connect(port.address).expect("connected");
    talk_on(&mut old, b"ping", 7).expect("served");
    let load = Load::start(port.address, 7, 8);
    let served = load.served();
    eventually("clients are served", || load.served() > served + 200);

    edge.signal(Signal::USR2);
    edge.becomes("the next process", |status| status["generation"] == 1);
    let pid = edge.status()["pid"].as_u64().expect("pid");
    eventually("the manager knows", || manager.last("MAINPID=") == Some(pid.to_string()));
    talk_on(&mut old, b"still", 0).expect("the old connection goes on");
    let served = load.served();
    eventually("clients are served", || load.served() > served + 200);
    drop(old);
    assert!(edge.ended().success());
    let served = load.served();
    eventually("clients are served", || load.served() > served + 200);
    load.end();
}

#[test]
fn an_upgrade_that_fails_leaves_everything_as_it_was() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let edge = Edge::with_routes(&raw(&port, &backend));
    let load = Load::start(port.address, 7, 2);
    edge.set_routes("nonsense");
    edge.becomes("a refusal", |status| status["rejected"] == 1);
    edge.signal(Signal::USR2);
    eventually("the failure", || edge.messages().contains("ended before it was ready"));
    let messages = edge.messages();
    // It says itself why it ended.
    assert!(messages.contains("sextant-edge: route file"), "{messages}");
    assert!(messages.contains("(exit status: 2)"), "{messages}");
    assert_eq!(edge.status()["generation"], 0);
    let served = load.served();
    eventually("clients are served", || load.served() > served + 100);
    load.end();
}

#[test]
fn there_is_one_old_generation_at_most() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let mut edge = Edge::with_routes(&raw(&port, &backend));
    let mut old = TcpStream::connect(port.address).expect("connected");
    talk_on(&mut old, b"ping", 7).expect("served");
    edge.signal(Signal::USR2);
    edge.becomes("the next process", |status| status["generation"] == 1);
    let next = i32::try_from(edge.status()["pid"].as_i64().expect("pid")).expect("pid");
    let next = rustix::process::Pid::from_raw(next).expect("pid");
    rustix::process::kill_process(next, Signal::USR2).expect("signalled");
    eventually("the refusal", || edge.messages().contains("still drains"));
    drop(old);
    edge.ended();
    eventually("the next upgrade", || {
        // It is refused as long as the first process is not quite gone.
        let _ = rustix::process::kill_process(next, Signal::USR2);
        std::thread::sleep(std::time::Duration::from_millis(100));
        edge.status()["generation"] == 2
    });
}

/// An edge that serves `one`, and whose upgrade waits; it serves `two` since.
fn opened_while_an_upgrade_waits(
    manager: &ServiceManager,
    one: &Port,
    two: &Port,
    backend: &Backend,
) -> (NextProgram, Edge) {
    let mut start = Start::with_routes(&raw(one, backend));
    let next = NextProgram::of(&mut start);
    manager.prepare(&mut start.command);
    let edge = start.start();
    eventually("the socket is kept", || manager.stored().len() == 1);
    next.install();
    edge.signal(Signal::USR2);
    next.started();
    edge.set_routes(&format!("{}{}", raw(one, backend), raw(two, backend)));
    eventually("the new port is served", || talk(two.address, b"ping", 7).is_ok());
    (next, edge)
}

#[test]
fn a_listener_that_is_opened_during_an_upgrade_is_served_after_it() {
    let backend = Backend::start("backend");
    let (one, two) = (Port::reserve(), Port::reserve());
    let manager = ServiceManager::start();
    let (next, mut edge) = opened_while_an_upgrade_waits(&manager, &one, &two, &backend);
    next.goes_on();
    edge.becomes("the next process", |status| status["generation"] == 1);
    assert!(edge.ended().success());
    edge.becomes("two listeners", |status| {
        let listeners = status["listeners"].as_array().expect("list");
        listeners.len() == 2 && listeners.iter().all(|listener| listener["open"] == true)
    });
    for port in [&one, &two] {
        assert_eq!(talk(port.address, b"ping", 7).expect("served"), "backend");
    }
    eventually("both are kept", || manager.stored().len() == 2);
}

#[test]
fn a_listener_that_is_opened_during_an_upgrade_that_fails_is_kept() {
    let backend = Backend::start("backend");
    let (one, two) = (Port::reserve(), Port::reserve());
    let manager = ServiceManager::start();
    let (next, edge) = opened_while_an_upgrade_waits(&manager, &one, &two, &backend);
    next.becomes("/bin/false");
    eventually("the failure", || edge.messages().contains("ended before it was ready"));
    eventually("both are kept", || manager.stored().len() == 2);
    assert_eq!(talk(two.address, b"ping", 7).expect("served"), "backend");
}

#[test]
fn after_a_hand_over_only_the_next_process_speaks_for_the_service() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let manager = ServiceManager::start();
    let mut start = Start::with_routes(&raw(&port, &backend));
    manager.prepare(&mut start.command);
    start.command.env("WATCHDOG_USEC", "200000");
    let mut edge = start.start();
    let mut old = TcpStream::connect(port.address).expect("connected");
    talk_on(&mut old, b"ping", 7).expect("served");
    edge.signal(Signal::USR2);
    edge.becomes("the next process", |status| status["generation"] == 1);
    let main = format!("MAINPID={}", edge.status()["pid"]);
    manager.hears(&main);
    manager.forget();
    eventually("signs of life", || manager.count("WATCHDOG=1") > 5);
    // It still drains; this is enough of it.
    edge.signal(Signal::TERM);
    assert!(edge.ended().success());
    assert_eq!(manager.said_by(edge.pid()), Vec::<String>::new());
}

#[test]
fn after_a_hand_over_only_the_next_process_answers_on_the_admin_port() {
    let (backend, port, admin) = (Backend::start("backend"), Port::reserve(), Port::reserve());
    let edge = Start::with_routes(&raw(&port, &backend)).admin(admin.address).start();
    let mut old = TcpStream::connect(port.address).expect("connected");
    talk_on(&mut old, b"ping", 7).expect("served");
    edge.signal(Signal::USR2);
    eventually("the old process drains", || edge.messages().contains("draining"));
    eventually("only the next process answers", || {
        (0..50).all(|_| edge.status()["generation"] == 1)
    });
    talk_on(&mut old, b"still", 0).expect("the old connection goes on");
}
