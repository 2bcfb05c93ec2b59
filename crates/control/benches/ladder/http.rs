//! The top rung: a replica in a process of its own, and clients that ask it one thing at a time.

use std::{
    io::BufRead,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sextant_api::{
    Auth, Client, ClientConfig, Trust,
    resource::{enrolment::NewEnrolmentToken, network::NewNetwork},
};
use sextant_model::{DnsLabel, NetworkId, NodeRole};

/// A running replica with a network in it.
#[derive(Debug)]
pub struct Target {
    config: ClientConfig,
    network: NetworkId,
    process: Child,
}

impl Target {
    /// Starts a replica on the database `url`.
    pub async fn start(folder: &Path, url: &str) -> Self {
        let file = folder.join("control.toml");
        let ca = folder.join("ca").display().to_string();
        let text = format!(
            "[database]\nurl = '{url}'\n[listen]\naddresses = ['[::1]:0']\n[tls]\nca_certificate_file = '{ca}.crt'\nca_key_file = '{ca}.key'\nnames = ['::1']\n"
        );
        std::fs::write(&file, text).expect("configuration");
        let token_file = folder.join("admin.token");
        let initialised = Command::new(env!("CARGO_BIN_EXE_sextant-control"))
            .args(["init", "--allow-owner-login", "--owner-url", url, "--config"])
            .arg(&file)
            .arg("--admin-token-file")
            .arg(&token_file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("init");
        assert!(initialised.success(), "init failed");
        let mut process = Command::new(env!("CARGO_BIN_EXE_sextant-control"))
            .args(["run", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = std::io::BufReader::new(process.stderr.take().expect("stderr")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listening address=").map(|(_, at)| at.to_owned()))
            .expect("it says where it listens");
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let read = |file: &Path| std::fs::read_to_string(file).expect("file").trim().to_owned();
        let config = ClientConfig {
            api_urls: vec![format!("https://{address}").parse().expect("url")],
            trust: Trust::Ca(read(&folder.join("ca.crt"))),
            auth: Auth::Token(read(&token_file)),
        };
        let client = Client::new(config.clone()).expect("client");
        let deadline = Instant::now() + Duration::from_secs(20);
        while client.ready().await.is_err() {
            assert!(Instant::now() < deadline, "the replica does not get ready");
        }
        let new = NewNetwork {
            name: DnsLabel::new("bench").expect("label"),
            ip_stack_mode: sextant_model::IpStackMode::Ipv6,
            topology: sextant_model::Topology::FullMesh,
            ipv6_prefix: None,
            ipv4_prefix: None,
        };
        let network = client.create_network(&new, None).await.expect("network").value.id;
        Self { config, network, process }
    }

    /// Asks for new enrolment tokens on `connections` at once; returns answers per second. Every
    /// answer means: committed, settled and projected.
    pub async fn load(&self, connections: usize, time: Duration) -> f64 {
        let new = NewEnrolmentToken {
            network_id: self.network,
            node_name: DnsLabel::new("worker-1").expect("label"),
            roles: vec![NodeRole::Worker],
            expires_in: 3600,
        };
        let started = Instant::now();
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                // A client of its own each, so that each has its own connection.
                let client = Client::new(self.config.clone()).expect("client");
                let new = new.clone();
                tokio::spawn(async move {
                    let mut done = 0_u64;
                    while started.elapsed() < time {
                        client.create_enrolment_token(&new, None).await.expect("created");
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for client in clients {
            done += client.await.expect("client");
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = done as f64 / started.elapsed().as_secs_f64();
        rate
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
