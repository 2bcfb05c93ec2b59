//! What is wrong before anybody is asked, and help.

use crate::home::{Ended, Home};

#[test]
fn usage_mistakes_are_exit_2_and_help_is_exit_0() {
    let home = Home::new();
    for arguments in [
        &["network"][..],
        &["network", "create", "Mesh"],
        &["network", "create", "mesh", "--prefix", "fd00::1/48"],
        &["token", "create", "--node", "n1", "--expires-in", "1"],
        &["token", "create", "--node", "n1", "--role", "king"],
        &["node", "remove", "n1", "--timeout", "1m"],
        &["status", "--api-url", "http://[::1]:1"],
        &["events", "--after", "-7"],
        &["events", "--after", "7", "--tail", "3"],
        &["deploy", "shop/web/production"],
        &["deploy", "shop/web/production", "web=1", "--timeout", "1m"],
        &["edge", "status", "--timeout", "1m"],
        &["route", "update", "shop.example.com"],
        &["route", "explain", "shop.example.com", "--local", "::1"],
        &["port", "policy", "set"],
        &["port", "grant", "shop/web/production", "5432"],
        &["workload", "health", "0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e", "starting"],
    ] {
        let ended = home.run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty());
    }
    assert_eq!(home.run(&["node", "remove", "--help"]).code, Some(0));
    assert_eq!(home.run(&["--version"]).code, Some(0));
}

#[test]
fn a_wrong_word_is_told_with_its_place_and_how_to_write_it() {
    let home = Home::new();
    let create = |rest: &[&'static str]| [&["route", "create", "a/b/c"], rest].concat();
    for (arguments, said) in [
        (vec!["app", "create", "shop"], "'<ORG/APP>': \"shop\" is not of the form ORG/APP"),
        (vec!["env", "show", "shop/web"], "ORG/APP/ENVIRONMENT, like shop/web/production"),
        (vec!["deploy", "a/b/c", "web"], "like web=2"),
        (create(&["--to", "web"]), "'--to <TYPE:PORT>': write a process type and its port"),
        (create(&["--to", "web:1", "--hostname", "*.*.x"]), "not a wildcard over one label"),
        (create(&["--to", "web:1", "--hostname", "[::1]"]), "is an IP address"),
        (create(&["--to", "web:1", "--health", "http"]), "use \"none\", \"tcp\" or \"tcp:PORT\""),
        (vec!["port", "policy", "set", "--allow", "9-1"], "write one port or FIRST-LAST"),
        (vec!["route", "explain", "192.0.2.1"], "or :PORT for a connection without a name"),
        (vec!["route", "explain", "x", "--edge", "https://e1"], "http://[::1]:9470"),
    ] {
        let ended = home.run(&arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
}

#[test]
fn shells_complete_every_group_of_commands() {
    let script = Home::new().run(&["completions", "bash"]).stdout;
    for word in ["environment", "deploy", "workload", "hostname", "route", "port", "edge"] {
        assert!(script.contains(&format!("sextant,{word})")), "{word}");
    }
}

#[test]
fn the_environment_does_not_show_as_required_in_a_usage_error() {
    let home = Home::new();
    let errors = |arguments: &[&str]| {
        let mut command = home.sextant(arguments);
        command.env("SEXTANT_API_URLS", "https://[::1]:1");
        command.env("SEXTANT_TOKEN_FILE", "token").env("SEXTANT_CA_FILE", "ca.crt");
        let ended = Ended::from(command.output().expect("started"));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.stderr
    };
    let missing = errors(&["network", "create"]);
    assert!(missing.contains("\nUsage: sextant network create [OPTIONS] <NAME>\n"), "{missing}");
    let conflict = errors(&["events", "--after", "7", "--tail", "3"]);
    assert!(conflict.contains("\nUsage: sextant events [OPTIONS]\n"), "{conflict}");
    for error in [missing, conflict] {
        assert!(!error.contains("--api-url"), "{error}");
    }
}

#[test]
fn an_unknown_event_type_is_refused_with_those_there_are() {
    let ended = Home::new().ask("https://[::1]:1", &["events", "--type", "nonsense"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for known in ["nonsense", "network-created", "node-released", "api-token-revoked"] {
        assert!(ended.stderr.contains(known), "{known}: {ended:?}");
    }
}
