//! Certificates: when they are good, who renews them, and how they end.

use std::time::Duration;

use sextant_api::{
    Auth, Client,
    client::{
        ClientError,
        standing::{StandingClient, is_signed_by},
        tls::certificates,
    },
    follow::{Item, follow},
    resource::{enrolment::CertificateRequest, node::NodePatch},
};
use sextant_control::ca::{CheckedRequest, NODE_CERTIFICATE_LIFE};
use sextant_daemon::identity;
use sextant_model::{EventBody, NodeId, Timestamp, standing::Standing};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::{Machine, Platform, Running, network, token_for};

const LIMIT: Duration = Duration::from_secs(30);

/// A node whose key the test holds.
struct Node {
    id: NodeId,
    key: String,
    client: Client,
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.expect_err("refused").code().to_owned()
}

fn request(key: &str) -> CertificateRequest {
    let certificate_request = identity::certificate_request(key, "n1").expect("request");
    CertificateRequest { certificate_request }
}

async fn node(platform: &Platform, replica: &Running) -> Node {
    let admin = platform.admin(&[replica]);
    let mesh = network(&admin).await;
    let machine = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    let nobody = platform.client(&[replica], Auth::Nobody);
    let enrolment = nobody.enrol(&machine.request).await.expect("enrolled");
    let client = platform.client(&[replica], machine.auth(&enrolment));
    Node { id: enrolment.node.id, key: machine.key, client }
}

impl Node {
    /// Speaks with a certificate that was made `ago`; in the future if negative.
    fn certified(&self, platform: &Platform, replica: &Running, ago: time::Duration) -> Client {
        let then = Timestamp(OffsetDateTime::now_utc() - ago);
        let csr = CheckedRequest::parse(&request(&self.key).certificate_request).expect("request");
        let issued = platform.ca().issue_node(csr, self.id, [7; 16], then).expect("issued");
        let auth = Auth::Certificate { certificate: issued.pem, key: self.key.clone() };
        platform.client(&[replica], auth)
    }
}

async fn events_of_type(admin: &Client, wanted: &str) -> usize {
    let page = admin.events(None, Some(1000)).await.expect("events");
    let frames = page.frames.iter();
    let of_type = |body: &EventBody| body.to_columns().is_ok_and(|(word, _)| word == wanted);
    frames
        .filter(|frame| {
            matches!(frame, sextant_api::Frame::Event { event, .. } if of_type(&event.body))
        })
        .count()
}

#[tokio::test]
async fn an_expired_certificate_renews_itself_and_is_good_for_nothing_else() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let node = node(&platform, &replica).await;
    for (ago, word) in [
        (time::Duration::days(60), "certificate-expired"),
        (time::Duration::days(-60), "certificate-not-yet-valid"),
    ] {
        let client = node.certified(&platform, &replica, ago);
        assert_eq!(code(client.snapshot().await), word);
        assert_eq!(code(client.events(None, None).await), word);
        let patch = NodePatch { endpoint: "[2001:db8::7]:1".parse().expect("endpoint") };
        assert_eq!(code(client.patch_own_node(&patch).await), word);
        let mut items = follow(client.clone(), None, CancellationToken::new());
        let refused = tokio::time::timeout(LIMIT, items.recv()).await.expect("an answer");
        assert!(matches!(refused, Some(Item::Refused { code, .. }) if code == word));
        let renewed = client.renew_certificate(&request(&node.key)).await.expect("renewed");
        let auth = Auth::Certificate { certificate: renewed.certificate, key: node.key.clone() };
        platform.client(&[&replica], auth).snapshot().await.expect("the new one is good");
    }
}

#[tokio::test]
async fn only_the_enrolled_key_is_given_a_certificate() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let node = node(&platform, &replica).await;
    let thief = identity::generate_key().expect("key");
    assert_eq!(code(node.client.renew_certificate(&request(&thief)).await), "key-not-enrolled");
    let expired = node.certified(&platform, &replica, time::Duration::days(60));
    assert_eq!(code(expired.renew_certificate(&request(&thief)).await), "key-not-enrolled");
    let admin = platform.admin(&[&replica]);
    assert_eq!(events_of_type(&admin, "node-certificate-issued").await, 1, "that of the enrolment");
}

#[tokio::test]
async fn a_certificate_ends_on_kept_connections_and_streams_too() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let node = node(&platform, &replica).await;
    let life = time::Duration::try_from(NODE_CERTIFICATE_LIFE).expect("short");
    let client = node.certified(&platform, &replica, life - time::Duration::seconds(10));
    let mut items = follow(client.clone(), None, CancellationToken::new());
    client.snapshot().await.expect("still good");
    let ended = async {
        loop {
            // Each request is within the idle time of the connection before it.
            match client.snapshot().await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(error) => return error.code().to_owned(),
            }
        }
    };
    let ended = tokio::time::timeout(LIMIT, ended).await.expect("it ends");
    assert_eq!(ended, "certificate-expired");
    let refused = async {
        loop {
            if let Item::Refused { code, .. } = items.recv().await.expect("an item") {
                return code;
            }
        }
    };
    let refused = tokio::time::timeout(LIMIT, refused).await.expect("the stream ends");
    assert_eq!(refused, "certificate-expired");
}

#[tokio::test]
async fn a_node_learns_its_standing_whatever_the_clocks_say() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let node = node(&platform, &replica).await;
    let expired = node.certified(&platform, &replica, time::Duration::days(60));
    let ca = platform.ca().certificate_pem().to_owned();
    let asking = StandingClient::new(&expired, ca).expect("client");
    let ask = async || {
        let nonce = "0f".repeat(32);
        let (standing, at) = asking.ask(node.id, &nonce).await.expect("an answer");
        assert!((OffsetDateTime::now_utc() - at.0).abs() < time::Duration::minutes(1));
        standing
    };
    assert_eq!(ask().await, Standing::Active);
    admin.revoke_node_certificates(node.id).await.expect("revoked");
    assert_eq!(ask().await, Standing::Revoked);
    admin.remove_node(node.id, None).await.expect("removed");
    assert_eq!(ask().await, Standing::Left);
    let error = asking.ask(node.id, "0F").await.expect_err("no nonce");
    assert_eq!(error.code(), "request-invalid");
    let other = NodeId(uuid::Uuid::now_v7());
    let error = asking.ask(other, &"0f".repeat(32)).await.expect_err("about another node");
    assert!(error.to_string().contains("not signed by the platform's CA"), "{error}");
}

#[tokio::test]
async fn a_statement_is_believed_only_with_the_signature_of_the_ca() {
    let platform = Platform::new().await;
    let ca = platform.ca();
    let signature = ca.sign(b"sextant standing").expect("signed");
    let pem = certificates(ca.certificate_pem(), "CA").expect("PEM");
    assert!(is_signed_by(&pem[0], b"sextant standing", &signature));
    assert!(!is_signed_by(&pem[0], b"sextant standinG", &signature));
    assert!(!is_signed_by(&pem[0], b"sextant standing", &[]));
    let other = Platform::new().await.ca();
    let pem = certificates(other.certificate_pem(), "CA").expect("PEM");
    assert!(!is_signed_by(&pem[0], b"sextant standing", &signature), "another CA");
}

#[tokio::test]
async fn revoked_certificates_are_refused_at_every_replica_at_once_until_the_node_is_readmitted() {
    let platform = Platform::new().await;
    let (first, second) = (platform.replica().await, platform.replica().await);
    let node = node(&platform, &first).await;
    let elsewhere = node.certified(&platform, &second, time::Duration::ZERO);
    elsewhere.snapshot().await.expect("good");
    let admin = platform.admin(&[&first]);
    let shown = admin.revoke_node_certificates(node.id).await.expect("revoked");
    assert!(shown.certificates_revoked);
    for client in [&node.client, &elsewhere] {
        assert_eq!(code(client.snapshot().await), "certificate-revoked");
        let renewal = client.renew_certificate(&request(&node.key)).await;
        assert_eq!(code(renewal), "certificate-revoked", "the thief has the same key");
    }
    let listed = admin.node(node.id).await.expect("node").value;
    assert!(listed.certificates_revoked);
    assert!(!admin.readmit_node(node.id).await.expect("readmitted").certificates_revoked);
    elsewhere.snapshot().await.expect("good again");
}

#[tokio::test]
async fn loops_of_a_node_append_few_events() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let machine = Machine::new(1, token_for(&admin, mesh.id, "n1").await);
    let nobody = platform.client(&[&replica], Auth::Nobody);
    let enrolment = nobody.enrol(&machine.request).await.expect("enrolled");
    let client = platform.client(&[&replica], machine.auth(&enrolment));
    for _ in 0..50 {
        if let Err(error) = nobody.enrol(&machine.request).await {
            assert_eq!(error.code(), "too-often");
        }
    }
    for _ in 0..100 {
        if let Err(error) = client.renew_certificate(&request(&machine.key)).await {
            assert_eq!(error.code(), "too-often");
        }
    }
    for port in 1..=100 {
        let endpoint = format!("[2001:db8::7]:{port}").parse().expect("endpoint");
        if let Err(error) = client.patch_own_node(&NodePatch { endpoint }).await {
            assert_eq!(error.code(), "too-often");
        }
    }
    assert_eq!(events_of_type(&admin, "node-certificate-issued").await, 6);
    assert_eq!(events_of_type(&admin, "node-endpoint-changed").await, 12);
    // An operator is not held up by what the node did.
    let etag = admin.node(enrolment.node.id).await.expect("node").etag.expect("etag");
    let patch = NodePatch { endpoint: "[2001:db8::8]:1".parse().expect("endpoint") };
    admin.patch_node(enrolment.node.id, &patch, &etag).await.expect("moved");
}
