//! Proofs by DNS, against a real server.

use std::{net::Ipv6Addr, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use hickory_server::{
    Server,
    proto::rr::{
        Name, RData, Record,
        rdata::{SOA, TXT},
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};
use sextant_api::{client::PageQuery, resource::hostname::HostnameState};

use super::{Ingress, code, hostname, pattern, refused, tls};

/// The authority for `example.com` and below, on a port of its own.
struct Dns {
    zone: Arc<InMemoryZoneHandler>,
    at: SocketAddr,
    _server: Server<Catalog>,
}

/// A port that is free for both: what is free for one may be taken for the other.
async fn both_protocols() -> (tokio::net::UdpSocket, tokio::net::TcpListener) {
    loop {
        let tcp = tokio::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("bound");
        match tokio::net::UdpSocket::bind(tcp.local_addr().expect("address")).await {
            Ok(udp) => return (udp, tcp),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
    }
}

impl Dns {
    async fn start() -> Self {
        let origin = Name::from_str("example.com.").expect("name");
        let mut zone =
            InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
        let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 60);
        zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
        let zone = Arc::new(zone);
        let mut catalog = Catalog::new();
        catalog.upsert(origin.into(), vec![zone.clone()]);
        let mut server = Server::new(catalog);
        let (udp, tcp) = both_protocols().await;
        let at = udp.local_addr().expect("address");
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 4096);
        Self { zone, at, _server: server }
    }

    async fn publish(&self, name: &str, strings: &[&str]) {
        let name = Name::from_str(&format!("{name}.")).expect("name");
        let txt = TXT::new(strings.iter().map(|text| (*text).to_owned()).collect());
        self.zone.upsert(Record::from_rdata(name, 3600, RData::TXT(txt)), 1).await;
    }
}

async fn proving(dns: &Dns) -> Ingress {
    let at = dns.at;
    Ingress::with(move |hostnames| hostnames.resolver = Some(at)).await
}

#[tokio::test]
async fn a_foreign_hostname_is_the_environments_once_dns_says_so() {
    let dns = Dns::start().await;
    let ingress = proving(&dns).await;
    let org = ingress.org("acme").await;
    let environment = ingress.environment(org, "web").await;
    let (id, client) = (environment.id, ingress.org_admin(org).await);
    let name = pattern("shop.example.com");
    assert_eq!(code(client.verify_hostname(id, &name).await), "hostname-unclaimed");
    let claimed = client.claim_hostname(id, &hostname("shop.example.com"), None).await;
    let claimed = claimed.expect("claimed");
    assert_eq!(claimed.state, HostnameState::Pending);
    let challenge = claimed.challenge.clone().expect("a challenge");
    assert_eq!(challenge.name, "_sextant-challenge.shop.example.com");
    assert!(challenge.value.starts_with("sextant-verification="), "{challenge:?}");
    let again = client.claim_hostname(id, &hostname("shop.example.com"), None).await;
    assert_eq!(again.expect("the same"), claimed);

    let before = ingress.events().await;
    let (code_, text) = refused(client.verify_hostname(id, &name).await);
    assert_eq!(code_, "challenge-missing");
    assert!(text.contains(&challenge.name) && text.contains(&challenge.value), "{text}");
    dns.publish(&challenge.name, &["something else"]).await;
    let (code_, text) = refused(client.verify_hostname(id, &name).await);
    assert_eq!(code_, "challenge-differs");
    assert!(text.contains("hold \"something else\", not \"sextant-verification="), "{text}");
    let routed = client.create_route(id, &tls("shop.example.com"), None).await;
    assert_eq!(code(routed), "hostname-unproved");
    assert_eq!(ingress.events().await, before, "nothing has changed");

    // In two strings, beside the other record.
    let (head, tail) = challenge.value.split_at(9);
    dns.publish(&challenge.name, &[head, tail]).await;
    let owned = client.verify_hostname(id, &name).await.expect("proved");
    assert_eq!((owned.state, &owned.challenge), (HostnameState::Owned, &None));
    assert_eq!(client.verify_hostname(id, &name).await.expect("again"), owned);
    client.create_route(id, &tls("shop.example.com"), None).await.expect("route");
    let history = ingress.history(id.0).await;
    assert_eq!(history, ["environment-created", "hostname-claimed", "hostname-verified"]);
}

#[tokio::test]
async fn the_first_proof_decides_whoever_claimed_first() {
    let dns = Dns::start().await;
    let ingress = proving(&dns).await;
    let (squatter, owner) = (ingress.org("squatter").await, ingress.org("owner").await);
    let (theirs, ours) =
        (ingress.environment(squatter, "a").await, ingress.environment(owner, "b").await);
    let admin = &ingress.admin;
    admin.claim_hostname(theirs.id, &hostname("*.example.com"), None).await.expect("pending");
    let claimed = admin.claim_hostname(ours.id, &hostname("*.example.com"), None).await;
    let challenge = claimed.expect("pending too").challenge.expect("a challenge");
    assert_eq!(challenge.name, "_sextant-challenge.example.com");
    dns.publish(&challenge.name, &[&challenge.value]).await;
    let name = pattern("*.example.com");
    let refused = code(admin.verify_hostname(theirs.id, &name).await);
    assert_eq!(refused, "challenge-differs", "the record is for the other one");
    admin.verify_hostname(ours.id, &name).await.expect("proved");
    assert_eq!(code(admin.verify_hostname(theirs.id, &name).await), "hostname-taken");
    let within = hostname("www.example.com");
    assert_eq!(code(admin.claim_hostname(theirs.id, &within, None).await), "hostname-taken");
}

#[tokio::test]
async fn a_dns_that_does_not_answer_proves_nothing_and_says_so() {
    let dns = Dns::start().await;
    let ingress = proving(&dns).await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let admin = &ingress.admin;
    // The server refuses what it is not the authority for.
    admin.claim_hostname(environment.id, &hostname("www.bank.test"), None).await.expect("pending");
    let verified = admin.verify_hostname(environment.id, &pattern("www.bank.test")).await;
    let (code, text) = refused(verified);
    assert_eq!(code, "dns-unreachable");
    assert!(text.contains("_sextant-challenge.www.bank.test"), "{text}");
}

#[tokio::test]
async fn nobody_waits_long_for_a_silent_dns() {
    // Bound, and never read.
    let silent = tokio::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("bound");
    let at = silent.local_addr().expect("address");
    let ingress = Ingress::with(move |hostnames| hostnames.resolver = Some(at)).await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let admin = &ingress.admin;
    admin.claim_hostname(environment.id, &hostname("a.example.com"), None).await.expect("pending");
    let started = std::time::Instant::now();
    let verified = admin.verify_hostname(environment.id, &pattern("a.example.com")).await;
    assert_eq!(code(verified), "dns-unreachable");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_silent_dns_of_one_org_keeps_no_other_from_its_proofs() {
    let silent = tokio::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("bound");
    let at = silent.local_addr().expect("address");
    let ingress = Ingress::with(move |hostnames| hostnames.resolver = Some(at)).await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let (one, two) =
        (ingress.empty_environment(org, "a").await, ingress.empty_environment(other, "b").await);
    let admin = &ingress.admin;
    let name = pattern("a.example.com");
    for environment in [one.id, two.id] {
        let claimed = admin.claim_hostname(environment, &hostname("a.example.com"), None).await;
        claimed.expect("pending");
    }
    let verify = async |id| code(admin.verify_hostname(id, &name).await);
    let asked = futures_util::future::join_all((0..8).map(|_| verify(one.id)));
    let (asked, others) = tokio::join!(asked, verify(two.id));
    assert_eq!(others, "dns-unreachable");
    assert_eq!(asked.iter().filter(|code| *code == "dns-unreachable").count(), 4, "{asked:?}");
    assert_eq!(asked.iter().filter(|code| *code == "busy").count(), 4, "{asked:?}");
}

#[tokio::test]
async fn a_claim_that_nobody_proves_ends_by_itself() {
    let ingress = Ingress::with(|_| {}).await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let (admin, id) = (&ingress.admin, environment.id);
    admin.claim_hostname(id, &hostname("old.test"), None).await.expect("pending");
    admin.claim_hostname(id, &hostname("new.test"), None).await.expect("pending");
    // Eight days ago, as far as the list knows.
    let pool = sqlx::PgPool::connect_lazy(&ingress.platform.database.url).expect("pool");
    sqlx::query(
        "UPDATE hostnames SET since = since - interval '8 days' WHERE hostname = 'old.test'",
    )
    .execute(&pool)
    .await
    .expect("aged");
    // Another replica looks at once.
    let _second = ingress.platform.replica().await;
    let ended = async {
        loop {
            let page = admin.hostnames(id, &PageQuery::default()).await.expect("hostnames");
            let names: Vec<_> = page.items.iter().map(|item| item.hostname.to_string()).collect();
            if names == ["new.test"] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("ended");
    let history = ingress.history(id.0).await;
    assert_eq!(history.last().expect("events"), "hostname-released");
    assert_eq!(code(admin.verify_hostname(id, &pattern("old.test")).await), "hostname-unclaimed");
}
