//! Namespaces for one test: the node under test with an underlay interface `eth0` (fd5e:1::1),
//! and a peer (fd5e:1::2) behind it that only `ip`, `wg` and `wireguard-go` know of.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv6Addr, SocketAddr},
    process::{Command, Stdio},
    time::Duration,
};

use sextant_agent::{
    config::{ImplementationChoice, WireGuardConfig},
    key::PrivateKey,
    reconcile::Reconciler,
};
use sextant_daemon::clock::SystemEntropy;
use sextant_model::{
    DnsLabel, NetworkId, NodeId, NodeRole, PeerAddresses, Prefix, PublicKey,
    membership::{Member, Membership},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub const ME: NodeId = NodeId(Uuid::from_u128(1));
pub const PEER: NodeId = NodeId(Uuid::from_u128(2));
pub const PEER_OVERLAY: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 2, 0, 0, 0, 1);

pub const KEY_FILE: &str = "/run/wireguard.key";

const INSIDE: &str = "LAB_KERNEL_INSIDE";
const LIMIT: Duration = Duration::from_secs(15);

pub struct Sandbox {
    own: PrivateKey,
    peer: PublicKey,
}

impl Sandbox {
    /// Runs `body` in fresh namespaces: this test again, in a process of its own.
    pub fn enter<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Self) -> F) {
        if std::env::var_os(INSIDE).is_none() {
            return outside(test);
        }
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        runtime.block_on(async {
            let sandbox = Self::new();
            sandbox.start_peer().await;
            body(sandbox).await;
        });
        runtime.shutdown_background();
    }

    fn new() -> Self {
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        std::fs::create_dir_all("/var/run/wireguard").expect("folder");
        ip(&["link", "set", "lo", "up"]);
        ip(&["netns", "add", "peer"]);
        ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", "peer"]);
        ip(&["-6", "address", "add", "fd5e:1::1/64", "dev", "eth0", "nodad"]);
        ip(&["link", "set", "eth0", "up"]);
        ip(&["-n", "peer", "-6", "address", "add", "fd5e:1::2/64", "dev", "eth0", "nodad"]);
        ip(&["-n", "peer", "link", "set", "eth0", "up"]);
        std::fs::write("/run/peer.key", run("wg", &["genkey"])).expect("written");
        let peer = public(&std::fs::read_to_string("/run/peer.key").expect("key"));
        let own = PrivateKey::generate(&SystemEntropy);
        Self { own, peer: peer.parse().expect("public key") }
    }

    /// The oracle: a peer that none of the code under test has touched.
    async fn start_peer(&self) {
        let own = self.own.public().expect("public key").to_string();
        detached("ip", &["netns", "exec", "peer", "wireguard-go", "wgpeer"]);
        wait_for("the peer's WireGuard", async || succeeds("wg", &["show", "wgpeer"])).await;
        let port = ["set", "wgpeer", "listen-port", "51820", "private-key", "/run/peer.key"];
        let me = ["peer", &own, "endpoint", "[fd5e:1::1]:51820", "allowed-ips", "fd00:0:0:1::/64"];
        run("wg", &[port.as_slice(), me.as_slice()].concat());
        let address = PEER_OVERLAY.to_string();
        ip(&["-n", "peer", "-6", "address", "add", &address, "dev", "wgpeer", "nodad"]);
        ip(&["-n", "peer", "link", "set", "wgpeer", "up"]);
        ip(&["-n", "peer", "-6", "route", "add", "fd00::/48", "dev", "wgpeer"]);
    }

    pub fn peer_key(&self) -> PublicKey {
        self.peer
    }

    pub fn own_key(&self) -> &PrivateKey {
        &self.own
    }

    pub fn reconciler(&self) -> Reconciler {
        reconciler_with(self.own.clone())
    }

    /// The node under test and the peer.
    pub fn membership(&self) -> Membership {
        let own = member(1, self.own.public().expect("public key"));
        let members = [own, member(2, self.peer)];
        Membership {
            network_id: NetworkId(Uuid::from_u128(1)),
            name: DnsLabel::new("mesh").expect("label"),
            prefix: "fd00::/48".parse().expect("prefix"),
            members: members.into_iter().map(|m| (m.node_id, m)).collect::<BTreeMap<_, _>>(),
            departed: BTreeSet::new(),
            workloads: BTreeMap::new(),
            released: BTreeSet::new(),
            skipped: None,
        }
    }

    pub async fn ping_from_peer(&self, address: &str) {
        let arguments = ["netns", "exec", "peer", "ping", "-6", "-c1", "-W1", address];
        wait_for("a ping from the peer", async || succeeds("ip", &arguments)).await;
    }

    /// The peer asks for an address and is told at once that it is nowhere.
    pub async fn unreachable_from_peer(&self, address: &str) {
        let arguments = ["netns", "exec", "peer", "ping", "-6", "-c1", "-W2", address];
        wait_for("the peer to be told", async || {
            let output = Command::new("ip").args(arguments).output().expect("ip");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!output.status.success(), "{address} answers: {text}");
            text.contains("nreachable")
        })
        .await;
    }

    /// Ends the process behind `interface` as the kernel would end it when memory is short; its
    /// socket stays behind. Nothing happens where the kernel's WireGuard serves it.
    pub async fn kill_userspace(&self, interface: &str) {
        if let Some(process) = userspace(interface) {
            run("kill", &["-9", &process]);
            let gone = async || !succeeds("ip", &["link", "show", interface]);
            wait_for("the interface to go", gone).await;
            assert!(std::fs::exists(format!("/run/wireguard/{interface}.sock")).expect("run"));
            return;
        }
        assert!(ip(&["-d", "link", "show", interface]).contains("wireguard"), "nobody serves it");
        ip(&["link", "del", interface]);
    }
}

/// As after a start with this key in [`KEY_FILE`].
pub fn reconciler_with(key: PrivateKey) -> Reconciler {
    let config = WireGuardConfig {
        interface: "sextant0".into(),
        listen_port: 51820,
        implementation: ImplementationChoice::Auto,
    };
    Reconciler::new(&config, key, KEY_FILE.into()).expect("reconciler")
}

/// Id of the process that serves `interface`; `None` where the kernel does.
pub fn userspace(interface: &str) -> Option<String> {
    let wanted = format!("wireguard-go\0{interface}\0");
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let serves = |entry: &std::fs::DirEntry| {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        command.ends_with(&wanted)
    };
    let found = processes.into_iter().find(serves)?;
    Some(found.file_name().to_string_lossy().into_owned())
}

/// Node `n` as the control plane would describe it.
pub fn member(n: u16, public_key: PublicKey) -> Member {
    let address = Ipv6Addr::new(0xfd00, 0, 0, n, 0, 0, 0, 1);
    Member {
        node_id: NodeId(Uuid::from_u128(n.into())),
        name: DnsLabel::new(format!("n{n}")).expect("label"),
        roles: vec![NodeRole::Worker],
        public_key,
        endpoint: SocketAddr::from((Ipv6Addr::new(0xfd5e, 1, 0, 0, 0, 0, 0, n), 51820)),
        addresses: PeerAddresses::v6(address),
        prefix: Prefix::containing(address.into(), 64).expect("prefix"),
    }
}

/// A public key that nobody holds.
pub fn key(n: u16) -> PublicKey {
    let mut bytes = [9; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    PublicKey::new(bytes).expect("key")
}

/// The public half of what `wg genkey` printed.
pub fn public(private: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("wg")
        .arg("pubkey")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("wg");
    child.stdin.take().expect("stdin").write_all(private.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("wg");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

pub fn ip(arguments: &[&str]) -> String {
    run("ip", arguments)
}

/// Runs a command to its end; it must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program).args(arguments).output();
    quiet.expect(program).status.success()
}

fn detached(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().expect(program).success(), "{program} {arguments:?}");
}

pub async fn wait_for<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} did not come within {LIMIT:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Everything that the inner process leaves behind ends with its process namespace.
fn outside(test: &str) {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let status = command
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .arg(std::env::current_exe().expect("test binary"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .status()
        .expect("unshare (util-linux)");
    assert!(status.success(), "{test} failed in its namespaces (root or user namespaces needed)");
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
