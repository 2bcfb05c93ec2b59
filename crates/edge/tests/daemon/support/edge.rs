use std::{
    ffi::OsString,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came to be: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How to start an edge.
pub struct Start {
    folder: Arc<tempfile::TempDir>,
    arguments: Vec<OsString>,
    pub command: Command,
    admin: Option<SocketAddr>,
}

/// A running edge; ended when dropped, with the process that took over from it.
pub struct Edge {
    folder: Arc<tempfile::TempDir>,
    admin: Option<SocketAddr>,
    child: Child,
    messages: Arc<Mutex<String>>,
}

impl Start {
    /// With a route file, and a socket for status.
    pub fn with_routes(routes: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("routes.toml"), routes).expect("written");
        let mut start = Self::bare(folder);
        let path = start.path("routes.toml");
        start.arguments.extend(["--routes".into(), path.into()]);
        start
    }

    /// With a configuration file, and a socket for status.
    pub fn with_config(config: &str) -> Self {
        Self::bare(tempfile::tempdir().expect("folder")).config(config)
    }

    fn bare(folder: tempfile::TempDir) -> Self {
        let mut start = Self {
            folder: Arc::new(folder),
            arguments: Vec::new(),
            command: Command::new(env!("CARGO_BIN_EXE_sextant-edge")),
            admin: None,
        };
        let admin = start.path("admin.sock");
        start.arguments.extend(["--admin".into(), admin.into()]);
        start
    }

    /// Adds a configuration file; `FOLDER` in it is the folder of this edge.
    pub fn config(mut self, config: &str) -> Self {
        let folder = self.folder.path().display().to_string();
        let path = self.path("edge.toml");
        let config = format!("{}\n", config.replace("FOLDER", &folder));
        std::fs::write(&path, config).expect("written");
        self.arguments.extend(["--config".into(), path.into()]);
        self
    }

    /// Status on a port and not on a path.
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.arguments[1] = address.to_string().into();
        self.admin = Some(address);
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs until it ends by itself: status, standard output and standard error.
    pub fn output(mut self) -> (ExitStatus, String, String) {
        let output = self.command.args(&self.arguments).output().expect("started");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// Starts, and waits until it serves.
    pub fn start(self) -> Edge {
        let edge = self.spawn();
        eventually("the edge is ready", || edge.messages().contains("ready version"));
        edge
    }

    pub fn spawn(mut self) -> Edge {
        self.command.args(&self.arguments).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("started");
        let messages = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().expect("piped");
        let collected = messages.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                collected.lock().expect("lock").push_str(&text);
            }
        });
        Edge { folder: self.folder, admin: self.admin, child, messages }
    }

    /// The same start again, in the same folder.
    pub fn again(&self) -> Self {
        Self {
            folder: self.folder.clone(),
            arguments: self.arguments.clone(),
            command: Command::new(env!("CARGO_BIN_EXE_sextant-edge")),
            admin: self.admin,
        }
    }
}

impl Edge {
    pub fn with_routes(routes: &str) -> Self {
        Start::with_routes(routes).start()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the route file in one step.
    pub fn set_routes(&self, routes: &str) {
        let staged = self.folder().join("routes.new");
        std::fs::write(&staged, routes).expect("written");
        std::fs::rename(staged, self.folder().join("routes.toml")).expect("renamed");
    }

    /// What it has logged so far.
    pub fn messages(&self) -> String {
        self.messages.lock().expect("lock").clone()
    }

    /// The process that was started first.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("signalled");
    }

    /// Waits until the process that was started has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the edge has ended", || {
            status = self.child.try_wait().expect("waited");
            status.is_some()
        });
        status.expect("status")
    }

    /// Asks the socket for status.
    pub fn get(&self, path: &str) -> String {
        self.try_get(path).expect("answered")
    }

    fn try_get(&self, path: &str) -> std::io::Result<String> {
        match self.admin {
            Some(address) => ask(TcpStream::connect(address)?, path),
            None => ask(UnixStream::connect(self.folder().join("admin.sock"))?, path),
        }
    }

    pub fn json(&self, path: &str) -> Value {
        let body = self.get(path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    pub fn status(&self) -> Value {
        self.json("/status")
    }

    /// One number of the metrics: `name` with its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("number")
    }

    /// Waits until its status is as it should be.
    pub fn becomes(&self, what: &str, mut condition: impl FnMut(&Value) -> bool) {
        eventually(what, || condition(&self.status()));
    }
}

fn ask(mut stream: impl Read + Write, path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

impl Drop for Edge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let messages = self.messages();
            let _ = writeln!(std::io::stderr().lock(), "the edge said:\n{messages}");
        }
        // Who answers may be the process that took over.
        let answered = self.try_get("/status").ok();
        let status = answered.and_then(|body| serde_json::from_str::<Value>(&body).ok());
        // One that was started after this one has an owner of its own.
        let status = status.filter(|status| status["generation"] != 0);
        let pid = status.and_then(|status| i32::try_from(status["pid"].as_i64()?).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
