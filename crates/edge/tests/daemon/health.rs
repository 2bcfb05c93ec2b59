use std::net::TcpListener;

use crate::support::{Backend, Port, Start, eventually, talk};

#[test]
fn a_backend_that_checks_find_down_gets_nothing_until_it_is_back() {
    let (up, port, place) = (Backend::start("up"), Port::reserve(), Port::reserve());
    let routes = format!(
        "[[routes]]\nlisten = \"{port}\"\nbackends = [\"{place}\", \"{}\"]\nhealth_source = \"tcp\"\n",
        up.address
    );
    let config = "[health]\ninterval = \"20ms\"\nrise = 1\nfall = 2\n";
    let edge = Start::with_routes(&routes).config(config).start();
    let down = || edge.metric("sextant_edge_backends{state=\"down\"}") > 0.0;
    eventually("one is down", down);
    for _ in 0..10 {
        assert_eq!(talk(port.address, b"ping", 2).expect("served"), "up");
    }
    let listener = TcpListener::from(
        sextant_edge::listen::Socket { address: place.address, dual: false }
            .open(&sextant_edge::worker::Settings::default())
            .expect("bound"),
    );
    listener.set_nonblocking(false).expect("blocking");
    let _back = Backend::serve("ok", listener);
    eventually("it is back", || talk(port.address, b"ping", 2).is_ok_and(|name| name == "ok"));
}
