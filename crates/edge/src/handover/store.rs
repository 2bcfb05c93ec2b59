//! The service manager's store of file descriptors (`sd_pid_notify_with_fds(3)`).

use std::os::fd::BorrowedFd;

use sd_notify::NotifyState;

use crate::listen::Socket;

/// Keeps listening sockets open while no process has them. Without a service manager, nothing does.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    there: bool,
}

impl Store {
    /// The store of the service manager that started this process, if one did.
    pub fn from_environment() -> Self {
        Self { there: std::env::var_os("NOTIFY_SOCKET").is_some() }
    }

    /// Whether what is kept outlives this process.
    pub fn is_there(&self) -> bool {
        self.there
    }

    /// Gives a copy of the socket to the store.
    pub fn keep(&self, socket: &Socket, fd: BorrowedFd<'_>) {
        if !self.there {
            return;
        }
        let states = [NotifyState::FdStore, NotifyState::FdName(&name(socket))];
        if let Err(error) = sd_notify::notify_with_fds(&states, &[fd]) {
            tracing::warn!(%error, %socket, "the service manager does not keep the socket; a restart will refuse connections");
        }
    }

    /// Takes the socket out of the store: nobody listens there any more.
    pub fn forget(&self, socket: &Socket) {
        if !self.there {
            return;
        }
        let states = [NotifyState::FdStoreRemove, NotifyState::FdName(&name(socket))];
        if let Err(error) = sd_notify::notify(&states) {
            tracing::warn!(%error, %socket, "the service manager keeps a socket that is not needed");
        }
    }
}

/// Colons separate names in `LISTEN_FDNAMES`.
pub fn name(socket: &Socket) -> String {
    let address = socket.address.to_string().replace(':', "_");
    if socket.dual { format!("{address}_dual") } else { address }
}
