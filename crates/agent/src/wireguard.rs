//! The WireGuard interface: what it is, and single changes to it. A thin shell over
//! `wireguard-control`, whose calls block.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, SocketAddrV6},
    time::{Duration, SystemTime},
};

use rustix::io::Errno;
use sextant_api::resource::report::WireGuardImplementation;
use sextant_model::{
    Prefix, PublicKey,
    health::Kind,
    plan::{ObservedInterface, ObservedPeer, Step},
};
use tokio::time::timeout;
use wireguard_control::{
    AllowedIp, Backend, Device, DeviceUpdate, InterfaceName, PeerConfigBuilder,
};
use zeroize::Zeroize;

use crate::{
    config::{ImplementationChoice, WireGuardConfig},
    key::PrivateKey,
    netlink::{Link, LinkKind, Netlink, NetlinkError},
    port::{self, PortBusy},
    problem::Problem,
    userspace::{self, Liveness, UserspaceError},
};

/// How long one exchange with WireGuard may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The interface as it is.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Number by which the kernel knows it.
    pub index: u32,
    /// Which WireGuard serves it.
    pub implementation: WireGuardImplementation,
    /// What the plan needs to know.
    pub interface: ObservedInterface,
    /// Bytes to and from each peer.
    pub traffic: BTreeMap<PublicKey, Traffic>,
}

/// Bytes to and from a peer since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received.
    pub rx_bytes: u64,
    /// Sent.
    pub tx_bytes: u64,
}

/// Why the interface cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum WireGuardError {
    /// Links, addresses or routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Userspace WireGuard.
    #[error(transparent)]
    Userspace(#[from] UserspaceError),
    /// Something else has the name.
    #[error(
        "interface \"{0}\" exists and is no WireGuard interface; choose another wireguard.interface"
    )]
    Foreign(String),
    /// WireGuard, but somebody else's.
    #[error(
        "interface \"{0}\" is a WireGuard interface with another key; if an earlier enrolment left it behind, remove it (ip link delete {0}), else choose another wireguard.interface"
    )]
    Occupied(String),
    /// A TUN device that nobody serves.
    #[error(
        "interface \"{0}\" exists and no userspace WireGuard serves it; remove it (ip link delete {0}), or choose another wireguard.interface"
    )]
    Orphaned(String),
    /// There is no kernel WireGuard, and nothing else is allowed.
    #[error(
        "the kernel has no WireGuard; load the module, or set wireguard.implementation = \"userspace\""
    )]
    NoKernel,
    /// A userspace process in another network namespace answers for the name.
    #[error(
        "a userspace WireGuard serves \"{0}\" in another network namespace; choose another wireguard.interface"
    )]
    Elsewhere(String),
    /// Something else listens on its port.
    #[error(transparent)]
    PortBusy(#[from] PortBusy),
    /// WireGuard refused.
    #[error("cannot {action} \"{interface}\": {source}")]
    Call {
        /// What was attempted.
        action: &'static str,
        /// On which interface.
        interface: String,
        /// Why not.
        source: io::Error,
    },
}

/// One interface, whether it exists or not.
#[derive(Clone, Debug)]
pub struct WireGuard {
    name: InterfaceName,
    choice: ImplementationChoice,
}

impl WireGuard {
    /// Names the interface; nothing is touched yet.
    pub fn new(config: &WireGuardConfig) -> Result<Self, WireGuardError> {
        let foreign = |_| WireGuardError::Foreign(config.interface.clone());
        let name = config.interface.parse().map_err(foreign)?;
        Ok(Self { name, choice: config.implementation })
    }

    /// Name of the interface.
    pub fn name(&self) -> String {
        self.name.to_string()
    }

    /// The interface as it is; `None` if there is none.
    pub async fn observe(&self, netlink: &Netlink) -> Result<Option<Observation>, WireGuardError> {
        let Some(link) = netlink.link(&self.name()).await? else { return Ok(None) };
        let implementation = self.implementation(link).await?;
        let device = self.device(implementation).await?;
        let addresses = netlink.addresses(link.index).await?;
        let routes = netlink.routes(link.index).await?;
        let now = SystemTime::now();
        let peers =
            device.peers.iter().filter_map(|peer| Some((key(&peer.config.public_key.0)?, peer)));
        let (mut observed, mut traffic) = (BTreeMap::new(), BTreeMap::new());
        for (public_key, peer) in peers {
            let handshake = peer.stats.last_handshake_time;
            observed.insert(
                public_key,
                ObservedPeer {
                    endpoint: peer.config.endpoint.map(plain),
                    allowed_ips: peer.config.allowed_ips.iter().filter_map(prefix).collect(),
                    // A handshake in the future, after the clock was set back, is as good as now.
                    handshake_age: handshake.map(|at| now.duration_since(at).unwrap_or_default()),
                },
            );
            let (rx_bytes, tx_bytes) = (peer.stats.rx_bytes, peer.stats.tx_bytes);
            traffic.insert(public_key, Traffic { rx_bytes, tx_bytes });
        }
        let interface = ObservedInterface {
            up: link.up,
            mtu: link.mtu,
            public_key: device.public_key.and_then(|found| key(&found.0)),
            listen_port: device.listen_port,
            addresses,
            routes: routes.into,
            unreachable: routes.unreachable,
            peers: observed,
        };
        Ok(Some(Observation { index: link.index, implementation, interface, traffic }))
    }

    async fn implementation(&self, link: Link) -> Result<WireGuardImplementation, WireGuardError> {
        match link.kind {
            LinkKind::WireGuard => Ok(WireGuardImplementation::Kernel),
            LinkKind::Tun => match userspace::liveness(&self.name()).await {
                Liveness::Alive => Ok(WireGuardImplementation::Userspace),
                Liveness::Dead => Err(WireGuardError::Orphaned(self.name())),
                Liveness::Silent(error) => Err(error.into()),
            },
            LinkKind::Other => Err(WireGuardError::Foreign(self.name())),
        }
    }

    /// Makes the interface.
    pub async fn create(&self, netlink: &Netlink) -> Result<(), WireGuardError> {
        if self.choice != ImplementationChoice::Userspace {
            if netlink.create_wireguard(&self.name()).await? {
                return Ok(());
            }
            if self.choice == ImplementationChoice::Kernel {
                return Err(WireGuardError::NoKernel);
            }
        }
        match userspace::liveness(&self.name()).await {
            Liveness::Dead => Ok(userspace::start(&self.name()).await?),
            Liveness::Silent(error) => Err(error.into()),
            // It lives, and its interface is not here.
            Liveness::Alive => Err(WireGuardError::Elsewhere(self.name())),
        }
    }

    /// Sets the private key and the port; it `listens` on that port already or not.
    pub async fn set_device(
        &self,
        implementation: WireGuardImplementation,
        key: &PrivateKey,
        listen_port: u16,
        listens: bool,
    ) -> Result<(), WireGuardError> {
        // Userspace WireGuard only says that it was asked for something invalid, and the kernel's
        // says it later.
        if !listens {
            port::check_free(listen_port)?;
        }
        let update =
            DeviceUpdate::new().set_private_key(key.as_key().clone()).set_listen_port(listen_port);
        let updated = self.update(implementation, update, "set the key and the port of").await;
        updated.map_err(|error| error.about_port(listen_port))
    }

    /// Does steps about peers as one update, in their order. Other steps are ignored.
    pub async fn set_peers(
        &self,
        implementation: WireGuardImplementation,
        steps: &[Step],
    ) -> Result<(), WireGuardError> {
        let peers: Vec<PeerConfigBuilder> = steps.iter().filter_map(peer).collect();
        let update = DeviceUpdate::new().add_peers(&peers);
        self.update(implementation, update, "change the peers of").await
    }

    async fn device(
        &self,
        implementation: WireGuardImplementation,
    ) -> Result<Device, WireGuardError> {
        let name = self.name;
        let read = move || {
            let mut device = Device::get(&name, backend(implementation))?;
            // Nobody asks for it, and each look at the interface would leave a copy.
            if let Some(key) = &mut device.private_key {
                key.0.zeroize();
            }
            device.private_key = None;
            Ok(device)
        };
        self.call("read", read).await
    }

    async fn update(
        &self,
        implementation: WireGuardImplementation,
        update: DeviceUpdate,
        action: &'static str,
    ) -> Result<(), WireGuardError> {
        // The library would start a process by itself where none answers, and wait for it badly.
        if implementation == WireGuardImplementation::Userspace {
            match userspace::liveness(&self.name()).await {
                Liveness::Alive => {}
                Liveness::Silent(error) => return Err(error.into()),
                Liveness::Dead => {
                    return Err(self.failed(action, io::ErrorKind::ConnectionRefused.into()));
                }
            }
        }
        let name = self.name;
        self.call(action, move || update.apply(&name, backend(implementation))).await
    }

    async fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, WireGuardError> {
        let result = match timeout(CALL_LIMIT, tokio::task::spawn_blocking(call)).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(io::Error::other(panic)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        result.map_err(|source| self.failed(action, source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> WireGuardError {
        WireGuardError::Call { action, interface: self.name(), source }
    }
}

/// The implementation in one word.
pub fn word(implementation: WireGuardImplementation) -> &'static str {
    match implementation {
        WireGuardImplementation::Kernel => "kernel",
        WireGuardImplementation::Userspace => "userspace",
    }
}

fn backend(implementation: WireGuardImplementation) -> Backend {
    match implementation {
        WireGuardImplementation::Kernel => Backend::Kernel,
        WireGuardImplementation::Userspace => Backend::Userspace,
    }
}

fn peer(step: &Step) -> Option<PeerConfigBuilder> {
    match step {
        Step::RemovePeer(public_key) => Some(builder(*public_key).remove()),
        Step::SetPeer { public_key, endpoint, allowed_ips } => {
            let ips: Vec<AllowedIp> = allowed_ips.iter().map(allowed_ip).collect();
            let peer = builder(*public_key).replace_allowed_ips().add_allowed_ips(&ips);
            Some(match endpoint {
                Some(endpoint) => peer.set_endpoint(*endpoint),
                None => peer,
            })
        }
        _ => None,
    }
}

fn builder(public_key: PublicKey) -> PeerConfigBuilder {
    PeerConfigBuilder::new(&wireguard_control::Key(*public_key.as_bytes()))
}

fn key(bytes: &[u8; 32]) -> Option<PublicKey> {
    PublicKey::new(*bytes).ok()
}

fn allowed_ip(prefix: &Prefix) -> AllowedIp {
    AllowedIp { address: prefix.net().addr(), cidr: prefix.length() }
}

fn prefix(ip: &AllowedIp) -> Option<Prefix> {
    Prefix::containing(ip.address, ip.cidr)
}

/// Without the flow label and, except where it matters, the scope that the kernel reports.
fn plain(endpoint: SocketAddr) -> SocketAddr {
    match endpoint {
        SocketAddr::V6(v6) if !v6.ip().is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0))
        }
        other => other,
    }
}

impl WireGuardError {
    /// The same, where the reason is that somebody else has the port.
    #[must_use]
    pub fn about_port(self, port: u16) -> Self {
        if self.errno() == Some(Errno::ADDRINUSE) { PortBusy::at(port).into() } else { self }
    }

    fn errno(&self) -> Option<Errno> {
        match self {
            Self::Netlink(error) => error.errno(),
            Self::Call { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }

    /// The complaint that it is.
    pub fn problem(&self) -> Problem {
        let is_forbidden = matches!(self.errno(), Some(Errno::PERM | Errno::ACCESS));
        let kind = match self {
            Self::PortBusy(_) => Kind::PortBusy,
            Self::Userspace(UserspaceError::Spawn { .. }) | Self::NoKernel => {
                Kind::WireguardMissing
            }
            Self::Userspace(UserspaceError::NoTun { .. }) => Kind::NotPermitted,
            _ if is_forbidden => Kind::NotPermitted,
            _ if self.is_taken() => Kind::InterfaceTaken,
            _ => Kind::Interface,
        };
        match kind {
            Kind::NotPermitted if matches!(self, Self::Call { .. }) => {
                Problem::new(kind, format!("{self}; sextant-agent needs CAP_NET_ADMIN"))
            }
            _ => Problem::new(kind, self),
        }
    }

    /// Whether the name belongs to somebody else; waiting does not change that.
    pub fn is_taken(&self) -> bool {
        matches!(
            self,
            Self::Foreign(_) | Self::Occupied(_) | Self::Orphaned(_) | Self::Elsewhere(_)
        )
    }

    /// Whether WireGuard answered, and said no.
    pub fn is_refusal(&self) -> bool {
        let silent = [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::Call { source, .. } if !silent.contains(&source.kind()))
    }
}
