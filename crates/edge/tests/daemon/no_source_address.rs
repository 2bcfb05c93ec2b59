//! A host without IPv6, in a network namespace of its own.

use std::{net::TcpListener, process::Command};

use crate::support::{Backend, Start, eventually, talk};

const INSIDE: &str = "SEXTANT_TEST_INSIDE_NAMESPACE";
const NAME: &str =
    "no_source_address::a_backend_that_this_host_has_no_address_towards_costs_no_client_anything";

#[test]
fn a_backend_that_this_host_has_no_address_towards_costs_no_client_anything() {
    if std::env::var_os(INSIDE).is_some() {
        return without_ipv6();
    }
    let this = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user"]).arg(this).args(["--exact", NAME, "--nocapture"]);
    assert!(command.env(INSIDE, "1").status().expect("started").success());
}

fn without_ipv6() {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.expect("started").success());
    std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").expect("disabled");
    let listener = TcpListener::bind("127.0.0.1:7100").expect("bound");
    let backend = Backend::serve("backend", listener);
    for health_source in ["none", "tcp"] {
        let routes = format!(
            "[[routes]]\nlisten = \"127.0.0.1:4443\"\nbackends = [\"[::1]:7100\", \"{}\"]\n\
             health_source = \"{health_source}\"\n",
            backend.address
        );
        let config = "[health]\ninterval = \"20ms\"\nfall = 2\n";
        let mut edge = Start::with_routes(&routes).config(config).start();
        let listen = "127.0.0.1:4443".parse().expect("address");
        for client in 0..40 {
            assert_eq!(talk(listen, b"ping", 7).expect("served"), "backend", "client {client}");
        }
        if health_source == "tcp" {
            eventually("the checks fail it", || {
                edge.metric("sextant_edge_backends{state=\"down\"}") > 0.0
            });
        } else {
            assert!(edge.metric("sextant_edge_backend_ejections_total") > 0.0);
        }
        let reason = "no local address or port towards [::1]:7100";
        eventually("the reason is in the log", || edge.messages().contains(reason));
        edge.signal(rustix::process::Signal::TERM);
        assert!(edge.ended().success());
    }
}
