//! Who was refused can be seen, and is not asked again and again.

use sextant_api::{Auth, client::PageQuery};
use sextant_control::{ca::Ca, door::limits::Limits};
use sextant_daemon::clock::{Clock, SystemClock};

use super::{Wire, generous, replica, until};
use crate::{Machine, Platform, network, token_for};

/// A well-formed token that nobody made.
const GUESSED: &str = "sxa_";

fn guess(platform: &Platform) -> String {
    // The id of the admin's token with another secret.
    let (head, secret) = platform.token.split_at(platform.token.len() - 8);
    let other: String = secret.chars().rev().collect();
    assert!(platform.token.starts_with(GUESSED) && other != secret);
    format!("{head}{other}")
}

async fn refusals(platform: &Platform, replica: &crate::Running, code: &str) -> u64 {
    let status = platform.admin(&[replica]).status().await.expect("status");
    let of_code = status.refusals.iter().find(|refused| refused.code == code);
    of_code.map_or(0, |found| {
        assert_eq!(found.refused.last_address, "::1");
        found.refused.times
    })
}

#[tokio::test]
async fn a_source_that_guesses_is_no_longer_looked_at_and_the_true_token_goes_on() {
    let platform = Platform::new().await;
    let replica = replica(&platform, Limits { failures_of_loopback: 3, ..generous() }).await;
    let admin = platform.admin(&[&replica]);
    let page = PageQuery::default();
    admin.orgs(&page).await.expect("it has proved itself");
    let guesser = platform.client(&[&replica], Auth::Token(guess(&platform)));
    let mut codes = Vec::new();
    for _ in 0..6 {
        let error = guesser.orgs(&page).await.expect_err("refused");
        codes.push(error.code().to_owned());
    }
    // A minute may end in between, after which three more are looked at.
    assert_eq!(codes[..3], ["unauthenticated"; 3]);
    assert!(codes.contains(&"too-many-failures".to_owned()), "{codes:?}");
    admin.orgs(&page).await.expect("who is known is not shut out with the neighbours");
    until("the status tells of it", async || {
        refusals(&platform, &replica, "unauthenticated").await >= 3
            && refusals(&platform, &replica, "too-many-failures").await >= 1
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_tried_in_vain_shows_how_often_and_from_where() {
    let platform = Platform::new().await;
    let replica = replica(&platform, generous()).await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let token = token_for(&admin, mesh.id, "n1").await;
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let thief = Machine::new(2, token.clone());
    assert_eq!(
        nobody.enrol(&thief.request).await.expect_err("refused").code(),
        "token-for-other-node"
    );
    nobody.enrol(&Machine::new(1, token.clone()).request).await.expect("enrolled");
    let late = Machine { request: Machine::new(1, token.clone()).request, key: String::new() };
    let mut request = late.request;
    request.public_key = Machine::new(9, token).request.public_key;
    assert_eq!(nobody.enrol(&request).await.expect_err("refused").code(), "token-used");
    until("the list of tokens tells of it", async || {
        let tokens = admin.enrolment_tokens(&PageQuery::default()).await.expect("tokens").items;
        let refused = tokens[0].refused.as_ref();
        refused.is_some_and(|refused| refused.times == 2 && refused.last_address == "::1")
    })
    .await;
}

#[tokio::test]
async fn certificates_of_a_removed_node_and_of_another_ca_leave_a_trace() {
    let platform = Platform::new().await;
    let replica = replica(&platform, generous()).await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let machine = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let enrolment = nobody.enrol(&machine.request).await.expect("enrolled");
    let node = platform.client(&[&replica], machine.auth(&enrolment));
    admin.remove_node(enrolment.node.id, None).await.expect("removed");
    assert_eq!(node.snapshot().await.expect_err("refused").code(), "node-left");

    let folder = tempfile::tempdir().expect("folder");
    let (certificate, key) = (folder.path().join("ca.crt"), folder.path().join("ca.key"));
    let foreign = Ca::load_or_create(&certificate, &key, SystemClock.now()).expect("another CA");
    let csr = sextant_control::ca::CheckedRequest::parse(&machine.request.certificate_request);
    let forged = foreign
        .issue_node(csr.expect("request"), enrolment.node.id, [7; 16], SystemClock.now())
        .expect("forged");
    let auth = Auth::Certificate { certificate: forged.pem, key: machine.key.clone() };
    // The client's handshake may seem to succeed: the refusal comes with the first answer.
    if let Ok(mut wire) = Wire::try_open(&platform, &replica, &auth).await {
        assert_eq!(wire.rest().await, b"");
    }
    until("the status tells of both", async || {
        refusals(&platform, &replica, "node-left").await == 1
            && refusals(&platform, &replica, "client-certificate-invalid").await == 1
    })
    .await;
}

#[tokio::test]
async fn metrics_count_places_turns_and_refusals() {
    let platform = Platform::new().await;
    let replica = replica(&platform, generous()).await;
    let guesser = platform.client(&[&replica], Auth::Token(guess(&platform)));
    guesser.orgs(&PageQuery::default()).await.expect_err("refused");
    let address = "[::1]:0".parse().expect("address");
    let listener = sextant_daemon::metrics::Listener::on_address(address).await.expect("bound");
    let sextant_daemon::metrics::Listener::Tcp(socket) = &listener else { panic!("TCP") };
    let url = format!("http://{}/metrics", socket.local_addr().expect("address"));
    replica.replica.serve_metrics(listener, replica.stop.clone());
    let text = platform.raw().get(&url).send().await.expect("answered").text().await.expect("text");
    for line in [
        "sextant_control_connections{class=\"strangers\"}",
        "sextant_control_places{class=\"nodes\"} 4096",
        "sextant_control_requests_waiting{lane=\"tenants\"} 0",
        "sextant_control_refused_total{code=\"unauthenticated\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}
