//! The agent as a whole: how it starts, what it says and what it leaves alone. No control plane
//! answers here.

use std::{fs, process::Command};

use sextant_agent::{
    config::AgentConfig,
    key::PrivateKey,
    run::{RunError, run as run_agent},
    state::{LoadedState, NodeIdentity, SavedState, StateFolder},
};
use sextant_daemon::clock::SystemEntropy;
use sextant_model::{Cursor, DnsLabel, Epoch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    INTERFACE,
    sandbox::{self, Sandbox, ip, run, wait_for},
};

const STATE: &str = "/run/state";
const CONFIG: &str = "/run/agent.toml";
const LOG: &str = "/run/agent.log";

#[test]
fn a_restart_with_another_key_stays_up_touches_nothing_and_says_so() {
    let name = "running::a_restart_with_another_key_stays_up_touches_nothing_and_says_so";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let folder = enrolled(&sandbox);
        let agent = Agent::start();
        wait_for("the mesh", async || peer_answers()).await;
        sandbox.ping_from_peer("fd00:0:0:1::1").await;
        let key = sandbox.peer_key().to_string();
        run("wg", &["set", INTERFACE, "peer", &key, "remove"]);
        agent.says("something else had changed the interface; it was repaired").await;
        agent.says("drift=peer-added=1").await;
        agent.stop().await;

        let other = PrivateKey::generate(&SystemEntropy).reveal();
        fs::write(folder.wireguard_key_file(), other).expect("written");
        let before = run("wg", &["show", INTERFACE, "private-key"]);
        let agent = Agent::start();
        agent.says("wireguard.key\" does not hold the key the network knows").await;
        sandbox.ping_from_peer("fd00:0:0:1::1").await;
        let doctor = Command::new(AGENT).args(["doctor", "--config", CONFIG]).output();
        let doctor = doctor.expect("doctor");
        let text = String::from_utf8_lossy(&doctor.stdout);
        assert!(!doctor.status.success(), "{text}");
        assert!(text.contains("does not hold the key the network knows"), "{text}");
        assert_eq!(run("wg", &["show", INTERFACE, "private-key"]), before);
        agent.stop().await;
    });
}

#[test]
fn without_the_control_plane_workloads_keep_their_addresses_over_a_restart() {
    let name = "running::without_the_control_plane_workloads_keep_their_addresses_over_a_restart";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let folder = enrolled(&sandbox);
        let LoadedState::Good(mut state) = folder.state().expect("readable") else {
            panic!("no state")
        };
        let address = "fd00:0:0:1::99";
        sandbox::place(&mut state.membership, (9, 1), address);
        folder.save_state(&state).expect("saved");
        for _ in 0..2 {
            let agent = Agent::start();
            sandbox.ping_from_peer(address).await;
            agent.stop().await;
            // As after a reboot.
            ip(&["link", "del", INTERFACE]);
        }
    });
}

#[test]
fn no_token_is_spent_while_the_interface_belongs_to_somebody_else() {
    let name = "running::no_token_is_spent_while_the_interface_belongs_to_somebody_else";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        let reconciler = sandbox.reconciler();
        reconciler.check_usable().await.expect("nothing is there");
        let pass = sandbox.reconciler().pass(&sandbox.membership(), sandbox::ME).await;
        assert!(pass.complete, "{:?}", pass.problems);
        reconciler.check_usable().await.expect("it has this node's key");

        // There is no token: without the check, its absence would be what is complained about.
        let error = run_agent(config(), CancellationToken::new()).await.expect_err("taken");
        assert!(error.to_string().contains("with another key"), "{error}");
        assert_eq!(error.exit_code(), 2);
        ip(&["link", "del", INTERFACE]);
        ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "other"]);
        let error = run_agent(config(), CancellationToken::new()).await.expect_err("taken");
        assert!(error.to_string().contains("no WireGuard interface"), "{error}");
        assert_eq!(error.exit_code(), 2);
        ip(&["link", "del", INTERFACE]);
        let error = run_agent(config(), CancellationToken::new()).await.expect_err("no token");
        assert!(matches!(error, RunError::Enrol(_)), "{error}");
    });
}

#[test]
fn a_certificate_that_is_missing_or_damaged_is_named_with_a_remedy() {
    let name = "running::a_certificate_that_is_missing_or_damaged_is_named_with_a_remedy";
    Sandbox::enter(name, async |sandbox: Sandbox| {
        enrolled(&sandbox);
        let other = rcgen::KeyPair::generate().expect("key");
        let params = rcgen::CertificateParams::new(vec![]).expect("params");
        let good = params.self_signed(&other).expect("certificate").pem();
        let cut = &good[..good.len() / 2];
        let cases = [
            (None, None, "client.crt\" is damaged: it is missing"),
            (Some(cut), Some(good.as_str()), "client.crt\" is damaged"),
            (Some(&good), None, "ca.crt\" is damaged: it is missing"),
            (Some(&good), Some(cut), "ca.crt\" is damaged"),
            (Some(&good), Some(&good), "ca.crt, client.crt and client.key cannot be used"),
        ];
        for (certificate, ca, what) in cases {
            for (file, text) in [("client.crt", certificate), ("ca.crt", ca)] {
                let path = format!("{STATE}/{file}");
                let _ = fs::remove_file(&path);
                if let Some(text) = text {
                    fs::write(&path, text).expect("written");
                }
            }
            let error = run_agent(config(), CancellationToken::new()).await.expect_err(what);
            let text = error.to_string();
            assert!(text.contains(what) && text.contains(STATE), "{text}");
            assert!(text.contains("from a backup, or remove the node"), "{text}");
            assert_eq!(error.exit_code(), 2, "{text}");
        }
    });
}

/// A configuration with a control plane that nobody serves.
fn config() -> AgentConfig {
    let text = format!(
        "state_dir = \"{STATE}\"\napi_urls = [\"https://[fd5e:1::2]:1\"]\nnode_name = \"n1\"\n\
         [wireguard]\ninterface = \"{INTERFACE}\"\n[workloads]\nresolver_dir = \"/run/resolvers\"\n"
    );
    fs::write(CONFIG, text).expect("written");
    AgentConfig::load(CONFIG.as_ref()).expect("valid")
}

const AGENT: &str = env!("CARGO_BIN_EXE_sextant-agent");

struct Agent(std::process::Child);

impl Agent {
    fn start() -> Self {
        config();
        let log = fs::File::create(LOG).expect("log");
        let errors = log.try_clone().expect("log");
        let mut command = Command::new(AGENT);
        command.args(["run", "--config", CONFIG]).stdout(log).stderr(errors);
        Self(command.spawn().expect("agent"))
    }

    async fn says(&self, what: &str) {
        wait_for(what, async || log().contains(what)).await;
    }

    /// It must still run, and end well.
    async fn stop(mut self) {
        assert!(self.0.try_wait().expect("agent").is_none(), "it ended: {}", log());
        run("kill", &[&self.0.id().to_string()]);
        let status = tokio::task::spawn_blocking(move || self.0.wait()).await.expect("waited");
        assert!(status.expect("agent").success(), "{}", log());
    }
}

fn log() -> String {
    fs::read_to_string(LOG).expect("log")
}

fn peer_answers() -> bool {
    Command::new("ping")
        .args(["-6", "-c1", "-W1", "fd00:0:0:2::1"])
        .output()
        .expect("ping")
        .status
        .success()
}

/// A state folder as an enrolment leaves it, with a certificate that no control plane gave.
fn enrolled(sandbox: &Sandbox) -> StateFolder {
    let folder = StateFolder::new(STATE);
    drop(folder.lock().expect("made"));
    let key = folder.wireguard_key_file();
    fs::write(&key, sandbox.own_key().reveal()).expect("written");
    run("chmod", &["600", &key.to_string_lossy()]);
    let client_key = folder.client_key().expect("key");
    let client_key = rcgen::KeyPair::from_pem(&client_key).expect("key");
    let params = rcgen::CertificateParams::new(vec![]).expect("params");
    let certificate = params.self_signed(&client_key).expect("certificate").pem();
    folder.save_certificate(&certificate, &certificate).expect("saved");
    let membership = sandbox.membership();
    let network_id = membership.network_id;
    let cursor = Cursor { epoch: Epoch(Uuid::from_u128(7)), event_id: 1 };
    folder.save_state(&SavedState { cursor, membership }).expect("saved");
    let (node_id, name) = (sandbox::ME, DnsLabel::new("n1").expect("label"));
    folder.save_node(&NodeIdentity { node_id, network_id, name }).expect("saved");
    folder
}
