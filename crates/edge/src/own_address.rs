//! Which addresses are this host's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whether what is sent to `address` stays on this host. Nothing is sent: the kernel says from which
/// address it would send, and for its own addresses that is the same one.
pub fn is_own(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    if ip.is_loopback() {
        return true;
    }
    let unspecified: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // An address that cannot be reached from here is not here.
    let source = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((unspecified, 0))?;
        if address.ip() == ip {
            socket.connect(address)?;
        } else {
            socket.connect((ip, address.port()))?;
        }
        Ok(socket.local_addr()?.ip())
    };
    source().is_ok_and(|source| source == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_host_are_told_from_others() {
        for (address, own) in [
            ("127.0.0.1:443", true),
            ("127.9.9.9:443", true),
            ("[::1]:443", true),
            ("[::ffff:127.0.0.1]:443", true),
            ("192.0.2.1:443", false),
            ("[2001:db8::1]:443", false),
        ] {
            assert_eq!(is_own(address.parse().expect(address)), own, "{address}");
        }
    }
}
