use rustix::process::Signal;

use crate::support::{Backend, Port, ServiceManager, Start, eventually, raw};

#[test]
fn the_service_manager_is_told_what_happens() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let manager = ServiceManager::start();
    let mut start = Start::with_routes(&raw(&port, &backend));
    manager.prepare(&mut start.command);
    start.command.env("WATCHDOG_USEC", "200000");
    let mut edge = start.start();
    manager.hears("READY=1");
    manager.hears("STATUS=1 routes");
    eventually("signs of life", || manager.count("WATCHDOG=1") > 5);
    manager.forget();
    edge.signal(Signal::HUP);
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    edge.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert!(edge.ended().success());
}
