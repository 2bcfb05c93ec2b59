use std::process::Command;

use super::*;

fn scratch(directory: &Path) -> ScratchPostgres {
    let options = PostgresOptions { durable: false, ..PostgresOptions::default() };
    ScratchPostgres::start(directory, options).expect("start")
}

fn value(url: &str, sql: &str) -> String {
    run(Command::new("psql").args(["-X", "-A", "-t", "-d", url, "-c", sql]))
        .expect("query")
        .trim()
        .to_owned()
}

#[test]
fn a_directory_may_have_a_space_and_a_plus_in_its_name() {
    let url = url(Path::new("/tmp/a b+c"), "x", SUPERUSER);
    assert_eq!(url, "postgresql:///x?host=%2Ftmp%2Fa%20b%2Bc&user=postgres");
}

#[test]
fn what_is_committed_survives_stop_and_kill() {
    let directory = tempfile::tempdir().expect("directory");
    let server = scratch(directory.path());
    server.create_database("some thing").expect("create");
    let url = server.url("some%20thing", SUPERUSER);
    psql(&url, &["CREATE TABLE t (n int)", "INSERT INTO t VALUES (41)"]).expect("write");
    server.stop().expect("stop");

    let server = scratch(directory.path());
    psql(&url, &["UPDATE t SET n = n + 1", "CHECKPOINT"]).expect("write");
    let pid = server.pid();
    server.kill().expect("kill");
    assert!(!process::runs(pid, "postgres"));

    // The dead server's process id may belong to another process by now.
    let mut other = Command::new("sleep").arg("100").spawn().expect("sleep");
    let lock = directory.path().join("data/postmaster.pid");
    let text = fs::read_to_string(&lock).expect("a killed server leaves its lock");
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    fs::write(&lock, format!("{}\n{rest}", other.id())).expect("write");

    let server = scratch(directory.path());
    other.kill().and_then(|()| other.wait()).expect("end");
    assert_eq!(value(&url, "SELECT n FROM t"), "42");
    assert_eq!(value(&url, "SHOW listen_addresses"), "");
    drop(server);
    let refused = psql(&url, &["SELECT 1"]).expect_err("stopped").to_string();
    assert!(refused.contains(".s.PGSQL.5432"), "{refused}");
}

#[test]
fn a_long_directory_gets_a_short_socket() {
    let directory = tempfile::tempdir().expect("directory");
    let deep = directory.path().join("d".repeat(120));
    let server = scratch(&deep);
    assert_eq!(value(&server.url("postgres", SUPERUSER), "SELECT 1"), "1");
    let socket_directory = server.socket_directory().to_owned();
    assert!(!socket_directory.starts_with(&deep));
    server.stop().expect("stop");
    assert!(!socket_directory.exists());
}

#[test]
fn a_server_that_does_not_come_up_shows_its_log() {
    let directory = tempfile::tempdir().expect("directory");
    scratch(directory.path()).stop().expect("stop");
    fs::write(directory.path().join("data/postgresql.conf"), "no_such_setting = 1\n")
        .expect("write");
    let error = ScratchPostgres::start(directory.path(), PostgresOptions::default())
        .expect_err("bad configuration")
        .to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[test]
fn each_test_database_is_empty_and_goes_with_its_value() {
    let (one, two) = (test_database().expect("one"), test_database().expect("two"));
    assert_ne!(one.url, two.url);
    psql(&one.url, &["CREATE TABLE secret (n int)"]).expect("the owner may");
    let refused = psql(&one.app_url, &["SELECT * FROM secret"]).expect_err("no privilege");
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    assert_eq!(value(&one.url_as(&one.role), "SELECT current_user"), one.role);
    let url = one.url.clone();
    drop(one);
    assert!(psql(&url, &["SELECT 1"]).is_err());
}
