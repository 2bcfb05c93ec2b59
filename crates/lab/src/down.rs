//! Taking a lab down, whatever state it is in.

use std::{ops::ControlFlow, time::Duration};

use rustix::process::Signal;

use crate::{
    directory::LabDirectory,
    error::{LabError, Result},
    host,
    interrupt::Interrupt,
    lab::Lab,
    postgres,
    process::{self, GRACE, LabId},
    wait::until,
};

/// How long to wait for another command that changes the lab.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);

impl Lab {
    /// Takes the lab down.
    pub fn down(self) -> Result<()> {
        remove(&self.directory)
    }
}

/// Ends every process of the lab in `directory` and removes what `up` made, nothing else. Works
/// after a crash of `up` at any moment. Returns whether there was a lab.
pub fn down(directory: &LabDirectory) -> Result<bool> {
    if !directory.path().exists() {
        return Ok(false);
    }
    if directory.id()?.is_none() {
        // At most `up` ended before it had started anything.
        directory.remove()?;
        return Ok(false);
    }
    let claim = until("the lab", CLAIM_LIMIT, &Interrupt::never(), || {
        Ok(match directory.claim() {
            Ok(claim) => ControlFlow::Break(Ok(claim)),
            Err(busy @ LabError::UnusableDirectory { .. }) => {
                ControlFlow::Continue(busy.to_string())
            }
            Err(error) => ControlFlow::Break(Err(error)),
        })
    })?;
    let _claim = claim?;
    remove(directory)?;
    Ok(true)
}

fn remove(directory: &LabDirectory) -> Result<()> {
    let Some(lab) = directory.id()? else { return directory.remove() };
    end_processes(&lab)?;
    await_postgres(directory)?;
    host::forget_netns(&lab)?;
    postgres::remove_elsewhere(&directory.postgres())?;
    directory.remove()
}

/// Asks once, then kills until none is left: a process may start another while it is being ended.
fn end_processes(lab: &LabId) -> Result<()> {
    let (servers, others): (Vec<u32>, Vec<u32>) =
        lab.processes().into_iter().partition(|pid| process::runs(*pid, "postgres"));
    process::signal(lab, &others, Signal::TERM);
    process::signal(lab, &servers, Signal::INT);
    let all: Vec<u32> = servers.into_iter().chain(others).collect();
    // Who does not end in time is killed below.
    let _ = process::await_end(lab, &all, GRACE);
    until("the lab's processes to end", GRACE, &Interrupt::never(), || {
        let left = lab.processes();
        process::signal(lab, &left, Signal::KILL);
        Ok(if left.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(format!("still running: {left:?}"))
        })
    })
}

/// A killed postmaster leaves children, which write over their environment, so that they are known
/// by the directory they work in. They end by themselves.
fn await_postgres(directory: &LabDirectory) -> Result<()> {
    let data = directory.postgres().join("data");
    until("Postgres to end", GRACE, &Interrupt::never(), || {
        let left = process::working_in(&data, "postgres");
        Ok(if left.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(format!("still running: {left:?}"))
        })
    })
}
