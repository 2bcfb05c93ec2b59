//! A way to a Postgres over TCP and IPv6 that can fall silent, as a host does that goes away without
//! a word.

use std::{
    io::{Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::error::{LabError, Result};

/// Between two looks at whether it may speak again.
const PAUSE: Duration = Duration::from_millis(10);

/// Carries bytes between `[::1]` and a server's socket.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    silent: AtomicBool,
    ended: AtomicBool,
    open: Mutex<Vec<(TcpStream, UnixStream)>>,
}

impl Relay {
    /// Listens on a port of `[::1]` for the server whose socket is in `socket_directory`.
    pub fn start(socket_directory: &Path) -> Result<Self> {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0))
            .map_err(LabError::file("listen on", "[::1]"))?;
        let port = listener.local_addr().map_err(LabError::file("look at", "a socket"))?.port();
        let shared = Arc::new(Shared::default());
        let (socket, accepting) = (socket_directory.join(".s.PGSQL.5432"), shared.clone());
        thread::spawn(move || accepting.accept(&listener, &socket));
        Ok(Self { port, shared })
    }

    /// Connection URL for a database and a user.
    pub fn url(&self, database: &str, user: &str) -> String {
        format!("postgresql://{user}@[::1]:{}/{database}", self.port)
    }

    /// Takes bytes and carries none: neither those of connections that stand nor those of new ones.
    pub fn silence(&self) {
        self.shared.silent.store(true, Ordering::SeqCst);
    }

    /// Carries bytes again, also those it has taken meanwhile.
    pub fn speak(&self) {
        self.shared.silent.store(false, Ordering::SeqCst);
    }

    /// Closes every connection.
    pub fn cut(&self) {
        self.shared.cut();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.cut();
        // Wakes the one who accepts.
        let _ = TcpStream::connect((Ipv6Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener, socket: &PathBuf) {
        while let Ok((client, _)) = listener.accept() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let _ = client.set_nodelay(true);
            let Ok(server) = UnixStream::connect(socket) else { continue };
            let copies = (client.try_clone(), server.try_clone());
            let (Ok(client_copy), Ok(server_copy)) = copies else { continue };
            let kept = (client.try_clone(), server.try_clone());
            if let (Ok(client), Ok(server)) = kept {
                self.open.lock().unwrap_or_else(PoisonError::into_inner).push((client, server));
            }
            let (there, back) = (self.clone(), self.clone());
            thread::spawn(move || {
                there.carry(client, &server);
                let _ = server.shutdown(Shutdown::Both);
            });
            thread::spawn(move || {
                back.carry(server_copy, &client_copy);
                let _ = client_copy.shutdown(Shutdown::Both);
            });
        }
    }

    fn carry(&self, mut from: impl Read, mut to: impl Write) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            while self.silent.load(Ordering::SeqCst) && !self.ended.load(Ordering::SeqCst) {
                thread::sleep(PAUSE);
            }
            if to.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    }

    fn cut(&self) {
        for (client, server) in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}
