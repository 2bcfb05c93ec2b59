//! Bringing a lab up.

use std::time::Duration;

use crate::{
    directory::LabDirectory, error::Result, interrupt::Interrupt, lab::Lab, operator::Operator,
    programs::Programs, progress::Progress,
};

/// How large a lab shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Nodes, at least one.
    pub nodes: u16,
    /// Replicas of the control plane, at least one.
    pub replicas: u16,
}

impl Size {
    /// How long such a lab may take to converge.
    pub fn convergence_limit(self) -> Duration {
        Duration::from_secs(60 + 3 * u64::from(self.nodes))
    }
}

impl Lab {
    /// Brings up a whole platform and returns when its mesh has converged. If that fails, what was
    /// started stays as it is, with its logs, until `down`.
    pub fn up(
        directory: LabDirectory,
        programs: Programs,
        size: Size,
        interrupt: Interrupt,
        progress: Progress,
    ) -> Result<Self> {
        Self::up_with_edges(directory, programs, size, 0, interrupt, progress)
    }

    /// The same with so many edges besides the nodes, a client in front of them, and servers that
    /// answer for the workloads.
    pub fn up_with_edges(
        directory: LabDirectory,
        programs: Programs,
        size: Size,
        edges: u16,
        interrupt: Interrupt,
        progress: Progress,
    ) -> Result<Self> {
        // What is missing should be known before anything is started.
        programs.control()?;
        programs.agent()?;
        if edges > 0 {
            programs.edge()?;
        }
        let mut lab = Self::create(directory, programs, interrupt, progress)?;
        lab.progress.say(format_args!(
            "lab {} in {}, underlay {}",
            lab.description.lab_id.short(),
            lab.directory.path().display(),
            lab.description.underlay
        ));
        lab.start_postgres()?;
        lab.create_database()?;
        lab.progress.say("Postgres answers");
        let replicas: Result<Vec<_>> = (0..size.replicas).map(|_| lab.add_replica()).collect();
        lab.initialise_control_plane()?;
        for name in replicas? {
            lab.start_replica(&name)?;
            lab.progress.say(format_args!("replica {name} is ready"));
        }
        let operator = Operator::of(&lab.description)?;
        for _ in 0..size.nodes {
            let name = lab.add_node(&operator, None)?;
            lab.progress.say(format_args!("node {name} is started"));
        }
        for _ in 0..edges {
            let name = lab.add_edge(&operator)?;
            lab.progress.say(format_args!("edge {name} is started"));
        }
        let size = Size { nodes: size.nodes.saturating_add(edges), ..size };
        lab.await_converged(&operator, None, size.convergence_limit())?;
        lab.progress.say("the mesh has converged");
        if edges > 0 {
            lab.install_edges()?;
            lab.await_edges(&operator, size.convergence_limit())?;
            lab.progress.say("every edge serves what there is");
        }
        Ok(lab)
    }
}
