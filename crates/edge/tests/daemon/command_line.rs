use crate::support::Start;

#[test]
fn a_bad_route_file_is_refused_at_the_start_with_every_mistake() {
    let routes = "[[routes]]\nlisten = \"[::]:443\"\nhostname = \"*.*.example\"\n\
                  backends = [\"[fd00::1]:0\"]\n\
                  [[routes]]\nlisten = \"[::]:443\"\nprotocol_hint = \"http_terminate\"\n\
                  backends = [\"[fd00::1]:1\"]\ncolour = 1\n";
    let (status, _, errors) = Start::with_routes(routes).output();
    assert_eq!(status.code(), Some(2), "{errors}");
    for what in [
        "line 3: route 1 (\"*.*.example\"): hostname: ",
        "line 4: route 1 (\"*.*.example\"): backends: \"[fd00::1]:0\" has port 0; use 1 to 65535",
        "line 7: route 2: protocol_hint: \"http_terminate\" is reserved",
        "line 9: route 2: key \"colour\" is unknown",
    ] {
        assert!(errors.contains(what), "{what} in {errors}");
    }
}

#[test]
fn a_check_says_what_it_found_and_changes_nothing() {
    let route = |listen: &str, rest: &str| {
        format!("[[routes]]\nlisten = \"{listen}\"\nbackends = [\"[fd00::1]:1\"]\n{rest}\n")
    };
    let good = [
        route("[::]:443", "hostname = \"a.example\""),
        route("[::]:443", "hostname = \"*.b_c.example\""),
        route("[::]:25", "name = \"mail\""),
    ];
    let (status, said, errors) = Start::with_routes(&good.concat()).argument("--check").output();
    assert!(status.success() && errors.is_empty(), "{errors}");
    for what in [
        "routes.toml: 3 routes on 2 listeners\n",
        "\n  [::]:25 (raw): mail\n",
        "\n  [::]:443 (tls): a.example, *.b_c.example\n",
    ] {
        assert!(said.contains(what), "{what} in {said}");
    }
    let (status, said, errors) = Start::with_routes("listen = 1").argument("--check").output();
    assert_eq!((status.code(), said.as_str()), (Some(2), ""));
    assert!(errors.contains("line 1: key \"listen\" is unknown"), "{errors}");
}

#[test]
fn mistakes_in_the_configuration_are_named_at_once() {
    let start = Start::with_routes("routes = []\n").config("colour = 1\n");
    let (status, _, errors) = start.output();
    assert_eq!(status.code(), Some(2));
    assert!(errors.contains("edge.toml") && errors.contains("colour"), "{errors}");
    let start = Start::with_config("on_route_removed = \"x\"\n[limits]\nmax_prereads = 0\n");
    let (status, _, errors) = start.output();
    assert_eq!(status.code(), Some(2));
    for what in ["neither a route file", "on_route_removed \"x\"", "limits.max_prereads is 0"] {
        assert!(errors.contains(what), "{what} in {errors}");
    }
}

#[test]
fn a_missing_route_file_is_named() {
    let start = Start::with_routes("routes = []\n");
    std::fs::remove_file(start.path("routes.toml")).expect("removed");
    let (status, _, errors) = start.output();
    assert_eq!(status.code(), Some(2));
    assert!(errors.contains("routes.toml\" cannot be read"), "{errors}");
}

#[test]
fn a_check_warns_of_what_is_probably_not_meant() {
    let route = |listen: &str, name: &str| {
        format!(
            "[[routes]]\nlisten = \"{listen}\"\nhostname = \"{name}\"\nbackends = [\"[fd00::1]:1\"]\n"
        )
    };
    let routes = [
        route("[::]:443", "a.example"),
        route("192.0.2.1:443", "b.example"),
        route("192.0.2.1:443", "c.example"),
        route("[::]:80", "a.example"),
    ];
    let (status, said, errors) = Start::with_routes(&routes.concat()).argument("--check").output();
    assert!(status.success(), "{errors}");
    assert!(said.contains("4 routes on 3 listeners"), "{said}");
    for what in [
        "line 6: route 2 (\"b.example\"): listen: whoever connects to 192.0.2.1:443 finds the routes of this address alone, and none of those of [::]:443",
        "line 15: route 4 (\"a.example\"): hostname: expects TLS on port 80",
    ] {
        assert!(errors.contains(what), "{what} in {errors}");
    }
    assert_eq!(errors.matches("warning: ").count(), 2, "{errors}");
}

#[test]
fn a_check_refuses_routes_that_lead_back_to_the_edge() {
    let routes = "[[routes]]\nlisten = \"[::]:4443\"\nbackends = [\"[fd00::1]:1\", \"127.0.0.1:4443\"]\n\
                  [[routes]]\nlisten = \"192.0.2.1:25\"\nbackends = [\"192.0.2.1:25\"]\n";
    let (status, _, errors) = Start::with_routes(routes).argument("--check").output();
    assert_eq!(status.code(), Some(2));
    for what in [
        "line 3: route 1: backends: 127.0.0.1:4443 is where [::]:4443 of this file listens",
        "line 6: route 2: backends: 192.0.2.1:25 is where 192.0.2.1:25 of this file listens",
    ] {
        assert!(errors.contains(what), "{what} in {errors}");
    }
}

#[test]
fn without_arguments_both_ways_to_start_are_named() {
    let edge = std::process::Command::new(env!("CARGO_BIN_EXE_sextant-edge")).output();
    let errors = String::from_utf8(edge.expect("started").stderr).expect("text");
    assert!(errors.contains("--routes") && errors.contains("--config"), "{errors}");
}
