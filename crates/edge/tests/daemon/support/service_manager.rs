use std::{
    collections::BTreeMap,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg, sockopt},
    process::Pid,
};

use super::eventually;

/// The part of a service manager that talks `sd_notify(3)` and keeps file descriptors.
pub struct ServiceManager {
    path: PathBuf,
    heard: Arc<Mutex<Heard>>,
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct Heard {
    /// With who said it.
    messages: Vec<(Option<Pid>, String)>,
    store: BTreeMap<String, OwnedFd>,
}

impl ServiceManager {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        sockopt::set_socket_passcred(&socket, true).expect("option");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = heard.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            loop {
                let (pid, message, fds) = receive(&socket);
                shared.lock().expect("lock").take(pid, message, fds);
            }
        });
        Self { path, heard, _folder: folder }
    }

    /// Starts a service with what is in the store.
    pub fn prepare(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.path);
        let heard = self.heard.lock().expect("lock");
        let fds: Vec<OwnedFd> =
            heard.store.values().map(|fd| fd.as_fd().try_clone_to_owned().expect("copy")).collect();
        let names: Vec<&str> = heard.store.keys().map(String::as_str).collect();
        command.env("LISTEN_FDS", fds.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let mappings = (3..).zip(fds);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).expect("distinct");
    }

    /// Names of what is kept.
    pub fn stored(&self) -> Vec<String> {
        self.heard.lock().expect("lock").store.keys().cloned().collect()
    }

    /// How many messages had `line` in them.
    pub fn count(&self, line: &str) -> usize {
        let heard = self.heard.lock().expect("lock");
        heard.messages.iter().filter(|(_, text)| text.lines().any(|found| found == line)).count()
    }

    /// What `pid` has said.
    pub fn said_by(&self, pid: Pid) -> Vec<String> {
        let heard = self.heard.lock().expect("lock");
        let said = heard.messages.iter().filter(|(who, _)| *who == Some(pid));
        said.map(|(_, text)| text.clone()).collect()
    }

    /// Waits until `line` was said.
    pub fn hears(&self, line: &str) {
        eventually(line, || self.count(line) > 0);
    }

    /// The value of the last line that begins with `key`.
    pub fn last(&self, key: &str) -> Option<String> {
        let heard = self.heard.lock().expect("lock");
        let lines = heard.messages.iter().flat_map(|(_, text)| text.lines());
        lines.filter_map(|line| line.strip_prefix(key)).next_back().map(str::to_owned)
    }

    /// Forgets what was said.
    pub fn forget(&self) {
        self.heard.lock().expect("lock").messages.clear();
    }
}

/// Passes the socket of a socket unit.
pub fn pass(socket: &OwnedFd, command: &mut Command) {
    let mapping = FdMapping { parent_fd: socket.try_clone().expect("copy"), child_fd: 3 };
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "edge.socket");
    command.fd_mappings(vec![mapping]).expect("distinct");
}

impl Heard {
    fn take(&mut self, pid: Option<Pid>, message: String, fds: Vec<OwnedFd>) {
        let name = message.lines().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
        if let Some(name) = name {
            if message.lines().any(|line| line == "FDSTORE=1") {
                // One that is there already is kept.
                if let Some(fd) = fds.into_iter().next() {
                    self.store.entry(name).or_insert(fd);
                }
            } else if message.lines().any(|line| line == "FDSTOREREMOVE=1") {
                self.store.remove(&name);
            }
        }
        self.messages.push((pid, message));
    }
}

fn receive(socket: &UnixDatagram) -> (Option<Pid>, String, Vec<OwnedFd>) {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received =
        recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC).expect("received");
    assert!(!received.flags.contains(ReturnFlags::CTRUNC), "descriptors were lost");
    let (mut pid, mut fds) = (None, Vec::new());
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
            RecvAncillaryMessage::ScmCredentials(sender) => pid = Some(sender.pid),
            _ => {}
        }
    }
    let length = received.bytes;
    (pid, String::from_utf8_lossy(&bytes[..length]).into_owned(), fds)
}
