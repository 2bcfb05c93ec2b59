//! An operator at a lab.

use std::{
    ops::ControlFlow,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use sextant_lab::{
    Lab, Programs, Progress, ScratchDirectory, Size, interrupt::Interrupt, wait::until,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A lab with an operator in front of it.
pub struct Desk {
    pub lab: Lab,
    pub home: tempfile::TempDir,
    // Takes the lab down, so it goes last.
    _place: ScratchDirectory,
}

/// What came of a command.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

impl Desk {
    /// A lab of so many nodes and two replicas.
    pub fn new(nodes: u16) -> Self {
        Self::with_edges(nodes, 0)
    }

    /// The same with so many edges besides the nodes.
    pub fn with_edges(nodes: u16, edges: u16) -> Self {
        let place = ScratchDirectory::new().expect("make");
        let program = Path::new(env!("CARGO_BIN_EXE_sextant"));
        let programs = Programs::in_directory(program.parent().expect("a directory"));
        let size = Size { nodes, replicas: 2 };
        let (interrupt, progress) = (Interrupt::never(), Progress::start());
        let directory = place.directory();
        let lab = Lab::up_with_edges(directory, programs, size, edges, interrupt, progress);
        let home = tempfile::tempdir().expect("folder");
        Self { lab: lab.expect("the lab comes up"), home, _place: place }
    }

    /// The program with these arguments, which no shell splits.
    pub fn sextant(&self, arguments: &str) -> Command {
        let lab = self.lab.description();
        let urls: Vec<&str> = lab.api_urls.iter().map(url::Url::as_str).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sextant"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.home.path())
            .env_clear()
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("SEXTANT_API_URLS", urls.join(","))
            .env("SEXTANT_TOKEN_FILE", &lab.admin_token_file)
            .env("SEXTANT_CA_FILE", &lab.ca_file)
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &str) -> Ended {
        let Output { status, stdout, stderr } = self.sextant(arguments).output().expect("started");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ended {
            code: status.code().expect("an exit code"),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// Runs what must work.
    pub fn done(&self, arguments: &str) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments}: {ended:?}");
        ended.stdout
    }

    /// Runs what must work, and reads its answer.
    pub fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{arguments} --json"))).expect("JSON")
    }

    /// Runs what must fail with `code`, and returns what it says.
    pub fn refused(&self, code: i32, arguments: &str) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, code, "{arguments}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{arguments}: {ended:?}");
        ended.stderr
    }

    /// Runs again until the exit code is `code`.
    pub fn until(&self, code: i32, arguments: &str) -> Ended {
        until(arguments, LIMIT, self.lab.interrupt(), || {
            let ended = self.run(arguments);
            Ok(if ended.code == code {
                ControlFlow::Break(ended)
            } else {
                ControlFlow::Continue(format!("{ended:?}"))
            })
        })
        .expect("in time")
    }
}
