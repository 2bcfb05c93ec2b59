//! Clients that go on while something is changed: new connections at a steady rate, and
//! connections that are held. They run on the host outside the mesh, as a process of their own.

pub(crate) mod attempt;
mod run;
mod tally;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Child, Stdio},
};

use serde::{Deserialize, Serialize};

pub use self::tally::{Failure, Tally};
use crate::{
    command::last_lines,
    description::LabDescription,
    error::{LabError, Result},
    programs::Programs,
};

/// What to do until it is told to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficPlan {
    /// Where new connections go, one target after the other.
    pub targets: Vec<Visit>,
    /// New connections per second, over all targets.
    pub per_second: u32,
    /// Where connections are held. All must lead to an echo.
    pub held: Vec<Visit>,
    /// Held connections to each of these.
    pub held_each: u32,
}

/// One place to go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// The edge, with its port.
    pub address: SocketAddr,
    /// The name to ask for.
    pub name: String,
    /// What is there.
    pub service: Service,
}

/// What is behind a route, and so what makes a visit a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// An HTTPS server: a TLS handshake, one request, and its whole answer with status 200.
    Https,
    /// An echo behind a route by name: the ClientHello comes back byte by byte.
    Echo,
}

/// Traffic under way. Dropping it ends it.
#[derive(Debug)]
pub struct Traffic {
    child: Child,
}

impl Traffic {
    /// Starts it on the client's host.
    pub fn start(lab: &LabDescription, plan: &TrafficPlan) -> Result<Self> {
        let program = Programs::in_directory(&lab.binaries).lab()?;
        let mut child = lab
            .client_host()?
            .command(&lab.lab_id, program)
            .arg("traffic")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(spawn_failed)?;
        let mut text = serde_json::to_string(plan).map_err(std::io::Error::other);
        if let (Ok(text), Some(stdin)) = (&mut text, &mut child.stdin) {
            text.push('\n');
            // One that has ended says why when it is asked for its tally.
            let _ = stdin.write_all(text.as_bytes());
        }
        text.map_err(spawn_failed)?;
        Ok(Self { child })
    }

    /// Ends it and counts. What is under way may end first.
    pub fn finish(mut self) -> Result<Tally> {
        drop(self.child.stdin.take());
        let mut written = String::new();
        if let Some(out) = &mut self.child.stdout {
            out.read_to_string(&mut written).map_err(spawn_failed)?;
        }
        serde_json::from_str(&written).map_err(|_| {
            let mut complaint = String::new();
            if let Some(err) = &mut self.child.stderr {
                let _ = err.read_to_string(&mut complaint);
            }
            LabError::Command {
                command: "sextant-lab traffic".to_owned(),
                status: "no tally".to_owned(),
                output: last_lines(&complaint, 5),
            }
        })
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn_failed(source: std::io::Error) -> LabError {
    LabError::Spawn { program: "sextant-lab traffic".to_owned(), source }
}

/// What the process does: reads a plan from stdin, follows it until stdin ends, writes the tally.
pub fn run() -> Result<()> {
    run::run()
}
