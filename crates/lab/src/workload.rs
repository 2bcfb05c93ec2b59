//! Workloads of a lab: what runs in them, and where.

use std::{
    ffi::OsString,
    net::Ipv6Addr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use sextant_api::{
    client::WorkloadQuery,
    page::MAX_LIMIT,
    resource::workload::{Workload, WorkloadStatus},
};

use crate::{
    command::tail,
    description::LabDescription,
    directory::private_directory,
    error::{LabError, Result},
    host::{Host, READY},
    lab::{Lab, Target},
    operator::Operator,
    process::Daemon,
    serve::{ECHO_PORT, HTTP_PORT, TLS_PORT},
    wait::until,
};

const START_LIMIT: Duration = Duration::from_secs(15);

impl Lab {
    /// Has the workloads of a node answered for, from now on.
    pub(crate) fn serve_workloads(&mut self, name: &str) -> Result<()> {
        let directory = self.directory.node(name).join("certificates");
        private_directory(&directory)?;
        let index = self.node_index(name)?;
        self.description.nodes[index].certificates = Some(directory);
        self.start_workloads(name)
    }

    /// Starts what answers for the workloads of a node.
    pub fn start_workloads(&mut self, name: &str) -> Result<()> {
        let mut command = self.description.host(name)?.entry();
        let index = self.node_index(name)?;
        let certificates = self.description.nodes[index].certificates.clone();
        let certificates = certificates.unwrap_or_else(|| self.directory.node(name));
        command.extend([self.programs.lab()?.into(), "serve".into(), OsString::from(name)]);
        command.extend(["--certificates".into(), OsString::from(certificates)]);
        let log = self.directory.log(&Target::Workloads(name.to_owned()).to_string());
        // What an earlier one wrote says nothing of this one.
        let _ = std::fs::remove_file(&log);
        let daemon = Daemon { command, log: Some(&log), listener: None };
        let pid = daemon.start(&self.description.lab_id)?;
        self.description.nodes[index].pids.workloads = Some(pid);
        self.save()?;
        self.await_serving(name, pid, &log)
    }

    fn await_serving(&self, name: &str, pid: u32, log: &Path) -> Result<()> {
        let what = format!("the server of workloads on \"{name}\"");
        until(&what, START_LIMIT, &self.interrupt, || {
            let written = tail(log, 10);
            if written.lines().any(|line| line == READY) {
                return Ok(ControlFlow::Break(()));
            }
            if self.description.lab_id.marks(pid) {
                return Ok(ControlFlow::Continue(written));
            }
            Err(LabError::Died { what: what.clone(), log: log.to_owned(), tail: written })
        })
    }
}

impl LabDescription {
    /// The host on which the workload with this address runs.
    pub fn workload_host(&self, workload: Ipv6Addr) -> Result<Host> {
        let node = self.node_of_workload(workload).ok_or_else(|| LabError::WrongState {
            what: format!("\"{workload}\""),
            state: "in no node's prefix; list the workloads to see their addresses".to_owned(),
        })?;
        Ok(self.host_of(node))
    }

    /// The certificate that a workload shows for a name, once it has been asked for it.
    pub fn certificate_file(&self, workload: Ipv6Addr, name: &str) -> Option<PathBuf> {
        let directory = self.node_of_workload(workload)?.certificates.as_ref()?;
        Some(directory.join(workload.to_string()).join(format!("{name}.crt")))
    }
}

/// The environment variable that tells a program the address of its workload.
pub const ADDRESS: &str = "SEXTANT_WORKLOAD_ADDRESS";

impl Operator {
    /// Every workload that has not been released.
    pub fn workloads(&self) -> Result<Vec<Workload>> {
        let mut query = WorkloadQuery::default();
        query.page.limit = Some(MAX_LIMIT);
        let mut all = Vec::new();
        loop {
            let page = self.ask("list the workloads", self.client().workloads(&query))?;
            let present = |it: &Workload| it.status != WorkloadStatus::Released;
            all.extend(page.items.into_iter().filter(present));
            if page.next_after.is_none() {
                return Ok(all);
            }
            query.page.after = page.next_after;
        }
    }
}

/// Workloads as a table.
pub fn table(workloads: &[Workload]) -> Vec<Vec<String>> {
    let titles = ["ENVIRONMENT", "PROCESS", "NODE", "ADDRESS", "STATUS", "HTTPS", "HTTP", "ECHO"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(workloads.iter().map(|workload| {
        vec![
            workload.environment.clone(),
            workload.process_type.to_string(),
            workload.node_name.to_string(),
            workload.address.to_string(),
            format!("{:?}", workload.status).to_lowercase(),
            TLS_PORT.to_string(),
            HTTP_PORT.to_string(),
            ECHO_PORT.to_string(),
        ]
    }));
    rows
}
