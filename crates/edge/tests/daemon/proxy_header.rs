use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use sextant_edge::proxy_protocol;

use crate::support::{Backend, Edge, Port, raw, talk};

#[test]
fn a_listener_takes_headers_from_those_it_trusts_and_from_nobody_else() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let route = format!("{}proxy_protocol = true\n", raw(&port, &backend));
    let trusting = |prefix: &str| {
        format!("{route}[[listeners]]\nlisten = \"{port}\"\naccept_proxy_from = [\"{prefix}\"]\n")
    };
    let edge = Edge::with_routes(&trusting("::1"));
    let client: SocketAddr = "[2001:db8::7]:1234".parse().expect("address");
    let arrived: SocketAddr = "[2001:db8::1]:443".parse().expect("address");
    let header = proxy_protocol::encode(client, arrived);
    let header = header.as_bytes();

    // The backend echoes the header that it was sent: the one that came in.
    let mut stream = TcpStream::connect(port.address).expect("connected");
    stream.write_all(header).expect("sent");
    stream.write_all(b"ping").expect("sent");
    let mut answer = vec![0; 7 + header.len() + 4];
    stream.read_exact(&mut answer).expect("served");
    assert_eq!(&answer[7..], [header, b"ping"].concat());
    drop(stream);

    // A change of the trust alone reaches the listener that is open.
    edge.set_routes(&trusting("2001:db8::/32"));
    edge.becomes("the second file", |status| status["revision"] == 2);
    let mut stream = TcpStream::connect(port.address).expect("connected");
    stream.write_all(b"ping").expect("sent");
    let mut answer = [0; 7 + 16 + 36];
    stream.read_exact(&mut answer).expect("served");
    let from = &answer[7 + 16..7 + 32];
    assert_eq!(from, std::net::Ipv6Addr::LOCALHOST.octets(), "who really connected");
    edge.set_routes(&route);
    edge.becomes("the third file", |status| status["revision"] == 3);
    assert!(talk(port.address, b"ping", 7 + 52).is_ok());
}

/// Connects over IPv4, sends `first`, and says what the backend got.
fn over_ipv4(port: &Port, first: &[u8], length: usize) -> (SocketAddr, Vec<u8>) {
    let mut stream = TcpStream::connect(port.at("127.0.0.1")).expect("connected");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("option");
    stream.write_all(first).expect("sent");
    let mut answer = vec![0; 7 + length];
    stream.read_exact(&mut answer).expect("served");
    (stream.local_addr().expect("address"), answer.split_off(7))
}

#[test]
fn a_client_of_ipv4_is_told_to_an_ipv6_backend_as_what_it_is() {
    let (backend, port) = (Backend::start("backend"), Port::reserve_both());
    let listen = port.at("::");
    let route = format!(
        "[[routes]]\nlisten = \"{listen}\"\nbackends = [\"{}\"]\nproxy_protocol = true\n",
        backend.address
    );
    let edge = Edge::with_routes(&route);
    let (client, told) = over_ipv4(&port, b"ping", 28 + 4);
    let expected = proxy_protocol::encode(client, port.at("127.0.0.1"));
    assert_eq!(told, [expected.as_bytes(), b"ping"].concat());
    assert_eq!(told[13], 0x11, "TCP over IPv4");
    assert_eq!(told[16..20], Ipv4Addr::LOCALHOST.octets());

    // Whoever is trusted to say for whom it connects is known by its IPv4 address, too.
    let forwarded = proxy_protocol::encode(
        "203.0.113.9:4711".parse().expect("address"),
        "192.0.2.1:443".parse().expect("address"),
    );
    let forwarded = [forwarded.as_bytes(), b"ping"].concat();
    for (round, trusted) in ["127.0.0.0/8", "::ffff:127.0.0.1"].into_iter().enumerate() {
        edge.set_routes(&format!(
            "{route}[[listeners]]\nlisten = \"{listen}\"\naccept_proxy_from = [\"{trusted}\"]\n"
        ));
        edge.becomes("the next file", |status| status["revision"] == round + 2);
        let (_, told) = over_ipv4(&port, &forwarded, forwarded.len());
        assert_eq!(told, forwarded, "{trusted}");
    }
}
