//! The workloads of the node: each in a network namespace of its own, behind a table of rules that
//! says who reaches it (ADR 0016).

mod lingering;
mod link;
mod names;
pub mod namespace;
pub mod nftables;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    io,
    net::Ipv6Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

use sextant_model::{
    NodeId, WorkloadId,
    firewall::{Firewall, LINK_PREFIX, Placement, Site, link_name},
    membership::Membership,
};

use self::{
    lingering::Lingering,
    nftables::{Guarded, Nftables},
};
use crate::{
    config::WorkloadsConfig,
    netlink::{Netlink, NetlinkError, view::View},
    reconcile::Tally,
};

/// Where resolvers of the host are listed. The first does not name a stub on the host's loopback,
/// which a namespace cannot reach.
const RESOLVERS: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

/// The workloads of the node and the table before them.
#[derive(Debug)]
pub struct Workloads {
    config: WorkloadsConfig,
    interface: String,
    nftables: Nftables,
    lingering: Lingering,
    /// Workloads whose namespace the last look left as it should be.
    settled: BTreeSet<WorkloadId>,
}

/// What became of one look at the workloads.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was done, and how much of it because somebody else had changed something.
    pub done: Tally,
    /// That part.
    pub drift: Tally,
    /// Addresses that packets reach.
    pub ready: BTreeSet<Ipv6Addr>,
    /// What keeps a workload from being reached, a line each.
    pub failures: Vec<String>,
    /// What else a person should see.
    pub remarks: Vec<String>,
}

/// Whether the table stands before the workloads.
#[derive(Debug)]
pub struct Guard {
    /// What it says; nothing if it could not be made so.
    pub firewall: Option<Firewall>,
    /// What was done to it.
    pub outcome: Outcome,
}

impl Workloads {
    /// Prepares for looks at the workloads behind this interface of the mesh.
    pub fn new(config: WorkloadsConfig, interface: String) -> Self {
        Self {
            config,
            interface,
            nftables: Nftables::default(),
            lingering: Lingering::default(),
            settled: BTreeSet::new(),
        }
    }

    /// Where the addresses are.
    pub fn placement(&self) -> Placement {
        self.config.placement.into()
    }

    /// Makes the table what the membership says. Comes before anything can be reached.
    pub async fn guard(&mut self, membership: &Membership, me: NodeId) -> Guard {
        let mut outcome = Outcome::default();
        let interface = self.interface.clone();
        let (placement, egress) = (self.placement(), self.config.egress);
        let site = Site { interface, placement, egress };
        let Some(mut firewall) = Firewall::new(membership, me, site) else {
            return Guard { firewall: None, outcome };
        };
        firewall.keep_open(self.lingering.update(firewall.published(), Instant::now()));
        if firewall.guards_any() && firewall.is_unlisted() {
            outcome.remarks.push(
                "the control plane does not say which ports routes name, so edges reach every \
                 port of the workloads here; upgrade the control plane"
                    .into(),
            );
        }
        match self.nftables.converge(&firewall).await {
            Ok(Guarded::Already) => {}
            Ok(Guarded::Changed { drift }) => {
                outcome.done.add("firewall-set");
                if drift {
                    outcome.drift.add("firewall-set");
                }
            }
            Err(error) => {
                // Without workloads nothing needs it yet.
                let needed = firewall.guards_any();
                let lines = if needed { &mut outcome.failures } else { &mut outcome.remarks };
                lines.push(error.to_string());
                return Guard { firewall: None, outcome };
            }
        }
        Guard { firewall: Some(firewall), outcome }
    }

    /// Makes the namespaces what the membership says. Without a guard nothing new is made.
    pub async fn converge(
        &mut self,
        netlink: &Netlink,
        membership: &Membership,
        guard: Guard,
        (me, mtu): (NodeId, u32),
    ) -> Outcome {
        let Guard { firewall, mut outcome } = guard;
        let mut view = match netlink.view().await {
            Ok(view) => view,
            Err(error) => {
                outcome.failures.push(error.to_string());
                return outcome;
            }
        };
        let wanted: BTreeSet<WorkloadId> = match self.placement() {
            Placement::Namespace => membership.workloads.keys().copied().collect(),
            Placement::Host => BTreeSet::new(),
        };
        self.clear(netlink, &wanted, &view, &mut outcome).await;
        if self.placement() == Placement::Host {
            self.settled.clear();
            return outcome;
        }
        if !membership.workloads.is_empty() {
            let forwards = link::let_forward(&self.interface);
            outcome.failures.extend(forwards.err().map(|error| error.to_string()));
        }
        let mut settled = BTreeSet::new();
        for (id, address) in &membership.workloads {
            let path = self.path(*id);
            if firewall.is_none() && !namespace::is_namespace(&path) {
                continue;
            }
            let wanted = link::Wanted { path: &path, name: link_name(*id), address: *address, mtu };
            match link::ensure(netlink, &mut view, &wanted).await {
                Ok(changes) => {
                    for change in changes {
                        outcome.done.add(change);
                        if self.settled.contains(id) {
                            outcome.drift.add(change);
                        }
                    }
                    settled.insert(*id);
                    if firewall.as_ref().is_some_and(|firewall| firewall.knows(*address)) {
                        outcome.ready.insert(*address);
                    }
                }
                Err(error) => outcome.failures.push(format!("workload {id}: {error}")),
            }
            let resolver = self.write_resolver(*id);
            outcome.remarks.extend(resolver.err().map(|error| {
                format!("the resolver file of workload {id} cannot be written: {error}")
            }));
        }
        self.settled = settled;
        if let Err(error) = self.link_names(membership, me) {
            outcome.remarks.push(format!("the names of namespaces cannot be kept: {error}"));
        }
        outcome
    }

    /// Takes everything away: for a node that has left.
    /// Returns what could not be.
    pub async fn remove(&mut self, netlink: &Netlink) -> Vec<String> {
        let mut outcome = Outcome::default();
        match netlink.view().await {
            Ok(view) => self.clear(netlink, &BTreeSet::new(), &view, &mut outcome).await,
            Err(error) => outcome.failures.push(error.to_string()),
        }
        if let Err(error) = self.nftables.remove().await {
            outcome.remarks.push(error.to_string());
        }
        outcome.failures.into_iter().chain(outcome.remarks).collect()
    }

    /// Takes away what no workload has: first the links, so that nothing is sent any more, then
    /// the names of namespaces in which nothing runs.
    async fn clear(
        &self,
        netlink: &Netlink,
        wanted: &BTreeSet<WorkloadId>,
        view: &View,
        outcome: &mut Outcome,
    ) {
        let links: BTreeSet<String> = wanted.iter().map(|id| link_name(*id)).collect();
        for (name, found) in &view.links {
            if name.starts_with(LINK_PREFIX) && !links.contains(name) {
                match netlink.delete_link(found.index).await {
                    Ok(()) => outcome.done.add("link-removed"),
                    Err(error) => outcome.failures.push(error.to_string()),
                }
            }
        }
        for (id, path) in self.namespaces().into_iter().filter(|(id, _)| !wanted.contains(id)) {
            match namespace::processes(&path) {
                Ok(processes) if processes.is_empty() => match namespace::forget(&path) {
                    Ok(()) => outcome.done.add("namespace-removed"),
                    Err(error) => outcome.remarks.push(format!("{}: {error}", path.display())),
                },
                Ok(processes) => outcome.remarks.push(format!(
                    "workload {id} is gone, and processes still run in its namespace \"{}\", \
                     without a network: {}; end them",
                    path.display(),
                    processes.join(", ")
                )),
                Err(error) => outcome.remarks.push(format!("{}: {error}", path.display())),
            }
            let _ = fs::remove_dir_all(self.config.resolver_dir.join(names::namespace(id)));
        }
    }

    fn path(&self, workload: WorkloadId) -> PathBuf {
        self.config.namespace_dir.join(names::namespace(workload))
    }

    /// The agent's own namespaces.
    fn namespaces(&self) -> Vec<(WorkloadId, PathBuf)> {
        let entries = fs::read_dir(&self.config.namespace_dir).into_iter().flatten().flatten();
        let own = |entry: fs::DirEntry| {
            Some((names::workload(entry.file_name().to_str()?)?, entry.path()))
        };
        entries.filter_map(own).collect()
    }

    /// Keeps the names that units refer to.
    fn link_names(&self, membership: &Membership, me: NodeId) -> io::Result<()> {
        let Some(boundary) = &membership.boundary else { return Ok(()) };
        let folder = &self.config.namespace_dir;
        let mut wanted: BTreeMap<String, WorkloadId> = names::links(boundary, me);
        wanted.retain(|_, id| membership.workloads.contains_key(id));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !wanted.contains_key(&name) && names::is_own_link(fs::read_link(entry.path()).ok()) {
                fs::remove_file(entry.path())?;
            }
        }
        for (name, id) in wanted {
            let (path, target) = (folder.join(&name), PathBuf::from(names::namespace(id)));
            if fs::read_link(&path).ok().as_ref() == Some(&target) {
                continue;
            }
            // In one step, so that a unit that starts now finds the one or the other.
            let next = folder.join(format!(".{name}.next").chars().take(200).collect::<String>());
            let _ = fs::remove_file(&next);
            std::os::unix::fs::symlink(&target, &next)?;
            fs::rename(&next, &path)?;
        }
        Ok(())
    }

    /// Where `ip netns exec` finds the resolvers of a namespace, on hosts that have a place for them.
    fn write_resolver(&self, workload: WorkloadId) -> io::Result<()> {
        if !self.config.resolver_dir.is_dir() {
            return Ok(());
        }
        let folder = self.config.resolver_dir.join(names::namespace(workload));
        let path = folder.join("resolv.conf");
        let text = resolvers();
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        // Read by whoever runs inside.
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))
    }
}

/// The host's resolvers, without those on its own loopback interface.
fn resolvers() -> String {
    let found = RESOLVERS.iter().find_map(|path| fs::read_to_string(Path::new(path)).ok());
    let usable = |line: &&str| {
        let server = line.strip_prefix("nameserver").map(str::trim);
        !server.is_some_and(|server| server == "::1" || server.starts_with("127."))
    };
    let text = found.unwrap_or_default();
    text.lines().filter(usable).fold(String::new(), |text, line| text + line + "\n")
}

/// Why a workload's namespace is not as it should be.
#[derive(Debug, thiserror::Error)]
enum WorkloadError {
    /// Links, addresses or routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The namespace itself.
    #[error("cannot {action} \"{path}\": {source}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// With which file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The kernel lost what it had just made.
    #[error("the link \"{0}\" is not there after it was made")]
    Vanished(String),
    /// Packets stay where they arrive.
    #[error(
        "this kernel forwards IPv6 only with net.ipv6.conf.all.forwarding = 1; set it (and \
         accept_ra = 2 where the host takes router advertisements), or run Linux 6.17 or later"
    )]
    NoForwarding,
}
