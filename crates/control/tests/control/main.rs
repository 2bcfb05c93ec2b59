//! The control plane over real TLS on a real Postgres, one fresh database per test.

mod authorization;
mod bad_input;
mod certificates;
mod cost;
mod deploy;
mod door;
mod duplicates;
mod enrolment;
mod health;
mod ingress;
mod preparation;
mod quotas;
mod resources;
mod stalls;
mod stream;
mod tenancy;
mod versions;

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use sextant_api::{
    Auth, Client, ClientConfig, Trust,
    resource::{
        enrolment::{EnrolRequest, Enrolment, NewEnrolmentToken},
        network::{Network, NewNetwork},
    },
};
use sextant_control::{
    ca::Ca,
    config::Config,
    door::limits::Limits,
    ingress::HostnameRules,
    init,
    run::{Replica, Settings},
};
use sextant_daemon::identity;
use sextant_lab::postgres::{TestDatabase, test_database};
use sextant_model::{DnsLabel, NetworkId, NodeRole, PublicKey};
use sextant_store::{ConnectOptions, Store};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

/// A platform with as many replicas as a test starts.
#[derive(Debug)]
pub struct Platform {
    pub database: TestDatabase,
    pub config: Config,
    pub token: String,
    folder: TempDir,
}

/// A replica that a test can stop.
#[derive(Debug)]
pub struct Running {
    pub url: Url,
    pub stop: CancellationToken,
    pub replica: Replica,
}

impl Platform {
    pub async fn new() -> Self {
        let database = test_database().expect("database");
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("control.toml");
        let (url, ca) = (&database.app_url, folder.path().join("ca"));
        let text = format!(
            "[database]\nurl = '{url}'\n[tls]\nca_certificate_file = '{0}.crt'\nca_key_file = '{0}.key'\nnames = ['::1']\n[workloads]\ndrain_seconds = 0\n",
            ca.display(),
        );
        std::fs::write(&file, text).expect("written");
        let config: Config =
            sextant_daemon::config::load(&file, "SEXTANT_CONTROL_TEST_").expect("config");
        let token_file = folder.path().join("admin.token");
        init::init(&config, &database.url, &token_file).await.expect("init");
        let token = std::fs::read_to_string(&token_file).expect("token").trim().to_owned();
        Self { database, config, token, folder }
    }

    pub fn ca(&self) -> Ca {
        Ca::load(&self.config.tls.ca_certificate_file, &self.config.tls.ca_key_file).expect("CA")
    }

    pub async fn replica(&self) -> Running {
        let running = self.replica_at_once().await;
        let nobody = self.client(&[&running], Auth::Nobody);
        let ready = async { while nobody.ready().await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(20), ready).await.expect("ready");
        running
    }

    /// A replica that may not know the log yet.
    pub async fn replica_at_once(&self) -> Running {
        self.replica_with(Limits::default()).await
    }

    /// The same with other limits.
    pub async fn replica_with(&self, limits: Limits) -> Running {
        self.start(&self.database.app_url, limits).await
    }

    /// A replica which reaches the database in another way.
    pub async fn replica_on(&self, database_url: &str) -> Running {
        self.start(database_url, Limits::default()).await
    }

    #[expect(clippy::large_types_passed_by_value, reason = "once a test")]
    async fn start(&self, database_url: &str, limits: Limits) -> Running {
        let store = Store::connect(&ConnectOptions::new(database_url)).expect("store");
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("bound");
        let stop = CancellationToken::new();
        let names = self.config.tls.names.clone();
        let rules = HostnameRules::from(&self.config.hostnames);
        let drain = Duration::from_secs(self.config.workloads.drain_seconds);
        let silent = Duration::from_hours(24 * 7);
        let settings = Settings { names, hostnames: rules, drain, silent, limits };
        let replica = Replica::start(store, self.ca(), settings, vec![listener], stop.clone())
            .expect("started");
        let url = format!("https://{}", replica.addresses[0]).parse().expect("url");
        Running { url, stop, replica }
    }

    pub fn client(&self, replicas: &[&Running], auth: Auth) -> Client {
        self.client_of(replicas.iter().map(|replica| replica.url.clone()).collect(), auth)
    }

    pub fn client_of(&self, api_urls: Vec<Url>, auth: Auth) -> Client {
        let trust = Trust::Ca(self.ca().certificate_pem().to_owned());
        Client::new(ClientConfig { api_urls, trust, auth }).expect("client")
    }

    pub fn admin(&self, replicas: &[&Running]) -> Client {
        self.client(replicas, Auth::Token(self.token.clone()))
    }

    /// A client that sends what the typed one never would.
    pub fn raw(&self) -> reqwest::Client {
        let tls = sextant_api::client::tls::client_config(
            &Trust::Ca(self.ca().certificate_pem().to_owned()),
            &Auth::Nobody,
        )
        .expect("TLS");
        reqwest::Client::builder().tls_backend_preconfigured(tls).build().expect("client")
    }

    /// How many processes speak as a node, by what they are.
    pub async fn instances(&self) -> Vec<(String, i64)> {
        let pool = sqlx::PgPool::connect(&self.database.url).await.expect("connected");
        let query = "SELECT role, count(*) FROM node_instances GROUP BY role ORDER BY role";
        let found = sqlx::query_as(query).fetch_all(&pool).await.expect("read");
        pool.close().await;
        found
    }

    pub fn path(&self) -> &std::path::Path {
        self.folder.path()
    }
}

pub fn label(text: &str) -> DnsLabel {
    DnsLabel::new(text).expect("label")
}

pub fn new_network(name: &str) -> NewNetwork {
    NewNetwork {
        name: label(name),
        ip_stack_mode: sextant_model::IpStackMode::Ipv6,
        topology: sextant_model::Topology::FullMesh,
        ipv6_prefix: None,
        ipv4_prefix: None,
    }
}

pub async fn network(client: &Client) -> Network {
    client.create_network(&new_network("mesh"), None).await.expect("network").value
}

pub async fn token_for(client: &Client, network: NetworkId, name: &str) -> String {
    let new = NewEnrolmentToken {
        network_id: network,
        node_name: label(name),
        roles: vec![NodeRole::Worker],
        expires_in: 3600,
    };
    let token = client.create_enrolment_token(&new, None).await.expect("token");
    token.token.expect("shown once")
}

/// A replica in a process of its own, to be killed.
#[derive(Debug)]
pub struct Process {
    pub url: Url,
    child: std::process::Child,
}

impl Process {
    pub fn start(platform: &Platform) -> Self {
        use std::io::BufRead;
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sextant-control"))
            .args(["run", "--config"])
            .arg(platform.path().join("control.toml"))
            .env("SEXTANT_CONTROL_LISTEN__ADDRESSES", "[\"[::1]:0\"]")
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = std::io::BufReader::new(child.stderr.take().expect("stderr")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listening address=").map(|(_, at)| at.to_owned()))
            .expect("it says where it listens");
        // Keep reading, so that its log never blocks it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { url: format!("https://{address}").parse().expect("url"), child }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL, at whatever it is doing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine that has made its keys and not enrolled yet.
#[derive(Debug)]
pub struct Machine {
    pub key: String,
    pub request: EnrolRequest,
}

impl Machine {
    pub fn new(n: u16, token: String) -> Self {
        let key = identity::generate_key().expect("key");
        let name = format!("n{n}");
        let mut public_key = [9; 32];
        public_key[0..2].copy_from_slice(&n.to_be_bytes());
        let request = EnrolRequest {
            token,
            node_name: label(&name),
            public_key: PublicKey::new(public_key).expect("key"),
            endpoint: SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 51820)),
            certificate_request: identity::certificate_request(&key, &name).expect("request"),
        };
        Self { key, request }
    }

    pub fn auth(&self, enrolment: &Enrolment) -> Auth {
        Auth::Certificate { certificate: enrolment.certificate.clone(), key: self.key.clone() }
    }
}

/// Enrols node number `n`; returns it with a client that is that node.
pub async fn enrol(
    platform: &Platform,
    replica: &Running,
    network: NetworkId,
    n: u16,
) -> (Enrolment, Client) {
    let admin = platform.admin(&[replica]);
    let machine = Machine::new(n, token_for(&admin, network, &format!("n{n}")).await);
    let nobody = platform.client(&[replica], Auth::Nobody);
    let enrolment = nobody.enrol(&machine.request).await.expect("enrolled");
    let client = platform.client(&[replica], machine.auth(&enrolment));
    (enrolment, client)
}
