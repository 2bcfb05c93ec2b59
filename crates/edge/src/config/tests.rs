use super::*;

fn load(text: &str) -> Result<EdgeConfig, String> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("edge.toml");
    std::fs::write(&path, format!("{text}\n")).expect("written");
    EdgeConfig::load(Some(&path), None, None).map_err(|error| error.to_string())
}

#[test]
fn the_command_line_alone_is_enough() {
    let config = EdgeConfig::load(None, Some(Path::new("r.toml")), Some("off")).expect("valid");
    assert_eq!(config.source, Source::File("r.toml".into()));
    assert_eq!(config.admin, Admin::Off);
    assert_eq!(config.on_route_removed, OnRemoved::Keep);
    assert_eq!(config.timeouts.hello, Duration::from_secs(5));
}

#[test]
fn a_short_file_follows_the_control_plane() {
    let config = load("control_plane.urls = [\"https://[fd5e::1]:7443\"]").expect("valid");
    let Source::ControlPlane(control) = config.source else { panic!("{:?}", config.source) };
    assert_eq!(control.listen_addresses, [IpAddr::from([0; 16])]);
    assert_eq!(control.state_dir, Path::new("/var/lib/sextant-edge"));
    assert_eq!(config.admin, Admin::Path("/run/sextant-edge/admin.sock".into()));
}

#[test]
fn every_mistake_is_named_at_once() {
    let error = load(
        "admin = \"sock\"\nproxy_protocol_from = [\"192.0.2.0/33\", \"fd00::/8\"]\n\
         on_route_removed = \"drain\"\naccess_log = \"log\"\n\
         [control_plane]\nurls = [\"http://[fd5e::1]\", \"https://192.0.2.1\"]\nstate_dir = \"s\"\n\
         listen_addresses = []\n\
         [limits]\nmax_prereads = 0\nsource_prefix_ipv6 = 129\n\
         [timeouts]\nhello = \"0s\"\n[health]\nfall = 0\neject_for = \"10m\"",
    )
    .expect_err("invalid");
    for what in [
        "line 1: admin \"sock\"",
        "192.0.2.0/33",
        "on_route_removed \"drain\"",
        "access_log \"log\"",
        "not https",
        "is IPv4",
        "state_dir \"s\" is relative",
        "listen_addresses is empty",
        "line 10: limits.max_prereads is 0",
        "limits.source_prefix_ipv6 is 129",
        "line 13: timeouts.hello is zero",
        "health.fall is 0",
        "health.eject_at_most is less",
    ] {
        assert!(error.contains(what), "{what} in {error}");
    }
}

#[test]
fn keys_that_cannot_be_read_hide_no_other_mistake() {
    let error = load(
        "route = \"r.toml\"\nworkers = 0\n[limits]\nmax_connections = \"many\"\nmax_prereads = 0\n\
         [timeouts]\nidle = 60\nhello = \"5\"",
    )
    .expect_err("invalid");
    for what in [
        "line 1: route: ",
        "line 2: workers: ",
        "line 4: limits.max_connections: ",
        "line 5: limits.max_prereads is 0",
        "line 7: timeouts.idle: ",
        "line 8: timeouts.hello: ",
    ] {
        assert!(error.contains(what), "{what} in {error}");
    }
}

#[test]
fn a_file_that_was_cut_short_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("edge.toml");
    std::fs::write(&path, "routes = \"r.toml\"\n[limits]\nmax_connections = 10").expect("written");
    let error = EdgeConfig::load(Some(&path), None, None).expect_err("cut").to_string();
    assert!(error.contains("line 3: does not end with a newline"), "{error}");
}

#[test]
fn a_relative_route_file_is_relative_to_the_file_that_names_it() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("edge.toml");
    std::fs::write(&path, "routes = \"r.toml\"\n").expect("written");
    let config = EdgeConfig::load(Some(&path), None, None).expect("valid");
    assert_eq!(config.source, Source::File(folder.path().join("r.toml")));
    let given = Some(Path::new("other.toml"));
    let config = EdgeConfig::load(Some(&path), given, None).expect("valid");
    assert_eq!(config.source, Source::File("other.toml".into()), "as on any command line");
}

#[test]
fn addresses_are_taken_for_what_they_are() {
    let config = load(
        "proxy_protocol_from = [\"::ffff:192.0.2.7\", \"::ffff:192.0.2.0/120\", \"::ffff:0:0/96\", \"::/0\"]\n\
         [control_plane]\nurls = [\"https://[fd5e::1]\"]\nlisten_addresses = [\"::\", \"::ffff:192.0.2.1\"]",
    )
    .expect("valid");
    let prefixes: Vec<String> = config.proxy_protocol_from.iter().map(Prefix::to_string).collect();
    assert_eq!(prefixes, ["192.0.2.7/32", "192.0.2.0/24", "0.0.0.0/0", "::/0"]);
    let Source::ControlPlane(control) = config.source else { panic!("{:?}", config.source) };
    assert_eq!(control.listen_addresses, [IpAddr::from([0; 16]), IpAddr::from([192, 0, 2, 1])]);

    let error = load(
        "[control_plane]\nurls = [\"https://[fd5e::1]\"]\n\
         listen_addresses = [\"192.0.2.1\", \"::ffff:192.0.2.1\", \"ff02::1\"]",
    )
    .expect_err("invalid");
    for what in [
        "control_plane.listen_addresses: 192.0.2.1 is listed twice",
        "control_plane.listen_addresses: ff02::1 is a multicast address",
    ] {
        assert!(error.contains(what), "{what} in {error}");
    }
}

#[test]
fn unknown_keys_and_wrong_types_are_mistakes() {
    let base = "routes = \"r.toml\"\n";
    for (extra, what) in [
        ("colour = 1", "colour"),
        ("[limits]\nmax = 1", "max"),
        ("[timeouts]\nhello = \"soon\"", "duration \"soon\""),
        ("workers = 0", "workers"),
        ("control_plane.urls = [\"https://[fd5e::1]\"]", "both given"),
    ] {
        let error = load(&format!("{base}{extra}")).expect_err(extra);
        assert!(error.contains(what), "{what} in {error}");
    }
    assert!(load("").expect_err("nothing").contains("neither a route file"));
}
