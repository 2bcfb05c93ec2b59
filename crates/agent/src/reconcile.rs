//! One pass over the interface: observe, ask the model for a plan, do the steps, say what failed.

mod pass;
mod tally;

use std::{
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

use sextant_api::resource::report::WireGuardImplementation;
use sextant_model::{
    NodeId, Prefix, PublicKey,
    firewall::Placement,
    health::Kind,
    key::InvalidPublicKey,
    membership::{DesiredMesh, Membership},
    mtu::{self, UnderlayTooNarrow},
    plan::{DesiredInterface, ObservedInterface, Step, plan},
};

use crate::{
    config::{WireGuardConfig, WorkloadsConfig},
    egress,
    key::PrivateKey,
    netlink::Netlink,
    problem::Problem,
    wireguard::{Observation, WireGuard, WireGuardError},
    workloads::{Guard, Workloads},
};

pub use pass::Pass;
pub use tally::Tally;

/// Makes the interface what the membership says.
#[derive(Debug)]
pub struct Reconciler {
    wireguard: WireGuard,
    key: PrivateKey,
    key_file: PathBuf,
    public_key: PublicKey,
    listen_port: u16,
    workloads: Workloads,
    /// What was desired when a pass last succeeded.
    announced: Option<DesiredMesh>,
    /// What the last pass made true; nothing if it failed.
    expected: Option<DesiredInterface>,
}

/// Largest underlay MTU that is made use of, in bytes: no IP packet is longer.
const LARGEST_UNDERLAY: u32 = 65_535;

impl Reconciler {
    /// Prepares for passes with this key, read from `key_file`; nothing is touched yet.
    pub fn new(
        config: &WireGuardConfig,
        key: PrivateKey,
        key_file: PathBuf,
    ) -> Result<Self, ReconcilerError> {
        let wireguard = WireGuard::new(config)?;
        let public_key = key.public()?;
        let listen_port = config.listen_port;
        let (announced, expected) = (None, None);
        let workloads = Workloads::new(WorkloadsConfig::default(), config.interface.clone());
        Ok(Self {
            wireguard,
            key,
            key_file,
            public_key,
            listen_port,
            workloads,
            announced,
            expected,
        })
    }

    /// Says how workloads are to be placed, where that is not as by default.
    pub fn carry(&mut self, workloads: &WorkloadsConfig) {
        self.workloads = Workloads::new(workloads.clone(), self.wireguard.name());
    }

    /// Whether the interface can become this node's: nothing has its name, or WireGuard with this
    /// node's key, or with neither key nor peers.
    pub async fn check_usable(&self) -> Result<(), WireGuardError> {
        let Some(found) = self.observe().await? else { return Ok(()) };
        let usable = match found.interface.public_key {
            Some(key) => key == self.public_key,
            None => found.interface.peers.is_empty(),
        };
        if usable { Ok(()) } else { Err(WireGuardError::Occupied(self.wireguard.name())) }
    }

    /// The interface as it is.
    pub async fn observe(&self) -> Result<Option<Observation>, WireGuardError> {
        self.wireguard.observe(&Netlink::open()?).await
    }

    /// Makes true what `membership` says about node `me`. Failures of single steps do not stop
    /// the others.
    pub async fn pass(&mut self, membership: &Membership, me: NodeId) -> Pass {
        let (Some(mesh), Some(own)) = (membership.desired(me), membership.members.get(&me)) else {
            let problem = Problem::new(Kind::Interface, "this node is no member of its network");
            return Pass { problems: vec![problem], ..Pass::default() };
        };
        if let Err(swapped) = self.key.check(self.key_file.clone(), membership, me) {
            let observation = self.observe().await.ok().flatten();
            let problems = vec![Problem::new(Kind::KeySwapped, swapped)];
            return Pass { blocked: true, observation, problems, ..Pass::default() };
        }
        let guard = self.workloads.guard(membership, me).await;
        let mesh = self.with_workloads(mesh, membership, &guard);
        let mut pass = match self.converge(mesh, own.endpoint.ip()).await {
            Ok(pass) => pass,
            Err(error) => {
                let observation = self.observe().await.ok().flatten();
                Pass { problems: vec![error.problem()], observation, ..Pass::default() }
            }
        };
        self.carry_workloads(&mut pass, membership, me, guard).await;
        pass
    }

    /// On the host's own interface, addresses of workloads are nobody's before the rules stand.
    fn with_workloads(
        &self,
        mut mesh: DesiredMesh,
        membership: &Membership,
        guard: &Guard,
    ) -> DesiredMesh {
        if self.workloads.placement() == Placement::Host {
            let before = self.expected.as_ref().map(|expected| &expected.mesh.addresses);
            let addresses = membership.workloads.values().map(|a| Prefix::host(IpAddr::V6(*a)));
            let may_be = |address: &Prefix| {
                guard.firewall.is_some() || before.is_some_and(|before| before.contains(address))
            };
            mesh.addresses.extend(addresses.filter(may_be));
        }
        mesh
    }

    async fn carry_workloads(
        &mut self,
        pass: &mut Pass,
        membership: &Membership,
        me: NodeId,
        guard: Guard,
    ) {
        let Some(found) = pass.observation.as_ref().filter(|found| found.interface.up) else {
            pass.take(guard.outcome);
            return;
        };
        let (mtu, on_host) = (found.interface.mtu, found.interface.addresses.clone());
        let known = guard.firewall.clone();
        let outcome = match Netlink::open() {
            Ok(netlink) => self.workloads.converge(&netlink, membership, guard, (me, mtu)).await,
            Err(error) => {
                let mut outcome = guard.outcome;
                outcome.failures.push(error.to_string());
                outcome
            }
        };
        pass.take(outcome);
        if self.workloads.placement() == Placement::Host {
            let known = |address: &&Ipv6Addr| {
                known.as_ref().is_some_and(|firewall| firewall.knows(**address))
            };
            let ready = membership.workloads.values().filter(known);
            let there = |a: &&Ipv6Addr| on_host.contains(&Prefix::host(IpAddr::V6(**a)));
            pass.ready = ready.filter(there).copied().collect();
        }
    }

    async fn converge(&mut self, mesh: DesiredMesh, own: IpAddr) -> Result<Pass, WireGuardError> {
        let netlink = Netlink::open()?;
        let before = self.wireguard.observe(&netlink).await?;
        let index = before.as_ref().map(|observation| observation.index);
        let endpoints = mesh.peers.values().map(|peer| peer.endpoint);
        let underlay = egress::underlay(&netlink, own, endpoints, index).await?;
        let underlay_mtu = underlay.map(|underlay| underlay.mtu.min(LARGEST_UNDERLAY));
        let (mtu, too_narrow) = overlay_mtu(underlay_mtu, before.as_ref());
        let mut problems: Vec<Problem> =
            too_narrow.iter().map(|error| Problem::new(Kind::UnderlayMtu, error)).collect();
        let Some(mtu) = mtu else {
            return Ok(Pass { underlay_mtu, problems, observation: before, ..Pass::default() });
        };
        let (public_key, listen_port) = (self.public_key, self.listen_port);
        let desired = DesiredInterface { public_key, listen_port, mtu, mesh };
        let observed = before.as_ref().map(|observation| &observation.interface);
        let steps = plan(&desired, observed, self.announced.as_ref());
        if steps.is_empty() {
            self.succeeded(desired);
            let pass = Pass { complete: true, observation: before, ..Pass::default() };
            return Ok(Pass { underlay_mtu, problems, ..pass });
        }
        let done = Tally::of(&steps, observed);
        let drift = self.drift(observed);
        let failures = self.execute(&netlink, &steps, before.as_ref()).await;
        let complete = failures.is_empty();
        if complete {
            self.succeeded(desired);
        } else {
            self.expected = None;
        }
        problems.extend(failures);
        let observation = self.wireguard.observe(&netlink).await?;
        let pass = Pass { complete, steps: steps.len(), done, drift, ..Pass::default() };
        Ok(Pass { observation, underlay_mtu, problems, ..pass })
    }

    fn succeeded(&mut self, desired: DesiredInterface) {
        self.announced = Some(desired.mesh.clone());
        self.expected = Some(desired);
    }

    /// What it would take to have again what the last pass left: others have changed that much,
    /// whatever the membership asks for by now.
    fn drift(&self, observed: Option<&ObservedInterface>) -> Tally {
        let Some(expected) = &self.expected else { return Tally::default() };
        Tally::of(&plan(expected, observed, Some(&expected.mesh)), observed)
    }

    /// Does the steps in their order; returns what failed.
    async fn execute(
        &self,
        netlink: &Netlink,
        steps: &[Step],
        before: Option<&Observation>,
    ) -> Vec<Problem> {
        let mut failures = Vec::new();
        let mut rest = steps;
        let listens_on = before.and_then(|found| found.interface.listen_port);
        let mut target = before.map(|found| (found.index, found.implementation));
        while let Some(step) = rest.first() {
            let length = rest.iter().take_while(|step| is_about_peers(step)).count().max(1);
            let (now, later) = rest.split_at(length);
            rest = later;
            let Some((index, implementation)) = target else {
                match self.create(netlink).await {
                    Ok(found) => target = Some((found.index, found.implementation)),
                    Err(error) => return vec![error.problem()],
                }
                continue;
            };
            let result = match step {
                Step::CreateLink => Ok(()),
                Step::SetDevice { listen_port } => {
                    let listens = listens_on == Some(*listen_port);
                    self.wireguard
                        .set_device(implementation, &self.key, *listen_port, listens)
                        .await
                }
                Step::SetMtu(mtu) => netlink.set_mtu(index, *mtu).await.map_err(Into::into),
                Step::AddAddress(address) => {
                    netlink.add_address(index, *address).await.map_err(Into::into)
                }
                Step::BringUp => {
                    let result = netlink.bring_up(index).await.map_err(WireGuardError::from);
                    result.map_err(|error| error.about_port(self.listen_port))
                }
                Step::RemovePeer(_) | Step::SetPeer { .. } => {
                    failures.extend(self.set_peers(implementation, now).await);
                    Ok(())
                }
                Step::AddRoute(prefix) => {
                    netlink.add_route(index, *prefix).await.map_err(Into::into)
                }
                Step::RemoveRoute(prefix) => {
                    netlink.remove_route(index, *prefix).await.map_err(Into::into)
                }
                Step::RemoveAddress(address) => {
                    netlink.remove_address(index, *address).await.map_err(Into::into)
                }
                Step::AddUnreachable(prefix) => {
                    netlink.add_unreachable(*prefix).await.map_err(Into::into)
                }
                Step::RemoveUnreachable(prefix) => {
                    netlink.remove_unreachable(*prefix).await.map_err(Into::into)
                }
            };
            failures.extend(result.err().map(|error: WireGuardError| error.problem()));
        }
        failures
    }

    async fn create(&self, netlink: &Netlink) -> Result<Observation, WireGuardError> {
        self.wireguard.create(netlink).await?;
        let created = self.wireguard.observe(netlink).await?;
        created.ok_or_else(|| WireGuardError::Elsewhere(self.wireguard.name()))
    }

    /// All at once; if WireGuard refuses that, one by one, so that one bad peer spoils nothing.
    async fn set_peers(
        &self,
        implementation: WireGuardImplementation,
        steps: &[Step],
    ) -> Vec<Problem> {
        let Err(error) = self.wireguard.set_peers(implementation, steps).await else {
            return Vec::new();
        };
        if steps.len() == 1 || !error.is_refusal() {
            return vec![error.problem()];
        }
        let mut failures = Vec::new();
        for step in steps {
            if let Err(error) =
                self.wireguard.set_peers(implementation, std::slice::from_ref(step)).await
            {
                let text = format!("{}: {error}", subject(step));
                failures.push(Problem::new(error.problem().kind, text));
            }
        }
        failures
    }

    /// Takes the interface away with all its peers: for a node that has left.
    pub async fn remove(&mut self) -> Result<(), WireGuardError> {
        (self.announced, self.expected) = (None, None);
        let netlink = Netlink::open()?;
        for problem in self.workloads.remove(&netlink).await {
            tracing::warn!(%problem, "what workloads had is not all gone");
        }
        // Not tied to the interface, so they would stay. Another agent on this host makes its own
        // again.
        for prefix in netlink.routes(0).await?.unreachable {
            netlink.remove_unreachable(prefix).await?;
        }
        let Some(found) = self.wireguard.observe(&netlink).await? else { return Ok(()) };
        let peers = found.interface.peers.keys().copied();
        let steps: Vec<Step> = peers.map(Step::RemovePeer).collect();
        self.wireguard.set_peers(found.implementation, &steps).await?;
        Ok(netlink.delete_link(found.index).await?)
    }
}

/// Why there can be no passes.
#[derive(Debug, thiserror::Error)]
pub enum ReconcilerError {
    /// The interface's name.
    #[error(transparent)]
    Interface(#[from] WireGuardError),
    /// The key.
    #[error(transparent)]
    Key(#[from] InvalidPublicKey),
}

/// The MTU to set, if the interface may be up at all, and what is wrong with the underlay's.
fn overlay_mtu(
    underlay: Option<u32>,
    before: Option<&Observation>,
) -> (Option<u32>, Option<UnderlayTooNarrow>) {
    let before = before.map(|observation| &observation.interface);
    match underlay.map(mtu::overlay) {
        Some(Ok(mtu)) => (Some(mtu), None),
        // Traffic that flows is not stopped.
        Some(Err(error)) => (before.filter(|found| found.up).map(|found| found.mtu), Some(error)),
        // Before the underlay is up, what is there stays; the next pass knows more.
        None => (Some(before.map_or(mtu::MINIMUM, |found| found.mtu)), None),
    }
}

fn is_about_peers(step: &Step) -> bool {
    matches!(step, Step::RemovePeer(_) | Step::SetPeer { .. })
}

fn subject(step: &Step) -> String {
    match step {
        Step::RemovePeer(key) | Step::SetPeer { public_key: key, .. } => format!("peer {key}"),
        _ => String::new(),
    }
}
