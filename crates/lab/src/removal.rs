//! Nodes that leave the mesh for good.

use std::{ops::ControlFlow, time::Duration};

use rustix::process::Signal;
use sextant_api::resource::node::NodePhase;
use sextant_model::NodeId;

use crate::{
    description::NodeDescription,
    error::{LabError, Result},
    lab::Lab,
    node::INTERFACE,
    operator::Operator,
    process::{self, GRACE},
    underlay,
    wait::until,
};

impl Lab {
    /// Removes a node from its network, and its host from the lab once it is released: every other
    /// node has dropped it. That takes for ever while the agent of another node does not run.
    pub fn remove_node(
        &mut self,
        operator: &Operator,
        name: &str,
        limit: Duration,
    ) -> Result<NodeId> {
        self.description.node(name)?;
        let id = operator.node(name)?.id;
        operator.withdraw_node(id)?;
        self.await_released(operator, id, limit)?;
        self.await_departed(name, limit)?;
        self.discard_host(name)?;
        Ok(id)
    }

    /// Waits until every live node has let go of a node that was withdrawn.
    pub fn await_released(&self, operator: &Operator, id: NodeId, limit: Duration) -> Result<()> {
        until(&format!("node {id} to be released"), limit, &self.interrupt, || {
            Ok(match operator.phase(id) {
                Ok(NodePhase::Released) => ControlFlow::Break(()),
                Ok(phase) => ControlFlow::Continue(format!("it is {phase:?}")),
                Err(error) => ControlFlow::Continue(error.to_string()),
            })
        })
    }

    /// Waits until the agent of a withdrawn node has taken its interface away and ended.
    pub fn await_departed(&self, name: &str, limit: Duration) -> Result<()> {
        let node = self.description.node(name)?;
        until(&format!("the agent of \"{name}\" to leave"), limit, &self.interrupt, || {
            let runs = node.pids.agent.is_some_and(|pid| self.description.lab_id.marks(pid));
            Ok(match (runs, has_interface(node)?) {
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
