//! Which addresses of a server are dialled: those of IPv6. A name that has A records too must not
//! bring IPv4 in (ADR 0012).

use std::{io, net::SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The IPv6 addresses of a name.
pub(crate) async fn ipv6_addresses(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((name, port)).await?.collect();
    only_ipv6(name, found)
}

fn only_ipv6(name: &str, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let ipv6: Vec<SocketAddr> = found.into_iter().filter(SocketAddr::is_ipv6).collect();
    if ipv6.is_empty() {
        return Err(io::Error::other(format!(
            "\"{name}\" has no IPv6 address; give it an AAAA record, or use a name that has one"
        )));
    }
    Ok(ipv6)
}

/// For the HTTP client.
#[derive(Debug)]
pub(super) struct Ipv6Only;

impl Resolve for Ipv6Only {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The client puts in the port of the URL.
            let addresses = ipv6_addresses(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_dialled_over_ipv6_alone() {
        let v4: SocketAddr = "127.0.0.1:443".parse().expect("address");
        let v6: SocketAddr = "[::1]:443".parse().expect("address");
        assert_eq!(only_ipv6("localhost", vec![v4, v6]).expect("one"), [v6]);
        let error = only_ipv6("old.example", vec![v4]).expect_err("none").to_string();
        assert!(error.contains("\"old.example\" has no IPv6 address"), "{error}");
    }
}
