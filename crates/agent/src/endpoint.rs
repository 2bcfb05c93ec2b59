//! Where peers reach this machine: an address that stays, with WireGuard's port.
//!
//! A temporary address (RFC 8981) is what the kernel likes best to send from, and is gone in a week.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sextant_model::aggregate::node::check_endpoint;
use url::{Host, Url};

use crate::{egress::source_address, netlink::Netlink};

/// An IPv6 address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// Of which interface.
    pub index: u32,
    /// The address.
    pub address: Ipv6Addr,
    /// Whether it will stay: neither temporary, nor deprecated, nor being examined.
    pub is_stable: bool,
}

/// The address to name to peers, where the kernel sends from `source`: that one if it stays; else one
/// of the same interface that stays, in the same /64 if there is one. The lowest of several, so that
/// the choice stays too.
pub fn choose(source: Ipv6Addr, addresses: &[HostAddress]) -> Result<Ipv6Addr, String> {
    let held = addresses.iter().find(|held| held.address == source);
    if held.is_none_or(|held| held.is_stable) {
        return Ok(source);
    }
    let index = held.map(|held| held.index);
    let near = |address: Ipv6Addr| address.segments()[..4] == source.segments()[..4];
    let usable = addresses.iter().filter(|held| {
        held.is_stable
            && Some(held.index) == index
            && check_endpoint(SocketAddr::new(held.address.into(), 1)).is_ok()
    });
    let best = usable.map(|held| held.address).min_by_key(|address| (!near(*address), *address));
    best.ok_or_else(|| {
        format!(
            "this machine sends from {source}, which is a temporary address, and has no other on that interface; give it one that stays, or set endpoint"
        )
    })
}

/// The address this machine uses towards the control plane, whichever of its URLs works, with
/// WireGuard's port.
pub async fn find(api_urls: &[Url], listen_port: u16) -> Result<SocketAddr, String> {
    let mut failures = Vec::new();
    for url in api_urls {
        match towards(url).await {
            Ok(address) => return Ok(SocketAddr::new(address.into(), listen_port)),
            Err(reason) => failures.push(reason),
        }
    }
    Err(failures.join("; "))
}

async fn towards(url: &Url) -> Result<Ipv6Addr, String> {
    let destination = resolve(url).await?;
    let source = source_address(destination).await;
    let source = source.map_err(|error| format!("no way to {destination}: {error}"))?;
    let IpAddr::V6(source) = source else {
        return Err(format!("the way to {destination} is IPv4"));
    };
    choose(source, &of_this_machine().await?)
}

/// The IPv6 addresses of this machine.
pub async fn of_this_machine() -> Result<Vec<HostAddress>, String> {
    let netlink = Netlink::open().map_err(|error| error.to_string())?;
    netlink.host_addresses().await.map_err(|error| error.to_string())
}

async fn resolve(url: &Url) -> Result<SocketAddr, String> {
    let port = url.port_or_known_default().unwrap_or(443);
    match url.host() {
        Some(Host::Ipv6(address)) => Ok(SocketAddr::from((address, port))),
        Some(Host::Domain(name)) => {
            let found = tokio::net::lookup_host((name, port)).await;
            let mut found = found.map_err(|error| format!("cannot resolve \"{name}\": {error}"))?;
            let v6 = found.find(SocketAddr::is_ipv6);
            v6.ok_or_else(|| format!("\"{name}\" has no IPv6 address"))
        }
        Some(Host::Ipv4(_)) | None => Err(format!("\"{url}\" names no IPv6 host")),
    }
}

/// What is to be done about the endpoint that the control plane knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this machine's, and stays.
    Good,
    /// It was this machine's and is not any more, or will not be for long: another must be told.
    Follow,
    /// An operator set it, for example the outside of a port forwarding. It stands.
    Foreign,
}

/// Looks at the endpoint `registered`, where this machine last told `told` of itself.
pub fn judge(registered: SocketAddr, told: Option<SocketAddr>, held: &[HostAddress]) -> Verdict {
    let own = held.iter().find(|held| IpAddr::V6(held.address) == registered.ip());
    match own {
        Some(own) if own.is_stable => Verdict::Good,
        Some(_) => Verdict::Follow,
        None if told == Some(registered) => Verdict::Follow,
        None => Verdict::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(index: u32, address: &str, is_stable: bool) -> HostAddress {
        HostAddress { index, address: address.parse().expect(address), is_stable }
    }

    #[test]
    fn an_address_that_stays_is_chosen_before_the_temporary_one_that_the_kernel_likes() {
        let temporary = held(2, "2001:db8::9523:5403:b2c4:49ea", false);
        let addresses = [
            temporary,
            held(3, "2001:db8::1", true),
            held(2, "fd00:1::5", true),
            held(2, "fe80::5", true),
            held(2, "2001:db8::5054:ff:fe12:3456", true),
            held(2, "2001:db8:0:1::5", true),
        ];
        let chosen = choose(temporary.address, &addresses).expect("chosen");
        assert_eq!(chosen, addresses[4].address, "of the same interface and /64");
        assert_eq!(choose(addresses[3].address, &addresses), Ok(addresses[3].address));
        let elsewhere = choose(temporary.address, &addresses[..3]).expect("chosen");
        assert_eq!(elsewhere, addresses[2].address, "another that stays");
        let error = choose(temporary.address, &[temporary, addresses[3]]).expect_err("none");
        assert!(error.contains("set endpoint"), "{error}");
    }

    #[test]
    fn what_the_machine_told_is_followed_and_what_an_operator_set_stands() {
        let endpoint = |text: &str| text.parse::<SocketAddr>().expect(text);
        let registered = endpoint("[2001:db8::5]:51820");
        let (here, fading) = ([held(2, "2001:db8::5", true)], [held(2, "2001:db8::5", false)]);
        assert_eq!(judge(registered, None, &here), Verdict::Good);
        assert_eq!(judge(registered, None, &fading), Verdict::Follow);
        assert_eq!(judge(registered, Some(registered), &[]), Verdict::Follow);
        assert_eq!(judge(registered, None, &[]), Verdict::Foreign);
        let other = endpoint("[2001:db8::6]:51820");
        assert_eq!(judge(registered, Some(other), &[]), Verdict::Foreign, "set since");
    }
}
