use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Start, eventually};

/// What an edge finds when it starts the process after it: one that begins when the test says so.
/// That process is ended when this is dropped.
pub struct NextProgram {
    program: PathBuf,
    go: PathBuf,
    pid: PathBuf,
}

impl NextProgram {
    /// Prepares `start` so that its program can be replaced.
    pub fn of(start: &mut Start) -> Self {
        let program = start.path("sextant-edge");
        symlink(env!("CARGO_BIN_EXE_sextant-edge"), &program).expect("linked");
        start.command = Command::new(&program);
        Self { program, go: start.path("go"), pid: start.path("pid") }
    }

    /// Puts the waiting program in place. Call once the edge runs.
    pub fn install(&self) {
        let (go, pid) = (self.go.display(), self.pid.display());
        let script = format!(
            "#!/bin/sh\necho $$ > {pid}.new && mv {pid}.new {pid}\n\
             while [ ! -e {go} ]; do sleep 0.01; done\nexec \"$(cat {go})\" \"$@\"\n"
        );
        let staged = self.program.with_extension("new");
        std::fs::write(&staged, script).expect("written");
        std::fs::set_permissions(&staged, PermissionsExt::from_mode(0o755)).expect("set");
        std::fs::rename(staged, &self.program).expect("renamed");
    }

    /// Waits until it was started.
    pub fn started(&self) {
        eventually("the next process", || self.pid.exists());
    }

    /// Lets it go on as an edge.
    pub fn goes_on(&self) {
        self.becomes(env!("CARGO_BIN_EXE_sextant-edge"));
    }

    /// Lets it go on as something else.
    pub fn becomes(&self, program: &str) {
        let staged = self.go.with_extension("new");
        std::fs::write(&staged, program).expect("written");
        std::fs::rename(staged, &self.go).expect("renamed");
    }
}

impl Drop for NextProgram {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(&self.pid).ok();
        let pid = pid.and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
