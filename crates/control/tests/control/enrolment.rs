use sextant_api::{
    Auth, Client, ClientConfig, Trust,
    client::{ClientError, PageQuery},
    resource::enrolment::CertificateRequest,
};
use sextant_daemon::identity;
use sextant_model::secret::{CaFingerprint, EnrolmentToken};

use crate::{Machine, Platform, network, token_for};

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.expect_err("refused").code().to_owned()
}

#[tokio::test]
async fn a_token_enrols_one_machine_once_and_a_lost_answer_costs_nothing() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let machine = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let first = nobody.enrol(&machine.request).await.expect("enrolled");
    let again = nobody.enrol(&machine.request).await.expect("the same machine asks again");
    assert_eq!(first.node.id, again.node.id);
    assert_eq!(first.node.addresses, again.node.addresses);

    let mut thief = Machine::new(1, machine.request.token.clone());
    assert_eq!(
        code(nobody.enrol(&thief.request).await),
        "token-used",
        "same name and WireGuard key"
    );
    thief.request.public_key = Machine::new(2, String::new()).request.public_key;
    assert_eq!(code(nobody.enrol(&thief.request).await), "token-used");
    assert_eq!(admin.nodes(&PageQuery::default()).await.expect("nodes").items.len(), 1);
}

#[tokio::test]
async fn tokens_that_are_not_good_enrol_nobody() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let good = token_for(&admin, mesh.id, "n1").await;

    let other_name = Machine::new(2, good.clone());
    assert_eq!(code(nobody.enrol(&other_name.request).await), "token-for-other-node");

    let mut forged: EnrolmentToken = good.parse().expect("token");
    forged.secret = sextant_model::secret::Secret::new([1; 32]);
    assert_eq!(
        code(nobody.enrol(&Machine::new(1, forged.reveal()).request).await),
        "token-invalid"
    );
    forged.id = sextant_model::EnrolmentTokenId(uuid::Uuid::now_v7());
    assert_eq!(
        code(nobody.enrol(&Machine::new(1, forged.reveal()).request).await),
        "token-invalid"
    );
    assert_eq!(
        code(nobody.enrol(&Machine::new(1, "nonsense".into()).request).await),
        "token-malformed"
    );

    let revoked: EnrolmentToken = good.parse().expect("token");
    admin.revoke_enrolment_token(revoked.id).await.expect("revoked");
    assert_eq!(code(nobody.enrol(&Machine::new(1, good).request).await), "token-revoked");

    let mut unreachable = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    unreachable.request.endpoint = "[fe80::1]:51820".parse().expect("endpoint");
    assert_eq!(code(nobody.enrol(&unreachable.request).await), "endpoint-unusable");
    unreachable.request.certificate_request = "nonsense".into();
    assert_eq!(code(nobody.enrol(&unreachable.request).await), "certificate-request-invalid");
    assert!(admin.nodes(&PageQuery::default()).await.expect("nodes").items.is_empty());
}

#[tokio::test]
async fn of_many_machines_with_one_token_exactly_one_becomes_a_node() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let token = token_for(&admin, mesh.id, "n1").await;
    let attempts: Vec<_> = (0..8)
        .map(|n| {
            let nobody = platform.client(&[&replica], Auth::Nobody);
            let mut machine = Machine::new(1, token.clone());
            machine.request.public_key = Machine::new(100 + n, String::new()).request.public_key;
            tokio::spawn(async move { nobody.enrol(&machine.request).await })
        })
        .collect();
    let mut enrolled = 0;
    for attempt in attempts {
        match attempt.await.expect("task") {
            Ok(_) => enrolled += 1,
            Err(error) => {
                assert!(
                    ["token-used", "concurrent-change", "name-taken"].contains(&error.code()),
                    "{error}"
                );
            }
        }
    }
    assert_eq!(enrolled, 1);
    assert_eq!(admin.nodes(&PageQuery::default()).await.expect("nodes").items.len(), 1);
}

#[tokio::test]
async fn an_agent_believes_only_the_ca_whose_fingerprint_is_in_its_token() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let client = |fingerprint: CaFingerprint| {
        let trust = Trust::Fingerprint(fingerprint);
        let api_urls = vec![replica.url.clone()];
        Client::new(ClientConfig { api_urls, trust, auth: Auth::Nobody }).expect("client")
    };
    client(platform.ca().fingerprint()).ready().await.expect("the right CA");
    let error = client(CaFingerprint::of_der(b"another")).ready().await.expect_err("another CA");
    assert!(error.to_string().contains("fingerprint"), "{error}");
}

#[tokio::test]
async fn a_node_renews_its_certificate_and_loses_access_when_it_leaves() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let machine = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let enrolment = nobody.enrol(&machine.request).await.expect("enrolled");
    let node = platform.client(&[&replica], machine.auth(&enrolment));
    let key = machine.key;
    let certificate_request = identity::certificate_request(&key, "n1").expect("request");
    let request = CertificateRequest { certificate_request };
    let renewed = node.renew_certificate(&request).await.expect("renewed");
    assert!(renewed.not_after >= enrolment.node.certificate_not_after.expect("known"));
    let auth = Auth::Certificate { certificate: renewed.certificate, key };
    let renewed = platform.client(&[&replica], auth);
    renewed.snapshot().await.expect("the new certificate works");
    assert_eq!(code(renewed.status().await), "forbidden", "nodes are no operators");
    admin.remove_node(enrolment.node.id, None).await.expect("removed");
    assert_eq!(code(renewed.snapshot().await), "node-left");
    assert_eq!(code(node.renew_certificate(&request).await), "node-left");
}
