use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
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
