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
        &["events", "-n", "3", "--since", "1h"],
        &["node", "list", "-o", "yaml"],
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
        (
            create(&["--to", "web"]),
            "'--to <TYPE:PORT>': \"web\" is not complete; write a process type and its port",
        ),
        (create(&["--to", "web:1", "--hostname", "*.*.x"]), "not a wildcard over one label"),
        (create(&["--to", "web:1", "--hostname", "[::1]"]), "is an IP address"),
        (create(&["--to", "web:1", "--health", "http"]), "use \"none\", \"tcp\" or \"tcp:PORT\""),
        (vec!["port", "policy", "set", "--allow", "9-1"], "write one port or FIRST-LAST"),
        (vec!["route", "explain", "192.0.2.1"], "or :PORT for a connection without a name"),
        (vec!["route", "explain", "https://h/"], "\"https://h/\" is a URL; give h"),
        (vec!["route", "explain", "x", "--from", "home"], "\"home\" is not an address"),
        (
            vec!["hostname", "claim", "a/b/c", "https://shop.example.com/"],
            "\"https://shop.example.com/\" is a URL; give shop.example.com",
        ),
        (
            create(&["--to", "web:1", "--hostname", "shop.example.com:443"]),
            "\"shop.example.com:443\" has a port; give shop.example.com",
        ),
        (create(&["--to", "web:https"]), "\"https\" is not a port; give a number from 1 to 65535"),
        (create(&["--to", "web:1", "--port", "0"]), "\"0\" is not a port"),
        (vec!["port", "revoke", "a/b/c", "ssh"], "\"ssh\" is not a port"),
        (vec!["deploy", "a/b/c", "web=100000"], "100000 is too many; at most 100"),
        (vec!["deploy", "a/b/c", "web=two"], "\"two\" is not a number from 1 to 100"),
        (vec!["token", "create", "--node", "n", "--expires-in", "31d"], "give 1m to 30d"),
        (vec!["api-token", "create", "x", "--role", "viewer", "--expires-in", "9s"], "1m to 3650d"),
        (vec!["node", "remove", "x", "--wait", "--timeout", "5"], "\"5\" is not understood"),
        (vec!["node", "set-endpoint", "x", "192.0.2.1:1"], "\"192.0.2.1:1\" is IPv4"),
        (vec!["release", "show", "a/b/c", "latest"], "\"latest\" is not the number of a release"),
        (vec!["events", "-n", "all"], "\"all\" is not a whole number from 1 up"),
        (vec!["events", "--since", "noon"], "\"noon\" is neither a span of time like 90s"),
        (vec!["network", "create", "m", "--prefix", "x"], "write it like \"fd5e:c7a1::/48\""),
        (vec!["route", "explain", "x", "--edge", "https://e1"], "http://[::1]:9470"),
    ] {
        let ended = home.run(&arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
        assert!(ended.stderr.contains("try '-h'"), "the short help is the useful one: {ended:?}");
    }
}

#[test]
fn words_of_other_programs_work_or_lead_to_ours() {
    let home = Home::new();
    for arguments in [
        &["nodes", "ls", "-h"][..],
        &["node", "rm", "-h"],
        &["node", "delete", "-h"],
        &["network", "rm", "-h"],
        &["token", "rm", "-h"],
        &["token", "ls", "-h"],
        &["route", "remove", "-h"],
        &["workload", "rm", "-h"],
        &["context", "ls", "-h"],
        &["port", "ls", "-h"],
        &["logs", "-h"],
        &["status", "-w", "-h"],
        &["node", "list", "-o", "wide", "-h"],
    ] {
        let ended = home.run(arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
    for arguments in [&["get", "nodes"], &["list", "nodes"]] {
        let ended = home.run(arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("sextant node list"), "{ended:?}");
    }
}

#[test]
fn the_version_names_the_commit() {
    let home = Home::new();
    let said = home.run(&["--version"]).stdout;
    let commit = sextant_daemon::COMMIT;
    assert!(!commit.is_empty());
    assert_eq!(said, format!("sextant {} ({commit})\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(home.run(&["version"]).stdout, said);
    let json: serde_json::Value =
        serde_json::from_str(&home.run(&["version", "-o", "json"]).stdout).expect("JSON");
    assert_eq!(json["commit"], commit);
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("man")).expect("folder");
    let ended = home.run(&["man", "man"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for (page, said) in [
        ("sextant.1", "command line of Sextant"),
        ("sextant-node-remove.1", "sextant node remove worker"),
        ("sextant-options.1", "interrupted by Ctrl"),
    ] {
        let text = std::fs::read_to_string(home.path().join("man").join(page)).expect(page);
        assert!(text.replace('\\', "").contains(said), "{page}: {text}");
    }
    assert_eq!(home.run(&["man", "nowhere"]).code, Some(2));
}

/// What bash would offer for the last of `words`.
fn offered(home: &Home, words: &[&str]) -> Vec<String> {
    let mut command = home.sextant(&[&["--", "sextant"], words].concat());
    command
        .env("SEXTANT_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_SPACE", "false");
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    let ended =
        Ended::from(command.env("_CLAP_COMPLETE_COMP_TYPE", "9").output().expect("started"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    ended.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn shells_complete_commands_and_names() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run(&["completions", shell]);
        assert!(script.code == Some(0) && script.stdout.contains("SEXTANT_COMPLETE"), "{script:?}");
    }
    let groups = offered(&home, &[""]);
    for word in ["env", "deploy", "workload", "hostname", "route", "port", "edge"] {
        assert!(groups.iter().any(|offered| offered == word), "{word}: {groups:?}");
    }
    assert_eq!(offered(&home, &["envi"]), ["environment"]);
    assert_eq!(offered(&home, &["node", "set"]), ["set-endpoint"]);
    home.ask("https://[::1]:1", &["context", "add", "prod"]);
    assert_eq!(offered(&home, &["context", "use", "p"]), ["prod"]);
    // Nobody answers: a prompt is no place for errors.
    assert_eq!(offered(&home, &["node", "show", "w"]), [""; 0]);
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
