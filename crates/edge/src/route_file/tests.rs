use sextant_model::{
    HostPattern,
    routing::{HealthSource, Matching},
};

use super::*;

const GOOD: &str = r#"
[[routes]]
listen = "[::]:443"
hostname = "Shop.Example.com."
backends = ["[fd00::1]:8443", "192.0.2.1:443"]

[[routes]]
name = "metrics"
listen = "[::]:9000"
backends = ["[fd00::1]:9000"]
proxy_protocol = true
health_source = "tcp:9001"
max_connections = 10

[[routes]]
listen = "[::]:80"
hostname = "*.example.com"
match_host = true
backends = ["[fd00::1]:80"]

[[listeners]]
listen = "[::]:443"
accept_proxy_from = ["fd00::/8", "192.0.2.7"]
"#;

fn mistakes(text: &str) -> Vec<String> {
    parse(text).expect_err(text).iter().map(ToString::to_string).collect()
}

/// A file of one route with `fields` besides a good `listen`.
fn mistake(fields: &str) -> String {
    mistakes(&format!("[[routes]]\nlisten = \"[::]:443\"\n{fields}")).join("; ")
}

#[test]
fn a_good_file_says_what_is_served() {
    let file = parse(GOOD).expect("valid");
    let [shop, metrics, web] = &file.routes[..] else { panic!("{file:?}") };
    assert_eq!(shop.key.to_string(), "[::]:443/shop.example.com");
    let name = HostPattern::new("shop.example.com").expect("name");
    assert_eq!(shop.matching, Matching::Sni(name));
    assert_eq!(shop.backends.len(), 2);
    assert_eq!(metrics.key.to_string(), "metrics");
    assert_eq!(metrics.matching, Matching::Whole);
    assert_eq!(metrics.health_source, HealthSource::Tcp { port: Some(9001) });
    assert_eq!((metrics.proxy_protocol, metrics.max_connections), (true, Some(10)));
    assert!(matches!(web.matching, Matching::RequestHost(_)));
    let listen = "[::]:443".parse().expect("address");
    assert_eq!(file.accept_proxy_from[&listen].len(), 2);
}

#[test]
fn every_bad_field_says_what_is_wrong_and_what_to_do() {
    const BACKENDS: &str = "backends = [\"[fd00::1]:1\"]\n";
    for (fields, what) in [
        ("hostname = \"a.example\"", "line 1: route 1 (\"a.example\"): backends: is missing"),
        (
            "hostname = \"a.example\"\nbackends = []",
            "line 4: route 1 (\"a.example\"): backends: is empty",
        ),
        ("backends = [\"[fd00::1]:0\"]", "port 0"),
        ("backends = [\"[fd00::1]\"]", "is no address and port"),
        ("backends = [\"fd00::1\"]", "has no port; write \"[fd00::1]:443\""),
        (
            "backends = [\"::1:443\"]",
            "\"::1:443\" is an address without a port; write \"[::1]:443\" for that port",
        ),
        ("backends = [\"[::]:1\"]", "is no address of a backend"),
        ("backends = [\"[::1]:1\", \"[::1]:1\"]", "is listed twice"),
        ("backends = \"[::1]:1\"", "is of type string; give a list of texts"),
        ("backends = [1]", "backends: is of type integer; give a text"),
    ] {
        let found = mistake(fields);
        assert!(found.contains(what), "{what} in {found}");
    }
    for (fields, what) in [
        (
            "hostname = \"*.*.example\"",
            "line 4: route 1 (\"*.*.example\"): hostname: hostname \"*.*.example\" is not a wildcard over one label",
        ),
        ("hostname = \"192.0.2.1\"", "is an IP address; give a DNS name"),
        ("hostname = \"https://A.example/x\"", "is a URL; give the name alone, like \"a.example\""),
        ("hostname = \"a.example:443\"", "has a port; give the name alone, \"a.example\""),
        ("hostname = 7", "is of type integer; give a text"),
        (
            "protocol_hint = \"tls_passthrough\"",
            "hostname: is missing, and \"tls_passthrough\" needs one",
        ),
        ("protocol_hint = \"http_terminate\"\nhostname = \"a.example\"", "is reserved"),
        (
            "protocol_hint = \"quic\"",
            "\"quic\" does not exist; use \"tls_passthrough\" or \"tcp_raw\"",
        ),
        ("protocol_hint = \"tcp_raw\"\nhostname = \"a.example\"", "match_host = true"),
        ("match_host = true", "hostname: is missing"),
        (
            "match_host = true\nhostname = \"a.b\"\nprotocol_hint = \"tls_passthrough\"",
            "told apart by their SNI",
        ),
        ("health_source = \"http\"", "health_source: \"http\" does not exist"),
        ("max_connections = 0", "is 0; use 1 to"),
        ("proxy_protocol = \"v2\"", "is of type string; give true or false"),
        ("colour = 1", "key \"colour\" is unknown; known are name, listen"),
        ("name = \"a b\"", "\"a b\" is no name"),
    ] {
        let found = mistake(&format!("{BACKENDS}{fields}"));
        assert!(found.contains(what), "{what} in {found}");
    }
}

#[test]
fn an_address_of_one_interface_is_refused_where_its_interface_would_be_lost() {
    let found = mistakes("[[routes]]\nlisten = \"[fe80::1%2]:443\"\nbackends = [\"[::1]:1\"]\n");
    assert!(
        matches!(&found[..], [one] if one.contains("listen: [fe80::1%2]:443 is an address of one interface")),
        "{found:?}"
    );
}

#[test]
fn mapped_prefixes_are_those_of_ipv4() {
    let text = GOOD.replace("192.0.2.7", "::ffff:192.0.2.0/120");
    let file = parse(&text).expect("valid");
    let listen = "[::]:443".parse().expect("address");
    assert_eq!(file.accept_proxy_from[&listen][1].to_string(), "192.0.2.0/24");
}

#[test]
fn routes_that_cannot_stand_beside_each_other_are_refused() {
    let route = |listen: &str, rest: &str| {
        format!("[[routes]]\nlisten = \"{listen}\"\nbackends = [\"[::1]:1\"]\n{rest}\n")
    };
    let a = "hostname = \"a.example\"";
    for (first, second, what) in [
        (
            route("[::]:443", a),
            route("[::]:443", "hostname = \"A.example\""),
            "hostname \"a.example\" on [::]:443 is taken by route \"[::]:443/a.example\"",
        ),
        (route("[::]:443", a), route("[::]:443", ""), "is told apart in another way"),
        (route("[::]:25", ""), route("[::]:25", ""), "needs the port for itself"),
        (route("[::]:25", "name = \"x\""), route("[::]:26", "name = \"x\""), "names are unique"),
        (route("[::]:25", ""), route("[::]:0", ""), "port 0"),
        (
            route("[::]:25", ""),
            "[[listeners]]\nlisten = \"[::]:26\"\naccept_proxy_from = []".into(),
            "no route listens on [::]:26",
        ),
        (
            format!("{}{}", route("[::]:25", ""), route("[::1]:25", "")),
            "[[listeners]]\nlisten = \"[::1]:25\"\naccept_proxy_from = []".into(),
            "[::1]:25 shares the socket of every address",
        ),
        (route("[::]:25", ""), "colour = 1".into(), "unknown"),
    ] {
        let found = mistakes(&format!("{first}{second}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(what), "{what} in {found:?}");
    }
}

#[test]
fn a_mistake_names_the_line_of_what_is_wrong() {
    let route = "[[routes]]\nname = \"a\"\nlisten = \"[::]:443\"\nhostname = \"a.example\"\n\
                 backends = [\"[::1]:1\"]\n";
    for (second, place) in [
        (
            "[[routes]]\nlisten = \"[::]:443\"\nhostname = \"a.example\"\nbackends = [\"[::1]:1\"]",
            "line 8: route 2 (\"a.example\"): hostname: ",
        ),
        (
            "[[routes]]\nbackends = [\"[::1]:1\"]\nlisten = \"[::]:443\"",
            "line 8: route 2: listen: ",
        ),
        (
            "[[routes]]\nlisten = \"[::]:444\"\nbackends = [\"[::1]:1\"]\nname = \"a\"",
            "line 9: route 2 (\"a\"): name: ",
        ),
        (
            "[[routes]]\nlisten = \"[::]:444\"\nbackends = [\n  \"[::1]:1\",\n  \"[::1]:0\",\n]",
            "line 10: route 2: backends: ",
        ),
        (
            "[[routes]]\nlisten = \"[::]:444\"\nbackends = [\n  \"[::1]:1\",\n  \"[::1]:1\",\n]",
            "line 10: route 2: backends: [::1]:1 is listed twice",
        ),
        (
            "[[listeners]]\nlisten = \"[::]:443\"\naccept_proxy_from = [\n  \"fd00::/8\",\n  \"x\",\n]",
            "line 10: listener 1: accept_proxy_from: ",
        ),
        (
            "[[listeners]]\naccept_proxy_from = []\nlisten = \"[::]:444\"",
            "line 8: listener 1: listen: no route listens on [::]:444",
        ),
    ] {
        let found = mistakes(&format!("{route}{second}\n"));
        assert!(matches!(&found[..], [one] if one.starts_with(place)), "{place} in {found:?}");
    }
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_file() {
    let found = mistakes(
        "speed = 1\n[[routes]]\nlisten = \"[::]:443\"\nbackends = []\n[[routes]]\nlisten = \"443\"\nbackends = [\"[::1]:1\"]\n",
    );
    let lines: Vec<&str> = found.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(lines, ["line 1", "line 4", "line 6"], "{found:?}");
}

#[test]
fn what_is_not_toml_names_the_line() {
    let found = mistakes("[[routes]]\nlisten = \n");
    assert!(found[0].starts_with("line 2: "), "{found:?}");
}

#[test]
fn a_file_that_serves_nothing_says_so() {
    assert_eq!(parse("routes = []\n").expect("meant"), RouteFile::default());
    for cut_short in ["", "\n", "# routes of host-1\n"] {
        let found = mistakes(cut_short);
        assert_eq!(
            found,
            ["line 1: there is no [[routes]]; write \"routes = []\" to serve nothing"]
        );
    }
}

#[test]
fn a_place_that_is_taken_twice_is_named_beside_other_mistakes() {
    let route = "[[routes]]\nlisten = \"[::]:443\"\nhostname = \"a.example\"\n";
    let found = mistakes(&format!("{route}backends = []\n{route}backends = [\"[::1]:1\"]\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("backends: is empty") && found[1].contains("is taken by route"));
}

#[test]
fn names_with_underscores_and_hyphens_anywhere_may_have_routes() {
    for name in ["my_app.example.com", "foo-.example.com", "*.-x.example"] {
        let text = format!(
            "[[routes]]\nlisten = \"[::]:443\"\nhostname = \"{name}\"\nbackends = [\"[::1]:1\"]\n"
        );
        let file = parse(&text).expect(name);
        assert_eq!(file.routes[0].key.to_string(), format!("[::]:443/{name}"));
    }
}

#[test]
fn a_backend_that_is_a_listener_of_the_file_is_refused() {
    let file = |listen: &str, backend: &str| {
        format!("[[routes]]\nlisten = \"{listen}\"\nbackends = [\"[fd00::1]:1\",\n\"{backend}\"]\n")
    };
    for (listen, backend) in [
        ("127.0.0.1:4443", "127.0.0.1:4443"),
        ("[::]:4443", "127.0.0.1:4443"),
        ("[::]:4443", "127.0.0.9:4443"),
        ("[::]:4443", "[::1]:4443"),
        ("0.0.0.0:4443", "127.0.0.1:4443"),
        ("0.0.0.0:4443", "[::ffff:127.0.0.1]:4443"),
        ("192.0.2.1:4443", "192.0.2.1:4443"),
    ] {
        let found = mistakes(&file(listen, backend)).join("; ");
        assert!(found.starts_with("line 4: route 1: backends: "), "{found}");
        assert!(found.contains("connections would come back for ever"), "{found}");
    }
    for (listen, backend) in [
        ("[::]:4443", "127.0.0.1:4444"),
        ("[::]:4443", "192.0.2.1:4443"),
        ("0.0.0.0:4443", "[::1]:4443"),
        ("127.0.0.1:4443", "127.0.0.2:4443"),
    ] {
        parse(&file(listen, backend)).expect("no loop");
    }
    // Not only the route's own listener: the next one may lead back.
    let two = format!("{}{}", file("[::1]:1000", "[::1]:2000"), file("[::1]:2000", "[::1]:1000"));
    assert_eq!(mistakes(&two).len(), 2);
}

#[test]
fn a_file_that_does_not_end_with_a_newline_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("routes.toml");
    let cut = &GOOD[..GOOD.find("0\n\n[[routes]]\nlisten = \"[::]:80\"").expect("a place")];
    assert!(cut.ends_with("max_connections = 1") && parse(cut).is_ok());
    std::fs::write(&path, cut).expect("written");
    let error = load(&path).expect_err("cut").to_string();
    assert!(error.contains("line 13: does not end with a newline"), "{error}");
    std::fs::write(&path, format!("{cut}\n")).expect("written");
    load(&path).expect("whole");
}
