//! The store against a real Postgres, one fresh database per test.

mod allocation;
mod claims;
mod event_log;
mod ingress;
mod lives;
mod projections;
mod roles;
mod sessions;
mod tenancy;

use std::net::{Ipv6Addr, SocketAddr};

use sextant_lab::postgres::{TestDatabase, test_database};
use sextant_model::{
    ActorId, DnsLabel, EnrolmentTokenId, NetworkId, NodeRole, PeerAddresses, Prefix, PublicKey,
    event::NodeEnrolled,
};
use sextant_store::{ConnectOptions, Store};
use uuid::Uuid;

/// A migrated database and a store on it that logs in with the daemon's privileges only.
#[derive(Debug)]
pub struct Fixture {
    pub store: Store,
    pub database: TestDatabase,
}

impl Fixture {
    pub async fn new() -> Self {
        let database = test_database().expect("database");
        Store::migrate(&database.url, Some(&database.role)).await.expect("migrated");
        let store = Store::connect(&ConnectOptions::new(&database.app_url)).expect("store");
        Self { store, database }
    }

    /// A connection pool with the daemon's privileges, for statements the store would never make.
    pub fn raw(&self, url: &str) -> sqlx::PgPool {
        sqlx::PgPool::connect_lazy(url).expect("pool")
    }
}

pub const ACTOR: ActorId = ActorId(Uuid::from_u128(0xAC));

pub fn label(text: &str) -> DnsLabel {
    DnsLabel::new(text).expect("label")
}

pub fn enrolled(network: NetworkId, n: u16) -> NodeEnrolled {
    let address = Ipv6Addr::new(0xfd00, 0, 0, n, 0, 0, 0, 1);
    let mut key = [9; 32];
    key[0..2].copy_from_slice(&n.to_be_bytes());
    NodeEnrolled {
        network_id: network,
        name: label(&format!("n{n}")),
        roles: vec![NodeRole::Worker],
        public_key: PublicKey::new(key).expect("key"),
        endpoint: SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 51820)),
        addresses: PeerAddresses::v6(address),
        prefix: Prefix::containing(address.into(), 64).expect("prefix"),
        token_id: EnrolmentTokenId(Uuid::from_u128(u128::from(n))),
        client_key_fingerprint: "00".repeat(32),
    }
}
