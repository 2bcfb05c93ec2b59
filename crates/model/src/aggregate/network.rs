//! Networks: created, renamed, deleted when empty.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    address::{IpStackMode, Topology, check_mesh_prefix},
    aggregate::{Aggregate, Refusal},
    event::{AggregateKind, EventBody, NetworkCreated, NetworkDeleted, NetworkRenamed},
    name::DnsLabel,
    prefix::Prefix,
};

/// A network as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkState {
    created: Option<NetworkCreated>,
    deleted: bool,
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct NetworkWish {
    /// Unique name.
    pub name: DnsLabel,
    /// Families it should speak.
    pub ip_stack_mode: IpStackMode,
    /// How peers should connect.
    pub topology: Topology,
    /// Its IPv6 prefix, or `None` for a random ULA.
    pub ipv6_prefix: Option<Prefix>,
    /// Its IPv4 prefix; must be absent today.
    pub ipv4_prefix: Option<Prefix>,
}

impl NetworkState {
    /// Creates a network; `random_prefix` is taken if the operator gave none.
    pub fn create(wish: NetworkWish, random_prefix: Prefix) -> Result<EventBody, Refusal> {
        if wish.ip_stack_mode != IpStackMode::Ipv6 {
            return Err(Refusal::StackModeUnsupported(wish.ip_stack_mode));
        }
        if wish.topology != Topology::FullMesh {
            return Err(Refusal::TopologyUnsupported(wish.topology));
        }
        if wish.ipv4_prefix.is_some() {
            return Err(Refusal::Ipv4PrefixUnexpected);
        }
        let prefix = wish.ipv6_prefix.unwrap_or(random_prefix);
        check_mesh_prefix(prefix)?;
        Ok(EventBody::NetworkCreated(NetworkCreated {
            name: wish.name,
            ip_stack_mode: wish.ip_stack_mode,
            topology: wish.topology,
            ipv6_prefix: Some(prefix),
            ipv4_prefix: None,
        }))
    }

    /// What the network is now.
    pub fn live(&self) -> Result<&NetworkCreated, Refusal> {
        self.created
            .as_ref()
            .filter(|_| !self.deleted)
            .ok_or(Refusal::NotFound(AggregateKind::Network))
    }

    /// Whether a node of it may have this endpoint: one inside the network would send WireGuard's
    /// packets into WireGuard.
    pub fn check_endpoint(&self, endpoint: SocketAddr) -> Result<(), Refusal> {
        let network = self.live()?;
        let prefixes = [network.ipv6_prefix, network.ipv4_prefix];
        if prefixes.into_iter().flatten().any(|prefix| prefix.contains(endpoint.ip())) {
            return Err(Refusal::EndpointUnusable(endpoint.to_string()));
        }
        Ok(())
    }

    /// Gives it another name; nothing to do if it has that name.
    pub fn rename(&self, name: DnsLabel) -> Result<Option<EventBody>, Refusal> {
        let changed = self.live()?.name != name;
        Ok(changed.then_some(EventBody::NetworkRenamed(NetworkRenamed { name })))
    }

    /// Removes it, if no node holds a prefix in it and no environment lives in it.
    pub fn delete(&self, nodes: u64, environments: u64) -> Result<EventBody, Refusal> {
        let network = self.live()?;
        if nodes > 0 || environments > 0 {
            return Err(Refusal::NetworkInUse(network.name.clone(), nodes, environments));
        }
        Ok(EventBody::NetworkDeleted(NetworkDeleted {}))
    }
}

impl Aggregate for NetworkState {
    const KIND: AggregateKind = AggregateKind::Network;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::NetworkCreated(created) => self.created = Some(created.clone()),
            EventBody::NetworkRenamed(renamed) => {
                if let Some(created) = &mut self.created {
                    created.name = renamed.name.clone();
                }
            }
            EventBody::NetworkDeleted(_) => self.deleted = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ula_prefix;

    fn wish(edit: impl FnOnce(&mut NetworkWish)) -> NetworkWish {
        let mut wish = NetworkWish {
            name: DnsLabel::new("mesh").expect("label"),
            ip_stack_mode: IpStackMode::Ipv6,
            topology: Topology::FullMesh,
            ipv6_prefix: None,
            ipv4_prefix: None,
        };
        edit(&mut wish);
        wish
    }

    fn created(wish: NetworkWish) -> NetworkState {
        let mut state = NetworkState::default();
        state.apply(&NetworkState::create(wish, ula_prefix([1; 5])).expect("created"));
        state
    }

    #[test]
    fn only_the_mesh_works_today_and_the_rest_is_refused_by_name() {
        let random = ula_prefix([1; 5]);
        let refuse = |edit: fn(&mut NetworkWish)| {
            NetworkState::create(wish(edit), random).expect_err("refused").code()
        };
        assert_eq!(refuse(|w| w.ip_stack_mode = IpStackMode::Dual), "ip-stack-mode-unsupported");
        assert_eq!(refuse(|w| w.ip_stack_mode = IpStackMode::Ipv4), "ip-stack-mode-unsupported");
        assert_eq!(refuse(|w| w.topology = Topology::Hub), "topology-unsupported");
        assert_eq!(refuse(|w| w.ipv4_prefix = "10.0.0.0/8".parse().ok()), "prefix-unusable");
        assert_eq!(refuse(|w| w.ipv6_prefix = "fe80::/10".parse().ok()), "prefix-unusable");
    }

    #[test]
    fn a_prefix_of_the_operator_wins_over_the_random_one() {
        let given: Prefix = "2001:db8::/48".parse().expect("prefix");
        let state = created(wish(|w| w.ipv6_prefix = Some(given)));
        assert_eq!(state.live().expect("live").ipv6_prefix, Some(given));
        assert_eq!(
            created(wish(|_| ())).live().expect("live").ipv6_prefix,
            Some(ula_prefix([1; 5]))
        );
    }

    #[test]
    fn a_network_is_deleted_only_when_empty_and_only_once() {
        let mut state = created(wish(|_| ()));
        for (nodes, environments) in [(2, 0), (0, 1)] {
            let refused = state.delete(nodes, environments).expect_err("in use");
            assert_eq!(refused.code(), "network-in-use");
        }
        state.apply(&state.delete(0, 0).expect("deleted"));
        assert_eq!(state.delete(0, 0), Err(Refusal::NotFound(AggregateKind::Network)));
        assert!(state.rename(DnsLabel::new("other").expect("label")).is_err());
    }

    #[test]
    fn an_endpoint_inside_the_network_is_refused() {
        let state = created(wish(|w| w.ipv6_prefix = "fd00:1::/48".parse().ok()));
        let check = |text: &str| state.check_endpoint(text.parse().expect(text));
        assert_eq!(check("[fd00:1::7]:51820").expect_err("inside").code(), "endpoint-unusable");
        assert_eq!(check("[fd00:2::7]:51820"), Ok(()));
        assert!(
            NetworkState::default()
                .check_endpoint("[fd00:2::7]:1".parse().expect("endpoint"))
                .is_err()
        );
    }

    #[test]
    fn renaming_to_the_same_name_changes_nothing() {
        let state = created(wish(|_| ()));
        assert_eq!(state.rename(DnsLabel::new("mesh").expect("label")), Ok(None));
        assert!(matches!(state.rename(DnsLabel::new("new").expect("label")), Ok(Some(_))));
    }
}
