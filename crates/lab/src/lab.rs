//! A lab that this process may change.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv6Addr, TcpListener},
    ops::ControlFlow,
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sextant_model::{DnsLabel, NetworkId};

use crate::{
    clock::Clocks,
    command::tail,
    description::LabDescription,
    directory::{Claim, LabDirectory},
    error::{LabError, Result},
    host::{self, Host},
    interrupt::Interrupt,
    operator::Operator,
    postgres,
    process::{self, LabId},
    programs::Programs,
    progress::Progress,
    underlay,
    wait::until,
};

/// A daemon that cannot run at all has ended by then.
const TRIAL: Duration = Duration::from_secs(1);

/// A running lab, claimed by this process. Dropping it leaves everything running.
#[derive(Debug)]
pub struct Lab {
    pub(crate) directory: LabDirectory,
    pub(crate) programs: Programs,
    pub(crate) description: LabDescription,
    pub(crate) interrupt: Interrupt,
    pub(crate) progress: Progress,
    /// Ports taken for replicas that have not been started yet.
    pub(crate) reserved: BTreeMap<String, TcpListener>,
    pub(crate) clocks: Clocks,
    _claim: Claim,
}

/// A daemon that can be stopped, started and killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The control plane's database.
    Postgres,
    /// The agent or the replica on this host.
    Host(String),
    /// The edge on this node: `e1.edge`.
    Edge(String),
    /// What answers for the workloads on this node: `n1.workloads`.
    Workloads(String),
}

const EDGE: &str = ".edge";
const WORKLOADS: &str = ".workloads";

impl FromStr for Target {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        if text == "postgres" {
            return Ok(Self::Postgres);
        }
        // A node's name has no dot in it.
        let daemon = |suffix| text.strip_suffix(suffix).map(str::to_owned);
        let edge = daemon(EDGE).map(Self::Edge);
        let named = edge.or_else(|| daemon(WORKLOADS).map(Self::Workloads));
        Ok(named.unwrap_or_else(|| Self::Host(text.to_owned())))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => f.write_str("postgres"),
            Self::Host(name) => f.write_str(name),
            Self::Edge(name) => write!(f, "{name}{EDGE}"),
            Self::Workloads(name) => write!(f, "{name}{WORKLOADS}"),
        }
    }
}

impl Lab {
    /// Makes an empty lab: a directory and the switch.
    pub fn create(
        directory: LabDirectory,
        programs: Programs,
        interrupt: Interrupt,
        progress: Progress,
    ) -> Result<Self> {
        host::check_system()?;
        let lab_id = LabId::new(*uuid::Uuid::new_v4().as_bytes());
        let program = programs.lab()?;
        let claim = directory.create(&lab_id)?;
        let switch = host::start(&lab_id, &directory, &program, "switch", None, &interrupt)?;
        underlay::build(&lab_id, &switch)?;
        let description = LabDescription {
            mode: switch.mode,
            binaries: programs.directory().to_owned(),
            network: DnsLabel::new("mesh").expect("a valid label"),
            network_id: None,
            api_urls: Vec::new(),
            admin_token_file: directory.control().join("admin-token"),
            ca_file: directory.control().join("ca.crt"),
            postgres_url: String::new(),
            postgres_pid: None,
            underlay: underlay::prefix(&lab_id),
            switch: switch.holder,
            replicas: Vec::new(),
            nodes: Vec::new(),
            last_index: 0,
            last_edge: 0,
            client: None,
            lab_id,
        };
        let lab = Self::new(directory, programs, description, interrupt, progress, claim);
        lab.save()?;
        Ok(lab)
    }

    /// Takes over the lab in `directory`.
    pub fn open(directory: LabDirectory, interrupt: Interrupt, progress: Progress) -> Result<Self> {
        let claim = directory.claim()?;
        let description = LabDescription::read(&directory)?;
        let programs = Programs::in_directory(&description.binaries);
        Ok(Self::new(directory, programs, description, interrupt, progress, claim))
    }

    fn new(
        directory: LabDirectory,
        programs: Programs,
        description: LabDescription,
        interrupt: Interrupt,
        progress: Progress,
        claim: Claim,
    ) -> Self {
        let (reserved, clocks) = (BTreeMap::new(), Clocks::new());
        Self {
            directory,
            programs,
            description,
            interrupt,
            progress,
            reserved,
            clocks,
            _claim: claim,
        }
    }

    /// What is in it.
    pub fn description(&self) -> &LabDescription {
        &self.description
    }

    /// Daemons that are started from now on are those of `programs`.
    pub fn use_programs(&mut self, programs: Programs) {
        self.programs = programs;
    }

    /// What stops its waiting.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Where it is.
    pub fn directory(&self) -> &LabDirectory {
        &self.directory
    }

    /// Adds a host with a cable to the switch.
    pub fn add_host(&mut self, name: &str, address: Ipv6Addr) -> Result<Host> {
        let lab_id = &self.description.lab_id;
        let switch = self.description.host("switch")?;
        let program = self.programs.lab()?;
        let host =
            host::start(lab_id, &self.directory, &program, name, Some(&switch), &self.interrupt)?;
        underlay::attach(lab_id, &switch, &host, address, &self.interrupt)?;
        Ok(host)
    }

    /// Cuts a host off from all others.
    pub fn pull_cable(&self, name: &str) -> Result<()> {
        let (switch, host) = (self.description.host("switch")?, self.description.host(name)?);
        underlay::pull_cable(&self.description.lab_id, &switch, &host)
    }

    /// Lets a host reach the others again.
    pub fn plug_cable(&self, name: &str) -> Result<()> {
        let (switch, host) = (self.description.host("switch")?, self.description.host(name)?);
        underlay::plug_cable(&self.description.lab_id, &switch, &host, &self.interrupt)
    }

    /// Lets no longer packets pass at the switch's end of a host's cable.
    pub fn narrow_cable(&self, name: &str, mtu: u32) -> Result<()> {
        let (switch, host) = (self.description.host("switch")?, self.description.host(name)?);
        underlay::narrow_cable(&self.description.lab_id, &switch, &host, mtu)
    }

    /// Starts a daemon that is not running.
    pub fn start(&mut self, target: &Target) -> Result<()> {
        self.check_startable(target)?;
        match target {
            Target::Postgres => {
                self.start_postgres()?;
                self.await_replicas()
            }
            Target::Host(name) if self.replica_index(name).is_ok() => self.start_replica(name),
            Target::Host(name) => self.start_agent(name),
            Target::Edge(name) => self.start_edge(name),
            Target::Workloads(name) => self.start_workloads(name),
        }
    }

    fn check_startable(&self, target: &Target) -> Result<()> {
        if self.pid(target)?.is_some_and(|pid| self.description.lab_id.marks(pid)) {
            let stop = self.directory.hint(&format!("stop {target}"));
            return Err(wrong_state(target, format!("running already; run {stop} first")));
        }
        Ok(())
    }

    /// Like [`Self::start`], and stays until a daemon has proved that it does not end at once. One
    /// that did is an error and not meant to run.
    pub fn start_and_watch(&mut self, target: &Target) -> Result<()> {
        self.check_startable(target)?;
        self.progress.say(format_args!("starting {target}"));
        let outcome = self.start(target).and_then(|()| self.watch(target));
        let pid = self.pid(target)?;
        if outcome.is_err() && pid.is_some_and(|pid| !self.description.lab_id.marks(pid)) {
            self.forget(target)?;
        }
        outcome.inspect(|()| self.progress.say(format_args!("{target} runs")))
    }

    fn watch(&self, target: &Target) -> Result<()> {
        let (name, what) = match target {
            Target::Host(name) => (name, format!("the agent of \"{name}\"")),
            Target::Edge(name) => (name, format!("the edge on \"{name}\"")),
            Target::Workloads(name) => (name, format!("the server of workloads on \"{name}\"")),
            Target::Postgres => return Ok(()),
        };
        // A replica that is ready has proved enough.
        let Ok(node) = self.description.node(name) else { return Ok(()) };
        let end = Instant::now() + TRIAL;
        until(&what, 2 * TRIAL, &self.interrupt, || {
            if self.pid(target)?.is_some_and(|pid| self.description.lab_id.marks(pid)) {
                let proved = Instant::now() >= end;
                return Ok(if proved {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue("it runs".to_owned())
                });
            }
            let what = if node.has_left() {
                let remove = self.directory.hint(&format!("remove-node {name}"));
                format!("{what}, which is no member any more ({remove} takes its host away),")
            } else {
                what.clone()
            };
            let log = self.directory.log(&target.to_string());
            Err(LabError::Died { what, tail: tail(&log, 15), log })
        })
    }

    /// Asks a daemon to end and waits until it has.
    pub fn stop(&mut self, target: &Target) -> Result<()> {
        let pid = self.running(target)?;
        let signal = if *target == Target::Postgres { Signal::INT } else { Signal::TERM };
        process::stop(&self.description.lab_id, &[pid], signal)?;
        self.forget(target)
    }

    /// Ends a daemon without asking (SIGKILL).
    pub fn kill(&mut self, target: &Target) -> Result<()> {
        let pid = self.running(target)?;
        let lab_id = &self.description.lab_id;
        if *target == Target::Postgres {
            postgres::kill(lab_id, pid)?;
        } else {
            process::signal(lab_id, &[pid], Signal::KILL);
            process::await_end(lab_id, &[pid], process::GRACE)?;
        }
        self.forget(target)
    }

    /// The network its nodes join, made on first use.
    pub(crate) fn network_id(&mut self, operator: &Operator) -> Result<NetworkId> {
        if let Some(id) = self.description.network_id {
            return Ok(id);
        }
        let id =
            operator.create_network(&self.description.network, self.description.lab_id.as_str())?;
        self.description.network_id = Some(id);
        self.save()?;
        Ok(id)
    }

    pub(crate) fn save(&self) -> Result<()> {
        self.description.write(&self.directory.description())
    }

    pub(crate) fn node_index(&self, name: &str) -> Result<usize> {
        self.description.node(name)?;
        Ok(self.description.nodes.iter().take_while(|node| node.name != name).count())
    }

    pub(crate) fn replica_index(&self, name: &str) -> Result<usize> {
        let position = self.description.replicas.iter().position(|replica| replica.name == name);
        position.ok_or_else(|| self.description.no_replica(name))
    }

    fn pid(&self, target: &Target) -> Result<Option<u32>> {
        let lab = &self.description;
        lab.check_daemon(&target.to_string())?;
        Ok(match target {
            Target::Postgres => lab.postgres_pid,
            Target::Host(name) => match self.replica_index(name) {
                Ok(index) => lab.replicas[index].pids.control,
                Err(_) => lab.nodes[self.node_index(name)?].pids.agent,
            },
            Target::Edge(name) => lab.node(name)?.pids.edge,
            Target::Workloads(name) => lab.node(name)?.pids.workloads,
        })
    }

    fn running(&self, target: &Target) -> Result<u32> {
        self.pid(target)?.filter(|pid| self.description.lab_id.marks(*pid)).ok_or_else(|| {
            let start = self.directory.hint(&format!("start {target}"));
            wrong_state(target, format!("not running; {start} starts it"))
        })
    }

    fn forget(&mut self, target: &Target) -> Result<()> {
        match target {
            Target::Postgres => self.description.postgres_pid = None,
            Target::Host(name) => {
                if let Ok(index) = self.replica_index(name) {
                    self.description.replicas[index].pids.control = None;
                } else {
                    let index = self.node_index(name)?;
                    self.description.nodes[index].pids.agent = None;
                }
            }
            Target::Edge(name) => {
                let index = self.node_index(name)?;
                self.description.nodes[index].pids.edge = None;
            }
            Target::Workloads(name) => {
                let index = self.node_index(name)?;
                self.description.nodes[index].pids.workloads = None;
            }
        }
        self.save()
    }
}

fn wrong_state(target: &Target, state: String) -> LabError {
    let what = match target {
        Target::Postgres => "Postgres".to_owned(),
        Target::Host(name) => format!("the daemon on \"{name}\""),
        Target::Edge(name) => format!("the edge on \"{name}\""),
        Target::Workloads(name) => format!("the server of workloads on \"{name}\""),
    };
    LabError::WrongState { what, state }
}
