//! What `init` and `run` do with a platform that is there already, half there or not there.

use std::{os::unix::fs::PermissionsExt, process::Command};

use sextant_api::client::PageQuery;
use sextant_control::{
    admin_token,
    init::{self, OwnerLogin},
};
use sextant_model::DnsLabel;

use crate::Platform;

#[tokio::test]
async fn preparing_twice_changes_nothing() {
    let platform = Platform::new().await;
    let token_file = platform.path().join("admin.token");
    let before = std::fs::read_to_string(&token_file).expect("token");
    let ca = platform.ca().fingerprint();
    init::init(&platform.config, &platform.database.url, &token_file).await.expect("again");
    assert_eq!(std::fs::read_to_string(&token_file).expect("token"), before);
    assert_eq!(platform.ca().fingerprint(), ca);
    let certificate = &platform.config.tls.ca_certificate_file;
    let mode = std::fs::metadata(certificate).expect("certificate").permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "the certificate is public");
}

#[tokio::test]
async fn a_lost_admin_token_is_replaced_on_purpose_and_not_by_preparing_again() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let names = async || {
        let tokens = admin.api_tokens(&PageQuery::default()).await.expect("tokens").items;
        tokens.into_iter().map(|token| token.name.to_string()).collect::<Vec<_>>()
    };
    let other = platform.path().join("other.token");
    let said = init::init(&platform.config, &platform.database.url, &other).await.expect("again");
    assert!(said.iter().any(|line| line.contains("sextant-control admin-token")), "{said:?}");
    assert!(!other.exists(), "no second token is made in passing");
    let before = names().await;

    let name = DnsLabel::new("rescue").expect("label");
    admin_token::create(&platform.config, name.clone(), &other).await.expect("made");
    assert_eq!(names().await.len(), before.len() + 1);
    let mode = std::fs::metadata(&other).expect("token").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = admin_token::create(&platform.config, name, &other).await.expect_err("exists");
    assert!(error.to_string().contains("is there already"), "{error}");
}

#[tokio::test]
async fn a_daemon_that_logs_in_as_the_owner_is_refused_unless_told() {
    let platform = Platform::new().await;
    let mut config = platform.config.clone();
    config.database.url = Some(platform.database.url.clone());
    let (owner, file) = (&platform.database.url, platform.path().join("admin.token"));
    let error = init::init(&config, owner, &file).await.expect_err("a superuser logs in");
    assert!(error.to_string().contains("--allow-owner-login"), "{error}");
    let done = init::init_with(&config, owner, &file, OwnerLogin::Allowed).await.expect("told");
    assert!(done.iter().any(|line| line.starts_with("warning:")), "{done:?}");

    let nobody = platform.database.url_as("nobody_of_that_name");
    config.database.url = Some(nobody);
    let error = init::init(&config, owner, &file).await.expect_err("no such role");
    assert!(error.to_string().contains("CREATE ROLE nobody_of_that_name LOGIN"), "{error}");
}

#[tokio::test]
async fn a_platform_never_gets_a_second_ca() {
    let platform = Platform::new().await;
    let token_file = platform.path().join("other.token");
    let mut mistaken = platform.config.clone();
    mistaken.tls.ca_certificate_file = platform.path().join("elsewhere.crt");
    mistaken.tls.ca_key_file = platform.path().join("elsewhere.key");
    let error =
        init::init(&mistaken, &platform.database.url, &token_file).await.expect_err("no CA");
    assert!(error.to_string().contains("elsewhere.crt"), "{error}");
    assert!(!mistaken.tls.ca_key_file.exists(), "a second CA was made");

    let other = Platform::new().await;
    let mut foreign = platform.config.clone();
    foreign.tls = other.config.tls.clone();
    let error =
        init::init(&foreign, &platform.database.url, &token_file).await.expect_err("another CA");
    assert!(error.to_string().contains("another CA"), "{error}");
    assert!(!token_file.exists(), "a token was handed out");
}

#[tokio::test]
async fn a_token_that_cannot_be_handed_over_does_not_exist() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let tokens =
        async || admin.api_tokens(&PageQuery::default()).await.expect("tokens").items.len();
    let before = tokens().await;
    let impossible = std::path::Path::new("/proc/nowhere/admin.token");
    let name = DnsLabel::new("rescue").expect("label");
    admin_token::create(&platform.config, name, impossible).await.expect_err("no such folder");
    let empty = platform.path().join("empty.token");
    sextant_daemon::private_file::write(&empty, b"").expect("written");
    let error =
        init::init(&platform.config, &platform.database.url, &empty).await.expect_err("empty");
    assert!(error.to_string().contains("holds no API token"), "{error}");
    assert_eq!(tokens().await, before);
}

#[test]
fn a_configuration_that_cannot_work_ends_the_daemon_at_once_and_says_why() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("control.toml");
    let run = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_sextant-control"))
            .args(["run", "--config"])
            .arg(&file)
            .output()
            .expect("ran");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let tls = "[tls]\nca_certificate_file = '/nonexistent/ca.crt'\nca_key_file = '/nonexistent/ca.key'\nnames = ['a']\n";
    for (text, says) in [
        (format!("[database]\nurl = 'postgresql:///x'\ncolour = 1\n{tls}"), "colour"),
        (format!("[database]\nurl = 'mysql://x/y'\n{tls}"), "postgresql://"),
        (format!("[database]\n{tls}"), "exactly one"),
        (format!("[database]\nurl = 'postgresql:///x'\nmax_connections = 1\n{tls}"), "at least 5"),
        (format!("[database]\nurl = 'postgresql:///x'\n{tls}"), "/nonexistent/ca.crt"),
        ("[database]\nurl = 'postgresql:///x'\n".into(), "tls"),
    ] {
        let error = run(&text);
        assert!(error.contains(says), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_password_on_the_command_line_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_sextant-control"))
        .args(["start-epoch", "--owner-url", "postgresql://u:secret@host/db"])
        .output()
        .expect("ran");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("--owner-url-file") && !error.contains("secret"), "{error}");
}
