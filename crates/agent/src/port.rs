//! Whether a UDP port is free, and who has it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use socket2::{Domain, Protocol, Socket, Type};

/// Somebody else has the port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "UDP port {port} is in use{holder} (EADDRINUSE); stop that, or set another wireguard.listen_port"
)]
pub struct PortBusy {
    /// Which port.
    pub port: u16,
    /// ` by NAME (pid N)`, if that is known.
    holder: String,
}

impl PortBusy {
    /// Looks for who has the port.
    pub fn at(port: u16) -> Self {
        let holder = holder(Path::new("/proc"), port);
        Self { port, holder: holder.map(|who| format!(" by {who}")).unwrap_or_default() }
    }
}

/// Whether WireGuard could listen on `port`: it wants it on every address of both families.
pub fn check_free(port: u16) -> Result<(), PortBusy> {
    let is_busy = |result: io::Result<()>| {
        result.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    // A machine without one of the families has no port to be busy there.
    let v6 = bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into());
    let v4 = bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into());
    if is_busy(v6) || is_busy(v4) { Err(PortBusy::at(port)) } else { Ok(()) }
}

fn bind(domain: Domain, address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// Name and pid of the process that has the UDP port; `None` if that cannot be seen.
fn holder(proc: &Path, port: u16) -> Option<String> {
    let inode = ["net/udp6", "net/udp"].into_iter().find_map(|table| {
        let table = std::fs::read_to_string(proc.join(table)).ok()?;
        inode_of(&table, port)
    })?;
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir(proc).ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let is_it = |file: &std::fs::DirEntry| {
            std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str())
        };
        if files.flatten().any(|file| is_it(&file)) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inode of a socket on `port`, out of a table as `/proc/net/udp6` has it (proc_pid_net(5)).
fn inode_of(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = columns.get(1)?.rsplit_once(':')?;
        let found = u16::from_str_radix(local, 16).ok()?;
        let inode: u64 = columns.get(9)?.parse().ok()?;
        (found == port && inode != 0).then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_port_that_this_process_holds_is_busy_and_says_by_whom() {
        for address in ["[::]:0", "127.0.0.1:0"] {
            let held = UdpSocket::bind(address).expect("bound");
            let port = held.local_addr().expect("address").port();
            let busy = check_free(port).expect_err(address).to_string();
            let pid = format!("(pid {})", std::process::id());
            assert!(busy.contains(&pid) && busy.contains(&port.to_string()), "{busy}");
            drop(held);
            assert_eq!(check_free(port), Ok(()));
        }
    }

    #[test]
    fn a_table_without_the_port_names_nobody() {
        let table = "  sl  local_address rem_address\n   7: 00000000000000000000000000000000:CA6C \
                     00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 \
                     00000000     0        0 4711 2 0000000000000000 0\n";
        assert_eq!(inode_of(table, 51820), Some(4711));
        assert_eq!(inode_of(table, 51821), None);
        assert_eq!(inode_of("", 51820), None);
    }
}
