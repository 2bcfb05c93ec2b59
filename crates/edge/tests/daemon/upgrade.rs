use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::{Backend, Edge, Load, Port, ServiceManager, Start, eventually, raw, talk_on};

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
