//! Asking DNS for proofs: whoever can publish a record below a name may use the name.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
};
use sextant_model::{HostPattern, OrgId, hostname::challenge_name};

/// No answer takes longer, whatever the servers of a stranger's domain do.
const LIMIT: Duration = Duration::from_secs(5);
/// Questions at the same time: strangers choose whom they go to.
const QUESTIONS: usize = 32;
/// Those of one org: its silent name servers must not keep the others waiting.
const QUESTIONS_OF_ONE: usize = 4;
/// What is quoted of other records at the name.
const QUOTED: usize = 3;

/// A hostname that DNS does not prove.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// Nothing there.
    #[error(
        "hostname \"{hostname}\" is not proved: there is no TXT record at \"{name}\"; publish \"{value}\" there and verify again"
    )]
    Missing {
        /// What was to be proved.
        hostname: HostPattern,
        /// Where the record should stand.
        name: String,
        /// What it should hold.
        value: String,
    },
    /// Something else there.
    #[error(
        "hostname \"{hostname}\" is not proved: the TXT records at \"{name}\" hold {found}, not \"{value}\"; add that one and verify again"
    )]
    Differs {
        /// What was to be proved.
        hostname: HostPattern,
        /// Where the records stand.
        name: String,
        /// What they hold, quoted.
        found: String,
        /// What one of them should hold.
        value: String,
    },
    /// DNS did not answer.
    #[error(
        "hostname \"{hostname}\" is not proved: {asked} did not give the TXT record at \"{name}\": {reason}; check that resolver (hostnames.resolver) and the domain's name servers, then verify again"
    )]
    Unreachable {
        /// What was to be proved.
        hostname: HostPattern,
        /// Where the record should stand.
        name: String,
        /// Who was asked.
        asked: String,
        /// What happened.
        reason: String,
    },
    /// Too many questions are under way.
    #[error(
        "other hostnames are being proved at this moment, at most {QUESTIONS_OF_ONE} of one org; try again"
    )]
    Busy,
}

impl Unproved {
    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "challenge-missing",
            Self::Differs { .. } => "challenge-differs",
            Self::Unreachable { .. } => "dns-unreachable",
            Self::Busy => "busy",
        }
    }
}

/// The resolver that proofs are asked of.
pub struct Prover {
    resolver: Result<TokioResolver, String>,
    /// Which resolver that is, for people.
    asked: String,
    turns: Turns,
}

/// Questions under way, by org.
#[derive(Debug, Default)]
struct Turns(Mutex<BTreeMap<OrgId, usize>>);

/// The right to ask one question, as long as it lives.
#[derive(Debug)]
struct Turn<'t> {
    turns: &'t Turns,
    org: OrgId,
}

impl Turns {
    /// A turn for `org`; `None` if it, or all together, have as many as they may.
    fn take(&self, org: OrgId) -> Option<Turn<'_>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&org).copied().unwrap_or(0));
        if all >= QUESTIONS || own >= QUESTIONS_OF_ONE {
            return None;
        }
        taken.insert(org, own + 1);
        Some(Turn { turns: self, org })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut taken = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.org) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.org);
            }
        }
    }
}

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prover").field("usable", &self.resolver.is_ok()).finish_non_exhaustive()
    }
}

impl Prover {
    /// Asks the resolver at `server`, or those of the system. One that cannot be used fails the
    /// questions, not the start: most of the control plane needs none.
    pub fn new(server: Option<SocketAddr>) -> Self {
        let builder = match server {
            None => TokioResolver::builder_tokio(),
            Some(server) => {
                let mut known = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut known.connections {
                    connection.port = server.port();
                }
                let config = ResolverConfig::from_parts(None, vec![], vec![known]);
                let provider = TokioRuntimeProvider::default();
                Ok(TokioResolver::builder_with_config(config, provider))
            }
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = LIMIT / 3;
            options.attempts = 2;
            // Whoever has just published the record does not wait for an old answer to expire.
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Never;
            builder.build()
        });
        let asked = match server {
            Some(server) => format!("the resolver {server}"),
            None => "the system's resolver (/etc/resolv.conf)".to_owned(),
        };
        let resolver = resolver.map_err(|error| error.to_string());
        Self { resolver, asked, turns: Turns::default() }
    }

    /// Whether DNS says `value` where whoever owns `hostname` can make it say so. `org` asks.
    pub async fn prove(
        &self,
        org: OrgId,
        hostname: &HostPattern,
        value: &str,
    ) -> Result<(), Unproved> {
        let _turn = self.turns.take(org).ok_or(Unproved::Busy)?;
        let (hostname, name) = (hostname.clone(), challenge_name(hostname));
        let found = match tokio::time::timeout(LIMIT, self.texts(&name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(reason)) => {
                let asked = self.asked.clone();
                return Err(Unproved::Unreachable { hostname, name, asked, reason });
            }
            Err(_) => {
                let reason = format!("no answer within {} s", LIMIT.as_secs());
                let asked = self.asked.clone();
                return Err(Unproved::Unreachable { hostname, name, asked, reason });
            }
        };
        if found.iter().any(|text| text.trim() == value) {
            return Ok(());
        }
        let value = value.to_owned();
        if found.is_empty() {
            return Err(Unproved::Missing { hostname, name, value });
        }
        let quoted: Vec<_> = found.iter().take(QUOTED).map(|text| quoted(text)).collect();
        Err(Unproved::Differs { hostname, name, found: quoted.join(", "), value })
    }

    /// The TXT records at a name; none if it does not exist.
    async fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        // With the dot, so that no search list makes another name of it.
        match resolver.txt_lookup(format!("{name}.")).await {
            Ok(found) => {
                Ok(found.answers().iter().filter_map(|answer| text(&answer.data)).collect())
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(vec![]),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A record's strings are one text (RFC 7208 section 3.3 says so for its records, and so do all
/// who publish long ones).
fn text(data: &RData) -> Option<String> {
    let RData::TXT(txt) = data else { return None };
    Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned())
}

/// Strangers' text goes into an error: short, and in one line.
fn quoted(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    format!("\"{short}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn one_org_leaves_turns_for_the_others_and_all_come_back() {
        let turns = Turns::default();
        let org = |n: usize| OrgId(Uuid::from_u128(n as u128));
        let own: Vec<_> = (0..QUESTIONS_OF_ONE).map_while(|_| turns.take(org(0))).collect();
        assert_eq!(own.len(), QUESTIONS_OF_ONE);
        assert!(turns.take(org(0)).is_none(), "no more for the same");
        let others: Vec<_> = (1..100).map_while(|n| turns.take(org(n))).collect();
        assert_eq!(own.len() + others.len(), QUESTIONS);
        drop(own);
        assert!(turns.take(org(0)).is_some());
        drop(others);
        assert!(turns.0.lock().expect("lock").is_empty());
    }
}
