//! Environments: created, deleted when empty; meanwhile they hold hostnames and port grants.
//!
//! ```text
//! (none) --claim--> pending --verify--> owned --surrender--> (none, owned by the other one)
//!    \------claim, trusted------------/   \----release----> (none)
//! ```
//! A pending claim keeps nobody else out: several environments may have one on the same name, and
//! the first that proves it owns it. That a name has one owner is the database's to keep.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, IngressRefusal, Refusal},
    event::{
        AggregateKind, EnvironmentCreated, EnvironmentDeleted, EventBody, Holder, HostnameAcquired,
        HostnameClaimed, HostnameReleased, HostnameSurrendered, HostnameVerified, PortGrantRevoked,
        PortGranted,
    },
    hostname::HostPattern,
    port::{PortPolicy, PortRefused},
};

/// Most hostnames of one environment, so that an aggregate stays readable at once.
pub const MOST_HOSTNAMES: usize = 10_000;
/// Longest reason of a port grant, in bytes.
pub const LONGEST_REASON: usize = 256;

/// How far a claim on a hostname has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// DNS has to say this first.
    Pending {
        /// What the TXT record must hold.
        challenge: String,
    },
    /// The environment's own.
    Owned,
}

/// An environment as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentState {
    created: Option<EnvironmentCreated>,
    deleted: bool,
    hostnames: BTreeMap<HostPattern, Claim>,
    grants: BTreeSet<u16>,
}

impl EnvironmentState {
    /// Creates an environment.
    pub fn create(created: EnvironmentCreated) -> EventBody {
        EventBody::EnvironmentCreated(created)
    }

    /// What it is, whatever became of it.
    pub fn created(&self) -> Result<&EnvironmentCreated, Refusal> {
        self.created.as_ref().ok_or(Refusal::NotFound(AggregateKind::Environment))
    }

    /// What it is, if it still is.
    pub fn live(&self) -> Result<&EnvironmentCreated, Refusal> {
        self.created
            .as_ref()
            .filter(|_| !self.deleted)
            .ok_or(Refusal::NotFound(AggregateKind::Environment))
    }

    /// Its hostnames, owned and pending.
    pub fn hostnames(&self) -> &BTreeMap<HostPattern, Claim> {
        &self.hostnames
    }

    /// Those of its hostnames that are its own.
    pub fn owned_hostnames(&self) -> impl Iterator<Item = &HostPattern> {
        let own = |(_, claim): &(_, &Claim)| **claim == Claim::Owned;
        self.hostnames.iter().filter(own).map(|(name, _)| name)
    }

    /// Ports it was granted.
    pub fn grants(&self) -> &BTreeSet<u16> {
        &self.grants
    }

    /// Removes it, if nothing runs in it or leads to it. What it holds goes first, each by its own
    /// event: hostnames and grants.
    pub fn delete(&self, routes: u64, workloads: u64) -> Result<Vec<EventBody>, Refusal> {
        let live = self.live()?;
        if routes > 0 || workloads > 0 {
            let name = live.name.clone();
            return Err(IngressRefusal::EnvironmentInUse { name, routes, workloads }.into());
        }
        let org_id = live.org_id;
        let hostnames = self.hostnames.keys().cloned();
        let grants = self.grants.iter().copied();
        let released = hostnames
            .map(|hostname| EventBody::HostnameReleased(HostnameReleased { org_id, hostname }));
        let revoked =
            grants.map(|port| EventBody::PortGrantRevoked(PortGrantRevoked { org_id, port }));
        let deleted = EventBody::EnvironmentDeleted(EnvironmentDeleted { org_id });
        Ok(released.chain(revoked).chain([deleted]).collect())
    }

    /// Claims a hostname: owned at once without a challenge, pending with one. Nothing to do if
    /// the environment is as far already; a pending claim keeps its challenge.
    pub fn claim_hostname(
        &self,
        hostname: &HostPattern,
        challenge: Option<String>,
    ) -> Result<Option<EventBody>, Refusal> {
        let org_id = self.live()?.org_id;
        check_breadth(hostname)?;
        let hostname = hostname.clone();
        match (self.hostnames.get(&hostname), challenge) {
            (Some(Claim::Owned), _) | (Some(Claim::Pending { .. }), Some(_)) => Ok(None),
            (Some(Claim::Pending { .. }), None) => {
                Ok(Some(EventBody::HostnameVerified(HostnameVerified { org_id, hostname })))
            }
            (None, _) if self.hostnames.len() >= MOST_HOSTNAMES => {
                Err(IngressRefusal::TooManyHostnames(MOST_HOSTNAMES).into())
            }
            (None, challenge) => Ok(Some(EventBody::HostnameClaimed(HostnameClaimed {
                org_id,
                hostname,
                challenge,
            }))),
        }
    }

    /// How far the claim on `hostname` has come.
    pub fn claim(&self, hostname: &HostPattern) -> Result<&Claim, Refusal> {
        self.live()?;
        let claim = self.hostnames.get(hostname);
        claim.ok_or_else(|| IngressRefusal::HostnameUnclaimed(hostname.clone()).into())
    }

    /// Takes a pending hostname as proved; nothing to do if it already was.
    pub fn verify(&self, hostname: &HostPattern) -> Result<Option<EventBody>, Refusal> {
        let org_id = self.live()?.org_id;
        let pending = matches!(self.claim(hostname)?, Claim::Pending { .. });
        let hostname = hostname.clone();
        Ok(pending.then_some(EventBody::HostnameVerified(HostnameVerified { org_id, hostname })))
    }

    /// Gives an owned hostname to another environment: this side of the move.
    pub fn surrender(&self, hostname: &HostPattern, to: Holder) -> Result<EventBody, Refusal> {
        let org_id = self.live()?.org_id;
        let hostname = hostname.clone();
        match self.claim(&hostname)? {
            Claim::Owned => Ok(EventBody::HostnameSurrendered(HostnameSurrendered {
                org_id,
                hostname,
                to: Some(to),
            })),
            Claim::Pending { .. } => Err(IngressRefusal::HostnamePending(hostname).into()),
        }
    }

    /// Takes over a hostname from another environment: the other side of the move. A pending claim
    /// of its own is fulfilled by it.
    pub fn acquire(&self, hostname: &HostPattern, from: Holder) -> Result<EventBody, Refusal> {
        let org_id = self.live()?.org_id;
        let known = self.hostnames.contains_key(hostname);
        if !known && self.hostnames.len() >= MOST_HOSTNAMES {
            return Err(IngressRefusal::TooManyHostnames(MOST_HOSTNAMES).into());
        }
        let hostname = hostname.clone();
        let from = Some(from);
        Ok(EventBody::HostnameAcquired(HostnameAcquired { org_id, hostname, from }))
    }

    /// Gives a hostname back, owned or pending, if none of its `routes` uses it.
    pub fn release_hostname(
        &self,
        hostname: &HostPattern,
        routes: u64,
    ) -> Result<EventBody, Refusal> {
        let org_id = self.live()?.org_id;
        self.claim(hostname)?;
        let hostname = hostname.clone();
        if routes > 0 {
            return Err(IngressRefusal::HostnameInUse(hostname, routes).into());
        }
        Ok(EventBody::HostnameReleased(HostnameReleased { org_id, hostname }))
    }

    /// Lets it listen on a port that the policy does not open to all; nothing to do if it may
    /// already. The denylist wins over grants, so a denied port is not granted either.
    pub fn grant_port(
        &self,
        port: u16,
        reason: &str,
        policy: &PortPolicy,
    ) -> Result<Option<EventBody>, Refusal> {
        let org_id = self.live()?.org_id;
        if let Err(refused @ (PortRefused::Zero | PortRefused::Denied(_))) =
            policy.check(port, &BTreeSet::from([port]))
        {
            return Err(IngressRefusal::Grant(refused).into());
        }
        let reason = reason.trim();
        if reason.is_empty()
            || reason.len() > LONGEST_REASON
            || reason.chars().any(char::is_control)
        {
            return Err(IngressRefusal::Reason.into());
        }
        let new = !self.grants.contains(&port);
        let reason = reason.to_owned();
        Ok(new.then_some(EventBody::PortGranted(PortGranted { org_id, port, reason })))
    }

    /// Takes a grant back, if none of its `routes` listens on the port.
    pub fn revoke_grant(&self, port: u16, routes: u64) -> Result<EventBody, Refusal> {
        let org_id = self.live()?.org_id;
        if !self.grants.contains(&port) {
            return Err(IngressRefusal::GrantUnknown(port).into());
        }
        if routes > 0 {
            return Err(IngressRefusal::GrantInUse(port, routes).into());
        }
        Ok(EventBody::PortGrantRevoked(PortGrantRevoked { org_id, port }))
    }
}

/// `*.com` would cover every name directly below a top-level domain.
fn check_breadth(hostname: &HostPattern) -> Result<(), Refusal> {
    if hostname.is_wildcard() && hostname.domain().parent().is_none() {
        return Err(IngressRefusal::HostnameTooBroad(hostname.clone()).into());
    }
    Ok(())
}

impl Aggregate for EnvironmentState {
    const KIND: AggregateKind = AggregateKind::Environment;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::EnvironmentCreated(created) => self.created = Some(created.clone()),
            EventBody::EnvironmentDeleted(_) => self.deleted = true,
            EventBody::HostnameClaimed(claimed) => {
                let claim = match claimed.challenge.clone() {
                    Some(challenge) => Claim::Pending { challenge },
                    None => Claim::Owned,
                };
                self.hostnames.insert(claimed.hostname.clone(), claim);
            }
            EventBody::HostnameVerified(HostnameVerified { hostname, .. })
            | EventBody::HostnameAcquired(HostnameAcquired { hostname, .. }) => {
                self.hostnames.insert(hostname.clone(), Claim::Owned);
            }
            EventBody::HostnameSurrendered(HostnameSurrendered { hostname, .. })
            | EventBody::HostnameReleased(HostnameReleased { hostname, .. }) => {
                self.hostnames.remove(hostname);
            }
            EventBody::PortGranted(granted) => {
                self.grants.insert(granted.port);
            }
            EventBody::PortGrantRevoked(revoked) => {
                self.grants.remove(&revoked.port);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
