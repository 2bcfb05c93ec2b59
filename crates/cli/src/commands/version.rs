//! `sextant version`.

use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    output::Output,
};

/// Which program this is.
#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    commit: &'static str,
}

/// Prints it.
pub fn run(output: &Output) -> Result<Exit, Failure> {
    let version = Version { version: env!("CARGO_PKG_VERSION"), commit: sextant_daemon::COMMIT };
    output.show(&version, |_| format!("sextant {}\n", sextant_daemon::VERSION))?;
    Ok(Exit::Success)
}
