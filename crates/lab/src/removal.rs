//! Nodes that leave the mesh for good.

use std::{ops::ControlFlow, time::Duration};

use rustix::process::Signal;
use sextant_api::resource::{
    node::NodePhase,
    status::{NodeStatus, Status},
};
use sextant_model::NodeId;

use crate::{
    description::NodeDescription,
    error::{LabError, Result},
    lab::Lab,
    node::INTERFACE,
    operator::Operator,
    process::{self, GRACE},
    underlay,
    wait::{until, until_saying},
};

impl Lab {
    /// Removes a node from its network, and its host from the lab once it is released: every other
    /// node has dropped it. That takes for ever while the agent of another node does not run.
    ///
    /// Of a node that is no member any more only the host is left to be removed.
    pub fn remove_node(&mut self, operator: &Operator, name: &str, limit: Duration) -> Result<()> {
        let node = self.description.node(name)?;
        let known = match operator.find_node(name) {
            // Nobody can be asked to let go of it, and it has let go by itself.
            Err(error) if node.has_left() => {
                self.progress.say(error);
                None
            }
            known => known?,
        };
        if let Some(known) = known {
            operator.withdraw_node(known.id)?;
            self.progress.say(format_args!("{name} is told to leave"));
            self.await_released(operator, known.id, limit)?;
            self.progress.say(format_args!("every other node has dropped {name}"));
            // Without an agent its interface goes with its host.
            if self.agent_runs(node) {
                self.await_departed(name, limit)?;
            }
        } else {
            self.progress.say(format_args!("{name} is no member; only its host is removed"));
        }
        self.discard_host(name)
    }

    fn agent_runs(&self, node: &NodeDescription) -> bool {
        node.pids.agent.is_some_and(|pid| self.description.lab_id.marks(pid))
    }

    /// Waits until every live node has let go of a node that was withdrawn.
    pub fn await_released(&self, operator: &Operator, id: NodeId, limit: Duration) -> Result<()> {
        let what = format!("node {id} to be released");
        until_saying(&what, limit, &self.interrupt, &self.progress, || {
            Ok(match operator.phase(id) {
                Ok(NodePhase::Released) => ControlFlow::Break(()),
                Ok(_) => ControlFlow::Continue(match operator.status() {
                    Ok(status) => self.holding(&status),
                    Err(error) => error.to_string(),
                }),
                Err(error) => ControlFlow::Continue(error.to_string()),
            })
        })
    }

    /// Which nodes have not applied everything yet, and why not if it can be seen.
    fn holding(&self, status: &Status) -> String {
        let is_behind = |node: &&NodeStatus| {
            node.node.phase == NodePhase::Active && node.lag.is_none_or(|lag| lag > 0)
        };
        let described = |node: &NodeStatus| {
            let name = node.node.name.as_str();
            match self.description.node(name) {
                Ok(host) if !self.agent_runs(host) => {
                    let start = self.directory.hint(&format!("start {name}"));
                    format!("{name} (its agent does not run; {start} starts it)")
                }
                _ => name.to_owned(),
            }
        };
        let behind: Vec<_> = status.nodes.iter().filter(is_behind).map(described).collect();
        if behind.is_empty() {
            return "every other node has dropped it, the control plane has yet to note it".into();
        }
        format!("it has yet to be dropped by {}", behind.join(", "))
    }

    /// Waits until the agent of a withdrawn node has taken its interface away and ended.
    pub fn await_departed(&self, name: &str, limit: Duration) -> Result<()> {
        let node = self.description.node(name)?;
        until(&format!("the agent of \"{name}\" to leave"), limit, &self.interrupt, || {
            Ok(match (self.agent_runs(node), has_interface(node)?) {
                (false, false) => ControlFlow::Break(()),
                (true, _) => ControlFlow::Continue("it still runs".to_owned()),
                (false, true) => ControlFlow::Continue(format!("{INTERFACE} is left")),
            })
        })
    }

    /// Takes a node's host out of the lab, with everything that runs on it.
    pub fn discard_host(&mut self, name: &str) -> Result<()> {
        let index = self.node_index(name)?;
        let (switch, host) = (self.description.host("switch")?, self.description.host(name)?);
        let lab_id = &self.description.lab_id;
        underlay::detach(lab_id, &switch, &host)?;
        let on_host = |pid: &u32| process::same_network(*pid, host.holder);
        let running: Vec<u32> = lab_id.processes().into_iter().filter(on_host).collect();
        process::stop(lab_id, &running, Signal::TERM)?;
        process::await_end(lab_id, &running, GRACE)?;
        host.forget(lab_id)?;
        let directory = self.directory.node(name);
        std::fs::remove_dir_all(&directory).map_err(LabError::file("remove", directory))?;
        self.description.nodes.remove(index);
        self.save()
    }
}

/// Whether the mesh interface exists on a node.
fn has_interface(node: &NodeDescription) -> Result<bool> {
    let path = format!("/proc/{}/net/dev", node.pids.holder);
    let text = std::fs::read_to_string(&path).map_err(LabError::file("read", &path))?;
    Ok(text.lines().any(|line| {
        line.trim_start().strip_prefix(INTERFACE).is_some_and(|rest| rest.starts_with(':'))
    }))
}
