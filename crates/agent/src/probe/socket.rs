//! The socket under the prober, and the task that owns both.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sextant_daemon::clock::Entropy;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::{Notify, watch},
};

use super::{Measurements, Prober, Targets};

/// Pause after a socket error that would otherwise come back at once.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// Steers the prober. It ends when the handle is dropped.
#[derive(Debug)]
pub struct ProbeHandle {
    targets: watch::Sender<Targets>,
    mtu: watch::Sender<u32>,
    hurry: Arc<Notify>,
    news: Arc<Notify>,
    measurements: watch::Receiver<Measurements>,
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

    /// The interface has this MTU now.
    pub fn set_mtu(&self, mtu: u32) {
        self.mtu.send_if_modified(|current| std::mem::replace(current, mtu) != mtu);
    }

    /// Waits until a peer was lost or is back, for short packets or for long ones. Cancel safe.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// What is known at this moment.
    pub fn measurements(&self) -> Measurements {
        self.measurements.borrow().clone()
    }
}

/// Opens the socket and starts the task.
pub fn start(entropy: Arc<dyn Entropy>) -> io::Result<ProbeHandle> {
    let socket = open()?;
    let (targets, wanted) = watch::channel(Targets::new());
    let (mtu, new_mtu) = watch::channel(0);
    let (results, measurements) = watch::channel(Measurements::default());
    let (hurry, news) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let steering = Steering { wanted, new_mtu, hurry: hurry.clone() };
    tokio::spawn(serve(socket, steering, results, news.clone(), entropy));
    Ok(ProbeHandle { targets, mtu, hurry, news, measurements })
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

/// What the handle asks for.
struct Steering {
    wanted: watch::Receiver<Targets>,
    new_mtu: watch::Receiver<u32>,
    hurry: Arc<Notify>,
}

async fn serve(
    socket: UdpSocket,
    mut steering: Steering,
    results: watch::Sender<Measurements>,
    news: Arc<Notify>,
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
        let found = prober.measurements(now);
        if results.borrow().verdict() != found.verdict() {
            news.notify_one();
        }
        results.send_replace(found);
        tokio::select! {
            changed = steering.wanted.changed() => match changed {
                Ok(()) => prober.set_targets(&steering.wanted.borrow_and_update(), Instant::now()),
                Err(_) => return,
            },
            changed = steering.new_mtu.changed() => match changed {
                Ok(()) => prober.set_mtu(*steering.new_mtu.borrow_and_update(), Instant::now()),
                Err(_) => return,
            },
            () = steering.hurry.notified() => prober.hurry(Instant::now()),
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
