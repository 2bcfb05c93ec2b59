//! Listening sockets inside the network namespaces of workloads.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    net::Ipv6Addr,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Handle,
};

const BACKLOG: u32 = 4096;

/// The namespaces that the agent of this host has named.
pub(super) fn namespaces(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let own = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("sextant-");
    entries.filter(own).map(|entry| entry.path()).collect()
}

/// Listens on every address of a namespace. A socket stays in the namespace it was opened in.
pub(super) fn in_namespace(path: &Path, ports: &[u16]) -> io::Result<Vec<TcpListener>> {
    let namespace = File::open(path)?;
    let runtime = Handle::current();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _entered = runtime.enter();
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network)?;
            ports.iter().map(|port| on(*port)).collect()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside panicked")))
    })
}

/// Listens on every address of the namespace that the caller is in.
pub(super) fn on(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}
