use crate::support::{Backend, Edge, Port, raw, tls};

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
    for (query, why) in [
        ("host=c.b.example", "no route has \"c.b.example\""),
        ("", "without one, none of 2 is taken"),
        ("local=192.0.2.1&host=a.example", "no route listens on 192.0.2.1"),
    ] {
        let answer = ask(query);
        assert_eq!(answer["served"], false, "{query}");
        assert!(answer["why"].to_string().contains(&why.replace('"', "\\\"")), "{why} in {answer}");
    }
    let raw = edge.json(&format!("/explain?port={}&host=any.example", other.address.port()));
    assert_eq!(raw["served"], true, "{raw}");
    assert!(edge.get("/explain?port=1").contains("no route listens on port 1"));
    for bad in ["/explain?port=0", "/explain?from=x", "/explain?host=192.0.2.1", "/explain?x=1"] {
        assert!(serde_json::from_str::<serde_json::Value>(&edge.get(bad)).is_err(), "{bad}");
    }
    assert_eq!(edge.json("/routes").as_array().map(Vec::len), Some(3));
}
