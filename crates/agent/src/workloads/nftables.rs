//! The agent's own nftables table, by the program `nft`: read, compared, and changed in one
//! transaction. No other table is touched.

use std::{io, process::Stdio, time::Duration};

use sextant_model::firewall::{Firewall, Present, TABLE};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// How long one call of the program may take; a table of a thousand workloads takes milliseconds.
/// A machine that is flooded has to wait for its processors.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Why the table is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum NftablesError {
    /// There is no such program.
    #[error("\"nft\" is not in PATH; install nftables: without it no workload can be let in")]
    Missing,
    /// It cannot be run.
    #[error("cannot run nft: {0}")]
    Run(#[from] io::Error),
    /// It does not end.
    #[error("nft did not end within {CALL_LIMIT:?}")]
    Hangs,
    /// It refused.
    #[error("nft cannot {action}: {reason}")]
    Refused {
        /// What was attempted.
        action: &'static str,
        /// Why not, as it says.
        reason: String,
    },
}

/// What became of one look at the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// It was as it should be.
    Already,
    /// It was changed.
    Changed {
        /// Because somebody else had changed it.
        drift: bool,
    },
}

/// The table.
#[derive(Debug, Default)]
pub struct Nftables {
    /// What was applied last, and what the kernel then said of it.
    applied: Option<(Firewall, String)>,
}

impl Nftables {
    /// Makes the table what `firewall` says.
    pub async fn converge(&mut self, firewall: &Firewall) -> Result<Guarded, NftablesError> {
        let found = list().await?;
        let known = self.applied.as_ref();
        let untouched = known.is_none_or(|(_, listing)| found.as_ref() == Some(listing));
        if untouched && known.is_some_and(|(applied, _)| applied == firewall) {
            return Ok(Guarded::Already);
        }
        let present = Present::in_listing(found.as_deref().unwrap_or_default());
        if let Err(error) = run(&firewall.script(&present)).await {
            // Somebody may have changed what cannot be changed back, such as the type of a set.
            tracing::warn!(%error, "the nftables table cannot be changed; it is replaced");
            run(&firewall.replacement()).await?;
        }
        let listing = list().await?.unwrap_or_default();
        // After a restart of the agent it is written again, and is the same.
        let same = self.applied.is_none() && found.as_ref() == Some(&listing);
        self.applied = Some((firewall.clone(), listing));
        Ok(if same { Guarded::Already } else { Guarded::Changed { drift: !untouched } })
    }

    /// Takes the table away.
    pub async fn remove(&mut self) -> Result<(), NftablesError> {
        self.applied = None;
        match list().await? {
            Some(_) => run(&format!("delete table inet {TABLE}\n")).await,
            None => Ok(()),
        }
    }
}

/// What the kernel says of the table; `None` if there is none.
async fn list() -> Result<Option<String>, NftablesError> {
    match call(&["-nn", "list", "table", "inet", TABLE], "", "list its table").await {
        Ok(listing) => Ok(Some(listing)),
        Err(NftablesError::Refused { reason, .. })
            if reason.contains("No such file or directory") =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn run(script: &str) -> Result<(), NftablesError> {
    call(&["-f", "-"], script, "change its table").await.map(drop)
}

async fn call(
    arguments: &[&str],
    input: &str,
    action: &'static str,
) -> Result<String, NftablesError> {
    let child = Command::new("nft")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NftablesError::Missing,
        _ => NftablesError::Run(error),
    })?;
    let pipe = child.stdin.take();
    let work = async {
        let write = async {
            match pipe {
                Some(mut pipe) => pipe.write_all(input.as_bytes()).await,
                None => Ok(()),
            }
        };
        // Both at once: a pipe that nobody reads fills up. Whoever refuses may not read to the end.
        let (_, output) = tokio::join!(write, child.wait_with_output());
        output
    };
    let output = timeout(CALL_LIMIT, work).await.map_err(|_| NftablesError::Hangs)??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let reason = errors.lines().next().unwrap_or("it does not say why").to_owned();
    Err(NftablesError::Refused { action, reason })
}
