//! Looks for what is wrong. Each finding says what it is, where, and what to do about it.
//!
//! The parts that decide are pure functions from what was seen to findings ([`checks`]); the parts
//! that look are here and in [`probe`].

mod checks;
mod local;
mod probe;

use serde::Serialize;
use sextant_api::resource::health::NetworkNames;
use sextant_model::health::{self, Severity};

use crate::{
    args::Globals,
    connection::{self, Connection},
    exit::{Exit, Failure},
    output::Output,
};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub what: String,
    /// Where it is.
    #[serde(rename = "where")]
    pub place: String,
    /// What to do about it.
    #[serde(rename = "do")]
    pub remedy: String,
}

impl Finding {
    /// `what` is wrong at `place`; `remedy` helps.
    pub fn new(
        what: impl Into<String>,
        place: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let severity = Severity::Failure;
        Self { severity, what: what.into(), place: place.into(), remedy: remedy.into() }
    }
}

impl From<&health::Finding> for Finding {
    fn from(finding: &health::Finding) -> Self {
        let health::Finding { severity, subject, what, remedy, .. } = finding;
        Self { severity: *severity, ..Self::new(what, subject, remedy) }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// What is wrong with it; nothing if it is well.
    pub findings: Vec<Finding>,
}

impl Check {
    /// `name` was looked at, with this result.
    pub fn new(name: impl Into<String>, findings: impl IntoIterator<Item = Finding>) -> Self {
        Self { name: name.into(), findings: findings.into_iter().collect() }
    }
}

/// All that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// In the order in which one thing needs the other.
    pub checks: Vec<Check>,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
}

impl Examination {
    /// Every finding.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.checks.iter().flat_map(|check| &check.findings)
    }

    /// 0 healthy, 1 findings, 2 something could not be looked at.
    pub fn exit(&self) -> Exit {
        if !self.skipped.is_empty() {
            Exit::BadInput
        } else if self.findings().any(|finding| finding.severity != Severity::Note) {
            Exit::Finding
        } else {
            Exit::Success
        }
    }
}

/// Looks at everything that can be reached with these options; `output` is told of what takes long.
pub async fn examine(globals: &Globals, output: &Output) -> Examination {
    let mut examination = Examination::default();
    let connection = match Connection::resolve(globals) {
        Ok(connection) => connection,
        Err(failure) => {
            let finding = Finding::new(
                failure.to_string(),
                "command line, environment and contexts file",
                "see `sextant context --help`",
            );
            examination.checks.push(Check::new("configuration", [finding]));
            examination.skipped.push("everything else: it is not known whom to ask".into());
            return examination;
        }
    };
    examination.checks.push(Check::new(configured(&connection), []));

    let now = probe::now();
    let token = connection::read_token(&connection.token_file).await;
    examination.checks.push(local::token_file(&connection.token_file, token.as_ref().err()));
    let ca = connection::read_ca(&connection.ca_file);
    examination.checks.push(local::ca_file(&connection.ca_file, ca.as_deref(), now));

    let credentials = probe::Credentials { ca: ca.ok(), token: token.ok() };
    let mut replicas = Vec::new();
    for url in &connection.api_urls {
        let (checks, status) = probe::replica(url, &credentials, output).await;
        examination.checks.extend(checks);
        replicas.extend(status.map(|status| (url.clone(), status)));
    }
    if replicas.len() > 1 {
        examination.checks.push(checks::replicas_agree(&replicas));
    }
    let Some((url, status)) = replicas.into_iter().max_by_key(|(_, status)| status.settled) else {
        examination.skipped.push("nodes: no control plane gave their status".into());
        return examination;
    };
    let findings = if let Some(findings) = &status.findings {
        findings.clone()
    } else {
        // A control plane of an earlier version does not judge.
        let asked = probe::edges(&url, &credentials);
        let found = output.patiently(&format!("asking {url} for its edges"), asked).await;
        let edges = found.unwrap_or_else(|failure| {
            examination.skipped.push(format!("edges: {failure}"));
            Vec::new()
        });
        status.judge(&edges, &NetworkNames::new())
    };
    examination.checks.extend(checks::platform(&status, &findings));
    examination
}

fn configured(connection: &Connection) -> String {
    let urls: Vec<&str> = connection.api_urls.iter().map(url::Url::as_str).collect();
    match &connection.context {
        Some(name) => format!("configuration: context \"{name}\", {}", urls.join(", ")),
        None => format!("configuration: {}", urls.join(", ")),
    }
}

/// A failure as the finding it is.
fn finding_of(failure: &Failure, place: &str, remedy: &str) -> Finding {
    Finding::new(failure.to_string(), place, remedy)
}
