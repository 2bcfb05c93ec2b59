use std::net::{TcpListener, TcpStream};

use crate::support::{Backend, Edge, Port, Start, eventually, raw, tls};

#[test]
fn it_says_where_a_connection_goes_and_why() {
    let (backend, port, other) = (Backend::start("backend"), Port::reserve(), Port::reserve());
    let routes = [
        tls(&port, "a.example", &backend),
        tls(&port, "*.example", &backend),
        raw(&other, &backend),
    ];
    let edge = Edge::with_routes(&routes.concat());
    let number = port.address.port();
    let ask = |query: &str| edge.json(&format!("/explain?port={number}&{query}"));

    let exact = ask("host=A.example.&from=2001:db8::1");
    assert_eq!(exact["served"], true, "{exact}");
    assert_eq!(exact["backend"], backend.address.to_string());
    assert_eq!(exact["route"]["hostname"], "a.example");
    assert_eq!(exact["source"]["connections"], 0);
    assert_eq!(ask("host=b.example")["route"]["hostname"], "*.example");
    // No route may have such a name, but a client may ask for it.
    assert_eq!(ask("host=A_b.example")["route"]["hostname"], "*.example");
    for (query, why) in [
        ("host=c.b.example", "no route has \"c.b.example\""),
        ("", "without one, none of 2 is taken"),
        ("host=192.0.2.1", "an address in place of the name counts as no name"),
        ("local=192.0.2.1&host=a.example", "no route listens on 192.0.2.1"),
    ] {
        let answer = ask(query);
        assert_eq!(answer["served"], false, "{query}");
        assert!(answer["why"].to_string().contains(&why.replace('"', "\\\"")), "{why} in {answer}");
    }
    let raw = edge.json(&format!("/explain?port={}&host=any.example", other.address.port()));
    assert_eq!(raw["served"], true, "{raw}");
    assert!(edge.get("/explain?port=1").contains("no route listens on port 1"));
    for bad in ["/explain?port=0", "/explain?from=x", "/explain?host=192.0.2", "/explain?x=1"] {
        assert!(serde_json::from_str::<serde_json::Value>(&edge.get(bad)).is_err(), "{bad}");
    }
    assert_eq!(edge.json("/routes").as_array().map(Vec::len), Some(3));
}

#[test]
fn where_it_arrives_depends_on_the_family_of_the_client() {
    let (backend, port) = (Backend::start("backend"), Port::reserve_both());
    let number = port.address.port();
    let route = |name: &str, address: &str| {
        let (listen, backend) = (port.at(address), backend.address);
        format!(
            "[[routes]]\nname = \"{name}\"\nlisten = \"{listen}\"\nbackends = [\"{backend}\"]\n"
        )
    };
    // With a route for it, the socket of IPv6 leaves IPv4 alone, whether or not that port is to be had.
    let taken = TcpListener::bind(port.at("127.0.0.1")).expect("bound");
    let edge = Edge::with_routes(&format!("{}{}", route("six", "::"), route("four", "0.0.0.0")));
    let ask = |query: &str| {
        let answer = edge.json(&format!("/explain?port={number}&{query}"));
        let open = answer["listener"]["open"].as_bool().expect("listener");
        (answer["route"]["key"].as_str().expect("route").to_owned(), open)
    };
    let (six, four) = (("six".to_owned(), true), |open| ("four".to_owned(), open));
    for query in ["", "from=2001:db8::9", "local=::1"] {
        assert_eq!(ask(query), six, "{query}");
    }
    for query in ["from=192.0.2.9", "from=::ffff:192.0.2.9", "local=127.0.0.1"] {
        assert_eq!(ask(query), four(false), "{query}");
    }
    drop(taken);
    eventually("the port is free", || ask("from=192.0.2.9") == four(true));

    edge.set_routes(&route("six", "::"));
    edge.becomes("one route", |status| status["routes"] == 1);
    for query in ["", "from=2001:db8::9", "from=192.0.2.9", "local=127.0.0.1"] {
        eventually("one socket for both", || ask(query) == six);
    }
}

#[test]
fn it_says_when_too_many_are_not_routed_yet() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let routes = tls(&port, "a.example", &backend);
    let edge = Start::with_routes(&routes).config("[limits]\nmax_prereads = 1\n").start();
    let path = format!("/explain?port={}&host=a.example", port.address.port());
    assert_eq!(edge.json(&path)["served"], true);
    let _silent = TcpStream::connect(port.address).expect("connected");
    eventually("the place is taken", || edge.json(&path)["served"] == false);
    let why = edge.json(&path)["why"].to_string();
    assert!(why.contains("1 connections that are not routed yet"), "{why}");
}
