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
    let good = "[[routes]]\nlisten = \"[::]:443\"\nbackends = [\"[fd00::1]:1\"]\n";
    let (status, said, errors) = Start::with_routes(good).argument("--check").output();
    assert!(status.success() && errors.is_empty(), "{errors}");
    assert!(said.contains("routes.toml: 1 routes"), "{said}");
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
