//! The look-up table of an edge. Cloning one is cheap and changing a clone leaves the other as it
//! was, so that a change is published as one snapshot however many routes there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rpds::HashTrieMapSync;

use super::{Matching, RouteKey};
use crate::hostname::{HostPattern, parent_of};

/// What a listener has to read before it can decide. One address and port has one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerKind {
    /// Nothing.
    Raw,
    /// A ClientHello.
    Tls,
    /// The head of an HTTP/1 request.
    Http,
}

/// Routes by where they listen and what they match; `T` is what the caller keeps with each.
#[derive(Clone, Debug)]
pub struct Table<T> {
    listeners: HashTrieMapSync<SocketAddr, Listener<T>>,
    places: HashTrieMapSync<RouteKey, Place>,
}

/// The routes of one address and port.
#[derive(Clone, Debug)]
pub struct Listener<T> {
    kind: ListenerKind,
    whole: Option<(RouteKey, T)>,
    exact: HashTrieMapSync<Box<str>, (RouteKey, T)>,
    wildcard: HashTrieMapSync<Box<str>, (RouteKey, T)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    listen: SocketAddr,
    matching: Matching,
}

/// A route that cannot stand beside another one. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two routes for one name.
    #[error("hostname \"{name}\" on {listen} is taken by route \"{holder}\"")]
    Name {
        /// The name.
        name: HostPattern,
        /// Where.
        listen: SocketAddr,
        /// Who has it.
        holder: RouteKey,
    },
    /// Two routes for one address and port.
    #[error("{listen} is taken by route \"{holder}\"; a raw TCP route needs the port for itself")]
    Port {
        /// Where.
        listen: SocketAddr,
        /// Who has it.
        holder: RouteKey,
    },
    /// Routes that need different first bytes.
    #[error(
        "{listen} is used by route \"{holder}\", which is told apart in another way; use another port"
    )]
    Kind {
        /// Where.
        listen: SocketAddr,
        /// One of those that have it.
        holder: RouteKey,
    },
}

/// Why a connection has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoRoute {
    /// No route has this name here.
    UnknownName,
    /// It gave no name, and more than one route is here.
    NameNeeded,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { listeners: HashTrieMapSync::default(), places: HashTrieMapSync::default() }
    }
}

impl Matching {
    /// The kind of listener it needs.
    pub fn kind(&self) -> ListenerKind {
        match self {
            Self::Whole => ListenerKind::Raw,
            Self::Sni(_) => ListenerKind::Tls,
            Self::RequestHost(_) => ListenerKind::Http,
        }
    }

    fn pattern(&self) -> Option<&HostPattern> {
        match self {
            Self::Whole => None,
            Self::Sni(pattern) | Self::RequestHost(pattern) => Some(pattern),
        }
    }
}

impl<T: Clone> Table<T> {
    /// Adds a route, or replaces the one of the same key. On a conflict with another route nothing
    /// changes.
    pub fn insert(
        &mut self,
        key: &RouteKey,
        listen: SocketAddr,
        matching: &Matching,
        attached: T,
    ) -> Result<(), Conflict> {
        let mut next = self.clone();
        next.remove(key);
        let mut listener =
            next.listeners.get(&listen).cloned().unwrap_or_else(|| Listener::new(matching.kind()));
        listener.insert(key, listen, matching, attached)?;
        next.listeners.insert_mut(listen, listener);
        next.places.insert_mut(key.clone(), Place { listen, matching: matching.clone() });
        *self = next;
        Ok(())
    }

    /// Removes a route; whether it was there.
    pub fn remove(&mut self, key: &RouteKey) -> bool {
        let Some(place) = self.places.get(key).cloned() else { return false };
        self.places.remove_mut(key);
        if let Some(mut listener) = self.listeners.get(&place.listen).cloned() {
            listener.remove(&place.matching);
            if listener.is_empty() {
                self.listeners.remove_mut(&place.listen);
            } else {
                self.listeners.insert_mut(place.listen, listener);
            }
        }
        true
    }

    /// The routes for a connection that arrived at `local`: those of this very address, or else
    /// those of every address. A specific listener hides the general one of the same port.
    pub fn listener(&self, local: SocketAddr) -> Option<&Listener<T>> {
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        if let Some(listener) = self.listeners.get(&local) {
            return Some(listener);
        }
        let port = local.port();
        let v6 = || self.listeners.get(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
        match local.ip() {
            IpAddr::V6(_) => v6(),
            // A socket on [::] accepts IPv4 where nobody asked for 0.0.0.0.
            IpAddr::V4(_) => {
                self.listeners.get(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).or_else(v6)
            }
        }
    }

    /// Every address that has routes, and what is read there.
    pub fn listeners(&self) -> impl Iterator<Item = (SocketAddr, ListenerKind)> + '_ {
        self.listeners.iter().map(|(listen, listener)| (*listen, listener.kind))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.places.size()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl<T: Clone> Listener<T> {
    fn new(kind: ListenerKind) -> Self {
        Self {
            kind,
            whole: None,
            exact: HashTrieMapSync::default(),
            wildcard: HashTrieMapSync::default(),
        }
    }

    fn insert(
        &mut self,
        key: &RouteKey,
        listen: SocketAddr,
        matching: &Matching,
        attached: T,
    ) -> Result<(), Conflict> {
        if let Some(holder) = self.any().filter(|_| self.kind != matching.kind()) {
            return Err(Conflict::Kind { listen, holder: holder.clone() });
        }
        let entry = (key.clone(), attached);
        let Some(pattern) = matching.pattern() else {
            if let Some((holder, _)) = &self.whole {
                return Err(Conflict::Port { listen, holder: holder.clone() });
            }
            self.whole = Some(entry);
            return Ok(());
        };
        let names = self.names(pattern);
        if let Some((holder, _)) = names.get(pattern.domain().as_str()) {
            return Err(Conflict::Name { name: pattern.clone(), listen, holder: holder.clone() });
        }
        names.insert_mut(pattern.domain().as_str().into(), entry);
        Ok(())
    }

    fn remove(&mut self, matching: &Matching) {
        match matching.pattern() {
            None => self.whole = None,
            Some(pattern) => {
                self.names(pattern).remove_mut(pattern.domain().as_str());
            }
        }
    }

    fn names(&mut self, pattern: &HostPattern) -> &mut HashTrieMapSync<Box<str>, (RouteKey, T)> {
        if pattern.is_wildcard() { &mut self.wildcard } else { &mut self.exact }
    }

    fn any(&self) -> Option<&RouteKey> {
        self.only_candidate().map(|(key, _)| key)
    }

    fn only_candidate(&self) -> Option<&(RouteKey, T)> {
        self.whole
            .as_ref()
            .or_else(|| self.exact.values().next())
            .or_else(|| self.wildcard.values().next())
    }

    /// Whether no route is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many routes share this address and port.
    pub fn len(&self) -> usize {
        usize::from(self.whole.is_some()) + self.exact.size() + self.wildcard.size()
    }

    /// What has to be read before a decision.
    pub fn kind(&self) -> ListenerKind {
        self.kind
    }

    /// The route of a connection that asks for `name`, which must be normalised: the exact name
    /// wins over the wildcard. Nothing else is ever guessed.
    pub fn by_name(&self, name: &str) -> Result<&T, NoRoute> {
        let exact = self.exact.get(name);
        let found = exact.or_else(|| self.wildcard.get(parent_of(name)?));
        found.map(|(_, attached)| attached).ok_or(NoRoute::UnknownName)
    }

    /// The route of a connection that gives no name: the only one here, or none (invariant 10).
    pub fn without_name(&self) -> Result<&T, NoRoute> {
        match self.only_candidate() {
            Some((_, attached)) if self.len() == 1 => Ok(attached),
            _ => Err(NoRoute::NameNeeded),
        }
    }
}

#[cfg(test)]
mod tests;
