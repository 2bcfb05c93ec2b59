//! The socket under the prober, and the task that owns both.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sextant_daemon::clock::Entropy;
use sextant_model::NodeId;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::{Notify, watch},
};

use super::{Prober, Targets};

/// Pause after a socket error that would otherwise come back at once.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// Steers the prober. It ends when the handle is dropped.
#[derive(Debug)]
pub struct ProbeHandle {
    targets: watch::Sender<Targets>,
    hurry: Arc<Notify>,
    rtts: watch::Receiver<BTreeMap<NodeId, u32>>,
}

impl ProbeHandle {
    /// Measures these from now on.
    pub fn set_targets(&self, targets: Targets) {
        self.targets.send_if_modified(|current| {
            let changed = *current != targets;
            *current = targets;
            changed
        });
    }

    /// Measures everybody at once: the interface is a new one, and its sessions are gone.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// The last round trip to each peer that answered its last echo, in microseconds.
    pub fn rtts(&self) -> BTreeMap<NodeId, u32> {
        self.rtts.borrow().clone()
    }
}

/// Opens the socket and starts the task.
pub fn start(entropy: Arc<dyn Entropy>) -> io::Result<ProbeHandle> {
    let socket = open()?;
    let (targets, wanted) = watch::channel(Targets::new());
    let (results, rtts) = watch::channel(BTreeMap::new());
    let hurry = Arc::new(Notify::new());
    tokio::spawn(serve(socket, wanted, hurry.clone(), results, entropy));
    Ok(ProbeHandle { targets, hurry, rtts })
}

/// A datagram ICMPv6 socket gets only its own replies, but few systems allow it; a raw one needs
/// `CAP_NET_RAW` and gets everybody's.
pub(super) fn open() -> io::Result<UdpSocket> {
    let protocol = Some(Protocol::ICMPV6);
    let socket = match Socket::new(Domain::IPV6, Type::DGRAM, protocol) {
        Ok(socket) => socket,
        Err(_) => Socket::new(Domain::IPV6, Type::RAW, protocol)?,
    };
    socket.set_nonblocking(true)?;
    // A peer is one hop away; without a route an echo must not get far.
    socket.set_unicast_hops_v6(1)?;
    // Sending and receiving datagrams is all that is asked of it.
    UdpSocket::from_std(socket.into())
}

async fn serve(
    socket: UdpSocket,
    mut wanted: watch::Receiver<Targets>,
    hurry: Arc<Notify>,
    results: watch::Sender<BTreeMap<NodeId, u32>>,
    entropy: Arc<dyn Entropy>,
) {
    let mut prober = Prober::new(identifier());
    let mut buffer = [0; 256];
    loop {
        let now = Instant::now();
        prober.expire(now);
        for echo in prober.due(now, || random(entropy.as_ref())) {
            let to = SocketAddr::from((echo.to, 0));
            if let Err(error) = socket.send_to(&echo.message, to).await {
                tracing::debug!(peer = %echo.to, %error, "an echo could not be sent");
            }
        }
        results.send_if_modified(|current| {
            let rtts = prober.rtts();
            let changed = *current != rtts;
            *current = rtts;
            changed
        });
        tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => prober.set_targets(&wanted.borrow_and_update(), Instant::now()),
                Err(_) => return,
            },
            () = hurry.notified() => prober.hurry(Instant::now()),
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, from)) => prober.receive(from.ip(), &buffer[..length], Instant::now()),
                Err(error) => {
                    tracing::debug!(%error, "an echo could not be received");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            },
            () = wait_until(prober.wake_at()) => {}
        }
    }
}

/// Tells this process's echoes from others' in a trace.
pub(super) fn identifier() -> u16 {
    u16::try_from(std::process::id() & 0xffff).unwrap_or(1)
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

pub(super) fn random(entropy: &dyn Entropy) -> u64 {
    let bytes = entropy.bytes();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
