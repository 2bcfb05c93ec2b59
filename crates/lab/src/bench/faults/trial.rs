//! One fault after the other: cause it, wait until it is named, heal it, wait until all is well.

use std::{
    ops::ControlFlow,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Fault, Outcome};
use crate::{
    command::run,
    error::{LabError, Result},
    lab::{Lab, Target},
    operator::Operator,
    process::{self, MARK},
    wait::until,
};

/// After which a cause that was not named is not waited for any longer. A busy machine is slow.
const NAMED_LIMIT: Duration = Duration::from_secs(60);
const WELL_LIMIT: Duration = Duration::from_secs(120);
/// A device that has the port of WireGuard.
const INTRUDER: &str = "intruder0";

/// A lab that is about to suffer.
pub struct Trial {
    pub lab: Lab,
    pub operator: Operator,
}

/// What a command of the operator answered.
struct Answer {
    code: Option<i32>,
    json: Value,
}

impl Trial {
    pub fn begin(mut lab: Lab) -> Result<Self> {
        let operator = Operator::of(lab.description())?;
        lab.find_wireguard()?;
        Ok(Self { lab, operator })
    }

    pub fn try_fault(&mut self, fault: &Fault) -> Result<Outcome> {
        let outcome = |named, doctor, cleared, said| Outcome {
            name: fault.name,
            named,
            doctor,
            cleared,
            said,
        };
        (fault.prepare)(self)?;
        if let Err(state) = timed(|| self.await_well())?.1 {
            return Ok(outcome(None, false, None, format!("not tried: {state}")));
        }
        (fault.cause)(self)?;
        let (since, named) = timed(|| self.await_named(fault))?;
        let doctor = named.is_ok() && self.doctor_names(fault)?;
        (fault.heal)(self)?;
        let (cleared, well) = timed(|| self.await_well())?;
        let (named, said) = match named {
            Ok(said) => (Some(since), said),
            Err(state) => (None, format!("instead: {state}")),
        };
        let (cleared, said) = match well {
            Ok(()) => (Some(cleared), said),
            Err(state) => (None, format!("{said}; still: {state}")),
        };
        Ok(outcome(named, doctor, cleared, said))
    }

    fn await_well(&self) -> Result<()> {
        until("the platform to be well", WELL_LIMIT, self.lab.interrupt(), || {
            let answer = self.ask("status")?;
            Ok(if answer.code == Some(0) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(answer.summary())
            })
        })
    }

    fn await_named(&self, fault: &Fault) -> Result<String> {
        until(fault.name, NAMED_LIMIT, self.lab.interrupt(), || {
            let answer = self.ask("status")?;
            let named =
                if fault.exit == 1 { answer.names(fault) } else { Some("no status".into()) };
            Ok(match named.filter(|_| answer.code == Some(fault.exit)) {
                Some(said) => ControlFlow::Break(said),
                None => ControlFlow::Continue(answer.summary()),
            })
        })
    }

    /// The doctor has the same findings; what it cannot look at it says.
    fn doctor_names(&self, fault: &Fault) -> Result<bool> {
        let answer = self.ask("doctor")?;
        let checks = answer.json["checks"].as_array().cloned().unwrap_or_default();
        let findings = checks.iter().filter_map(|check| check["findings"].as_array()).flatten();
        let mut said =
            findings.map(|one| format!("{} {}", text(&one["where"]), text(&one["what"])));
        let all = |said: &String| fault.says.iter().all(|part| said.contains(part));
        Ok(answer.code != Some(0) && (fault.exit != 1 || said.any(|said| all(&said))))
    }

    fn ask(&self, command: &str) -> Result<Answer> {
        let lab = self.lab.description();
        let mut cli = Command::new(self.lab.programs.cli()?);
        cli.args([command, "--json"]).envs(lab.environment()).env(MARK, lab.lab_id.as_str());
        let output =
            cli.output().map_err(|source| LabError::Spawn { program: "sextant".into(), source })?;
        let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(Answer { code: output.status.code(), json })
    }

    /// Runs a line of shell on a host.
    pub fn shell(&self, host: &str, line: &str) -> Result<String> {
        let lab = self.lab.description();
        run(lab.host(host)?.command(&lab.lab_id, "sh").args(["-c", line]))
    }

    /// Drops packets that leave `host` and match.
    pub fn drop_outgoing(&self, host: &str, rule: &str) -> Result<()> {
        self.shell(
            host,
            &format!(
                "nft add table ip6 fault && \
                 nft 'add chain ip6 fault out {{ type filter hook output priority 0; }}' && \
                 nft 'add rule ip6 fault out {rule} drop'"
            ),
        )
        .map(drop)
    }

    /// Drops nothing any more.
    pub fn drop_nothing(&self, hosts: &[&str]) -> Result<()> {
        for host in hosts {
            self.shell(host, "nft delete table ip6 fault")?;
        }
        Ok(())
    }

    pub fn stop(&mut self, name: &str) -> Result<()> {
        self.lab.stop(&Target::Host(name.into()))
    }

    pub fn kill(&mut self, name: &str) -> Result<()> {
        self.lab.kill(&Target::Host(name.into()))
    }

    /// Ends a node's agent and its WireGuard, as a reboot does.
    pub fn stop_node(&mut self, name: &str) -> Result<()> {
        self.lab.find_wireguard()?;
        self.stop(name)?;
        match self.lab.description().node(name)?.pids.wireguard {
            Some(pid) => {
                let lab = &self.lab.description().lab_id;
                process::stop(lab, &[pid], rustix::process::Signal::TERM)
            }
            None => {
                self.shell(name, &format!("ip link delete {}", crate::node::INTERFACE)).map(drop)
            }
        }
    }

    /// Takes the UDP port of WireGuard on a host.
    pub fn take_port(&self, host: &str) -> Result<()> {
        let make = format!(
            "ip link add {INTRUDER} type wireguard 2>/dev/null || wireguard-go {INTRUDER} >/dev/null 2>&1"
        );
        self.shell(host, &make)?;
        let listen = format!("ip link set {INTRUDER} up && wg set {INTRUDER} listen-port 51820");
        self.shell(host, &listen).map(drop)
    }

    /// Gives it back.
    pub fn free_port(&self, host: &str) -> Result<()> {
        self.shell(host, &format!("ip link delete {INTRUDER}")).map(drop)
    }

    /// Tells the control plane that a node is there.
    pub fn set_endpoint(&self, name: &str, address: std::net::Ipv6Addr) -> Result<()> {
        let id = self.operator.node(name)?.id;
        let patch = sextant_api::resource::node::NodePatch { endpoint: (address, 51820).into() };
        let client = self.operator.client();
        let found = self.operator.ask(format!("read node {name}"), client.node(id))?;
        let etag = found.etag.unwrap_or_default();
        self.operator
            .ask(format!("move node {name}"), client.patch_node(id, &patch, &etag))
            .map(drop)
    }

    /// Lets what the control plane is told about a node's endpoint last: the agent would put its own
    /// word against it.
    pub fn configure_no_endpoint(&mut self, name: &str) -> Result<()> {
        let config = self.lab.directory.node(name).join("agent.toml").display().to_string();
        self.stop(name)?;
        self.shell(name, &format!("sed -i '/^endpoint/d' '{config}'"))?;
        self.lab.start_agent(name)
    }

    pub fn underlay(&self, name: &str) -> Result<std::net::Ipv6Addr> {
        Ok(self.lab.description().node(name)?.underlay)
    }
}

impl Answer {
    /// What names the fault, if anything does. Other findings beside it are wrong.
    fn names(&self, fault: &Fault) -> Option<String> {
        let findings = self.wrong();
        let said = |one: &Value| format!("{} {}", text(&one["subject"]), text(&one["what"]));
        let is_it = |one: &&&Value| {
            text(&one["kind"]) == fault.kind
                && fault.says.iter().all(|part| said(one).contains(part))
        };
        let named: Vec<String> = findings.iter().filter(is_it).map(|one| said(one)).collect();
        (!named.is_empty() && named.len() == findings.len() && named.len() <= fault.findings)
            .then(|| named.join("; "))
    }

    fn wrong(&self) -> Vec<&Value> {
        let findings = self.json["findings"].as_array().into_iter().flatten();
        findings.filter(|finding| finding["severity"] != "note").collect()
    }

    fn summary(&self) -> String {
        let all: Vec<String> = self
            .wrong()
            .iter()
            .map(|one| {
                format!(
                    "{} ({}: {})",
                    text(&one["kind"]),
                    text(&one["subject"]),
                    text(&one["what"])
                )
            })
            .collect();
        format!("exit {:?}: {}", self.code, all.join("; "))
    }
}

/// How long a wait took, and what it came to or what was seen instead when its time was over.
fn timed<T>(
    wait: impl FnOnce() -> Result<T>,
) -> Result<(Duration, std::result::Result<T, String>)> {
    let start = Instant::now();
    let ended = match wait() {
        Ok(value) => Ok(value),
        Err(LabError::Timeout { state, .. }) => Err(state),
        Err(error) => return Err(error),
    };
    Ok((start.elapsed(), ended))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
