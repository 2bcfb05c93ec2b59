//! How a command ends: what is said, and the exit code the shell sees.

use std::process::ExitCode;

use serde::Serialize;
use sextant_api::{ClientError, Problem};

/// The problem's code of a change that may have happened.
pub const OUTCOME_UNKNOWN: &str = "outcome-unknown";

/// The problem's code of what the caller's token is not for.
pub const FORBIDDEN: &str = "forbidden";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; healthy.
    Success,
    /// Not healthy, or declined at a prompt.
    Finding,
    /// Wrong usage, or a local file that cannot be used.
    BadInput,
    /// No control plane, or not the edge that was asked, could be reached, or it is not ready.
    Unreachable,
    /// The control plane said no.
    Refused,
    /// What was named does not exist.
    NotFound,
    /// What is there stands in the way.
    Conflict,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Finding => 1,
            Self::BadInput => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Interrupted => 130,
        }
    }

    /// What a problem of the control plane comes to.
    pub fn of_problem(problem: &Problem) -> Self {
        match problem.status {
            404 => Self::NotFound,
            409 | 412 | 428 => Self::Conflict,
            502..=504 => Self::Unreachable,
            _ => Self::Refused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Wrong usage, or a local file that cannot be used.
    #[error("{0}")]
    BadInput(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// What is there stands in the way.
    #[error("{0}")]
    Conflict(String),
    /// The server ended a stream for good.
    #[error("{detail} ({code})")]
    Refused {
        /// The problem's code.
        code: String,
        /// The same for people.
        detail: String,
    },
    /// The control plane did not answer as hoped.
    #[error("{}", explain(.0))]
    Client(#[from] ClientError),
    /// The control plane refused, and there is more to say than it knows.
    #[error("{detail} ({})", problem.code)]
    Explained {
        /// What it answered.
        problem: Box<Problem>,
        /// What to do about it.
        detail: String,
    },
    /// The edge that was asked did not answer as hoped.
    #[error("{0}")]
    Edge(String),
    /// Standard output is closed or full.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

/// The error as programs read it.
#[derive(Debug, Serialize)]
pub struct FailureReport<'a> {
    error: String,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a Problem>,
}

impl Failure {
    /// The exit code it comes to.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotFound(_) => Exit::NotFound,
            Self::Conflict(_) => Exit::Conflict,
            Self::Refused { .. } => Exit::Refused,
            Self::Edge(_) => Exit::Unreachable,
            Self::Explained { problem, .. } => Exit::of_problem(problem),
            Self::Client(error) => match error {
                ClientError::Problem(problem) => Exit::of_problem(problem),
                ClientError::Unreachable { .. } | ClientError::Unexpected { .. } => {
                    Exit::Unreachable
                }
                ClientError::Tls(_) | ClientError::File { .. } | ClientError::NoUrl => {
                    Exit::BadInput
                }
            },
            // The reader has seen enough.
            Self::Output(_) if self.is_quiet() => Exit::Success,
            Self::BadInput(_) | Self::Output(_) => Exit::BadInput,
        }
    }

    /// Whether the caller may not do or see that.
    pub fn is_forbidden(&self) -> bool {
        match self {
            Self::Client(error) => error.problem().is_some_and(|problem| problem.status == 403),
            Self::Refused { code, .. } => code == FORBIDDEN,
            _ => false,
        }
    }

    /// Whether nothing needs to be said.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The error as programs read it.
    pub fn report(&self) -> FailureReport<'_> {
        let problem = match self {
            Self::Client(error) => error.problem(),
            Self::Explained { problem, .. } => Some(problem.as_ref()),
            _ => None,
        };
        FailureReport { error: self.to_string(), exit_code: self.exit().code(), problem }
    }
}

/// The client's error with what to do about it.
fn explain(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { reason, .. } => format!("{error}; {}", reach(reason)),
        ClientError::Problem(problem) => explain_problem(problem),
        _ => error.to_string(),
    }
}

/// The command that does what the server asks for.
fn command_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "hostname-unclaimed" => "sextant hostname claim ORG/APP/ENVIRONMENT NAME",
        "port-not-granted" => "sextant port grant ORG/APP/ENVIRONMENT PORT --reason TEXT",
        "no-worker" => "sextant token create --node NAME --role worker",
        _ => return None,
    })
}

/// What the server says is for those who speak its protocol; some of it needs other words here.
fn explain_problem(problem: &Problem) -> String {
    let said = match problem.code.as_str() {
        "foreign-epoch" => {
            "the log was restored or a standby promoted, and does not continue from this position"
        }
        "beyond-head" => "this position lies beyond the end of the log",
        OUTCOME_UNKNOWN => {
            return format!(
                "it is not known whether the change was made; look before you run this again ({})",
                problem.code
            );
        }
        code => {
            return match command_for(code) {
                Some(command) => {
                    format!("{}: `{command}` ({})", problem.detail, problem.code)
                }
                None => problem.to_string(),
            };
        }
    };
    format!(
        "{said}; give --after 0 to start from the beginning, or add --follow to go on with what \
         happens ({})",
        problem.code
    )
}

/// What to do about a control plane that cannot be reached.
fn reach(reason: &str) -> &'static str {
    // A new CA of the same name shows as a bad signature.
    if reason.contains("UnknownIssuer") || reason.contains("BadSignature") {
        "the CA file is not that of this control plane; fetch its CA certificate and give it with --ca-file"
    } else if reason.contains("not valid for name") || reason.contains("NotValidForName") {
        "the certificate is made for other names; use one of them in --api-url or add this one to `tls.names`"
    } else if reason.contains("xpired") || reason.contains("NotValidYet") {
        "check the clocks of this machine and of the control plane"
    } else {
        "check the URL and the network; `sextant doctor` looks closer"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::EXIT_CODES;

    fn unreachable(reason: &str) -> Failure {
        let urls = "https://[::1]:7443/".into();
        ClientError::Unreachable { urls, reason: reason.into() }.into()
    }

    #[test]
    fn every_failure_has_its_exit_code() {
        for (status, code) in
            [(400, 4), (401, 4), (403, 4), (404, 5), (409, 6), (412, 6), (428, 6), (429, 4)]
        {
            let failure = ClientError::Problem(Box::new(Problem::new(status, "x", "y"))).into();
            assert_eq!(Failure::exit(&failure).code(), code, "{status}");
        }
        assert_eq!(Exit::of_problem(&Problem::new(503, "not-ready", "")).code(), 3);
        assert_eq!(Exit::of_problem(&Problem::new(500, "internal", "")).code(), 4);
        assert_eq!(unreachable("connection refused").exit().code(), 3);
        assert_eq!(Failure::from(ClientError::NoUrl).exit().code(), 2);
        assert_eq!(Failure::NotFound(String::new()).exit().code(), 5);
        let closed = Failure::Output(std::io::ErrorKind::BrokenPipe.into());
        assert!(closed.is_quiet());
        assert_eq!(closed.exit().code(), 0);
        let full = Failure::Output(std::io::ErrorKind::StorageFull.into());
        assert!(!full.is_quiet());
        assert_eq!(full.exit().code(), 2);
    }

    #[test]
    fn an_unreachable_control_plane_comes_with_a_remedy() {
        for (reason, remedy) in [
            ("invalid peer certificate: UnknownIssuer", "--ca-file"),
            ("invalid peer certificate: certificate not valid for name \"x\"", "tls.names"),
            ("invalid peer certificate: certificate expired: ...", "clocks"),
            ("Connection refused (os error 111)", "sextant doctor"),
        ] {
            let text = unreachable(reason).to_string();
            assert!(text.contains(remedy) && text.contains(reason), "{text}");
        }
    }

    #[test]
    fn what_the_protocol_asks_for_is_told_in_terms_of_the_command_line() {
        for (status, code, remedy) in [
            (410, "foreign-epoch", "--after 0"),
            (410, "beyond-head", "--follow"),
            (503, OUTCOME_UNKNOWN, "look before"),
        ] {
            let problem = Problem::new(status, code, "take a new snapshot");
            let text = Failure::from(ClientError::Problem(Box::new(problem))).to_string();
            assert!(text.contains(remedy) && text.ends_with(&format!("({code})")), "{text}");
            assert!(!text.contains("snapshot"), "{text}");
        }
    }

    #[test]
    fn programs_get_the_problem_as_the_server_sent_it() {
        let problem = Problem::new(409, "network-not-empty", "the network has nodes");
        let failure = Failure::from(ClientError::Problem(Box::new(problem)));
        let report = serde_json::to_value(failure.report()).expect("json");
        assert_eq!(report["exit_code"], 6);
        assert_eq!(report["problem"]["code"], "network-not-empty");
        assert_eq!(report["error"], "the network has nodes (network-not-empty)");
    }

    #[test]
    fn the_footer_names_every_exit_code() {
        for exit in [
            Exit::Success,
            Exit::Finding,
            Exit::BadInput,
            Exit::Unreachable,
            Exit::Refused,
            Exit::NotFound,
            Exit::Conflict,
            Exit::Interrupted,
        ] {
            assert!(EXIT_CODES.contains(&format!("\n  {:<5}", exit.code())), "{exit:?}");
        }
    }
}
