//! Hostnames and ports as commands take them: who may have what, and how a refusal names the
//! holder without telling one org of another.

use std::net::SocketAddr;

use sextant_model::{
    ActorId, EnvironmentId, EventBody, HostPattern, Hostname, Refusal, RouteId,
    aggregate::{
        EnvironmentState, IngressRefusal, PortPolicyState,
        environment::Claim,
        port_policy,
        route::{RouteState, Target},
    },
    event::RouteCreated,
    neighbours,
    port::PortPolicy,
};
use sextant_store::{
    Loaded, Unit,
    claims::{HostnameHolder, HostnameTaking, HostnameWish, ListenerHolder, ListenerWish},
};

use crate::{auth::Scope, config::HostnameConfig, dns::Prover, error::ApiError};

/// Which hostnames need a proof, and who gives it.
#[derive(Debug)]
pub struct HostnameRules {
    platform_domain: Option<Hostname>,
    verify: bool,
    /// Where proofs are asked for.
    pub prover: Prover,
}

impl From<&HostnameConfig> for HostnameRules {
    fn from(config: &HostnameConfig) -> Self {
        Self::new(config.platform_domain.clone(), config.verify, config.resolver)
    }
}

impl HostnameRules {
    /// Names within `platform_domain` need no proof; without `verify` none does.
    pub fn new(
        platform_domain: Option<Hostname>,
        verify: bool,
        resolver: Option<SocketAddr>,
    ) -> Self {
        Self { platform_domain, verify, prover: Prover::new(resolver) }
    }

    /// Whether a claim is enough.
    pub fn trusts(&self, hostname: &HostPattern) -> bool {
        !self.verify || self.is_platforms(hostname)
    }

    fn is_platforms(&self, hostname: &HostPattern) -> bool {
        self.platform_domain.as_ref().is_some_and(|domain| hostname.domain().is_within(domain))
    }

    /// The platform's own domain.
    pub fn platform_domain(&self) -> Option<&Hostname> {
        self.platform_domain.as_ref()
    }

    /// What is the platform's own is given out by its operators.
    pub fn check_reserved(&self, hostname: &HostPattern, scope: Scope) -> Result<(), Refusal> {
        let reserved = |domain| neighbours::is_reserved(hostname, domain);
        match scope {
            Scope::Org(_) if self.platform_domain.as_ref().is_some_and(reserved) => {
                Err(IngressRefusal::HostnameReserved(hostname.clone()).into())
            }
            _ => Ok(()),
        }
    }

    fn site(&self, hostname: &HostPattern) -> Option<String> {
        self.platform_domain.as_ref().and_then(|domain| neighbours::site(hostname, domain))
    }
}

/// What a route's rules need to know of its environment, loaded.
#[derive(Debug)]
pub struct Surroundings {
    path: String,
    process_types: std::collections::BTreeSet<sextant_model::DnsLabel>,
    policy: PortPolicy,
}

impl Surroundings {
    /// Loads them.
    pub async fn of(
        unit: &mut Unit,
        environment: &Loaded<EnvironmentState>,
        path: String,
    ) -> Result<Self, ApiError> {
        let process_types = unit.process_types(EnvironmentId(environment.id)).await?;
        let policy = unit.load::<PortPolicyState>(port_policy::ID).await?.state.policy().clone();
        Ok(Self { path, process_types, policy })
    }

    /// As the rules take them.
    pub fn target<'a>(&'a self, environment: &'a Loaded<EnvironmentState>) -> Target<'a> {
        Target {
            id: EnvironmentId(environment.id),
            state: &environment.state,
            path: &self.path,
            process_types: &self.process_types,
            policy: &self.policy,
        }
    }

    /// ORG/APP/ENVIRONMENT.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Makes a hostname that needs no proof the environment's own; nothing to do if it is already.
pub async fn own_hostname(
    unit: &mut Unit,
    rules: &HostnameRules,
    environment: &mut Loaded<EnvironmentState>,
    hostname: &HostPattern,
    (scope, actor): (Scope, ActorId),
) -> Result<(), ApiError> {
    let events: Vec<_> = environment.state.claim_hostname(hostname, None)?.into_iter().collect();
    take_hostname(unit, rules, environment, hostname, scope).await?;
    Ok(unit.append(environment, &events, actor).await?)
}

/// Takes a hostname that the environment may have, or says who has it.
pub async fn take_hostname(
    unit: &mut Unit,
    rules: &HostnameRules,
    environment: &Loaded<EnvironmentState>,
    hostname: &HostPattern,
    scope: Scope,
) -> Result<(), ApiError> {
    let site = rules.site(hostname);
    let wish = wish(environment, hostname, site.as_deref())?;
    let taking = unit.take_hostname(wish).await?;
    check_taking(unit, wish, scope, taking).await
}

/// The same without taking it: a claim that waits for its proof need not wait in vain.
pub async fn check_free(
    unit: &mut Unit,
    rules: &HostnameRules,
    environment: &Loaded<EnvironmentState>,
    hostname: &HostPattern,
    scope: Scope,
) -> Result<(), ApiError> {
    let site = rules.site(hostname);
    let wish = wish(environment, hostname, site.as_deref())?;
    match unit.hostname_obstacle(wish).await? {
        Some(taking) => check_taking(unit, wish, scope, taking).await,
        None => Ok(()),
    }
}

fn wish<'a>(
    environment: &Loaded<EnvironmentState>,
    hostname: &'a HostPattern,
    site: Option<&'a str>,
) -> Result<HostnameWish<'a>, Refusal> {
    let org = environment.state.live()?.org_id;
    Ok(HostnameWish { hostname, environment: EnvironmentId(environment.id), org, site })
}

async fn check_taking(
    unit: &mut Unit,
    wish: HostnameWish<'_>,
    scope: Scope,
    taking: HostnameTaking,
) -> Result<(), ApiError> {
    let hostname = wish.hostname.clone();
    let refusal = match taking {
        HostnameTaking::Taken => return Ok(()),
        HostnameTaking::Overlaps => IngressRefusal::HostnameOverlaps(hostname),
        HostnameTaking::SiteHeld => {
            let site = wish.site.unwrap_or_default().to_owned();
            IngressRefusal::HostnameSite { hostname, site }
        }
        HostnameTaking::Held(HostnameHolder { environment_id, org_id })
            if scope == Scope::Platform || org_id == wish.org =>
        {
            let environment = unit.environment_path(environment_id).await?;
            IngressRefusal::HostnameTaken { hostname, environment }
        }
        HostnameTaking::Held(_) => IngressRefusal::HostnameForeign(hostname),
    };
    Err(Refusal::from(refusal).into())
}

/// Sees to it that a new route's hostname is its environment's own.
pub async fn settle_hostname(
    unit: &mut Unit,
    rules: &HostnameRules,
    environment: &mut Loaded<EnvironmentState>,
    surroundings: &Surroundings,
    hostname: &HostPattern,
    (scope, actor): (Scope, ActorId),
) -> Result<(), ApiError> {
    if environment.state.hostnames().get(hostname) == Some(&Claim::Owned) {
        return Ok(());
    }
    rules.check_reserved(hostname, scope)?;
    if rules.trusts(hostname) {
        return own_hostname(unit, rules, environment, hostname, (scope, actor)).await;
    }
    check_free(unit, rules, environment, hostname, scope).await?;
    let unproved = IngressRefusal::HostnameUnproved {
        hostname: hostname.clone(),
        environment: surroundings.path().to_owned(),
    };
    Err(Refusal::from(unproved).into())
}

/// Takes the port, or the name on it, for a new route, or says who has it.
pub async fn take_listener(
    unit: &mut Unit,
    id: RouteId,
    route: &RouteCreated,
    scope: Scope,
) -> Result<(), ApiError> {
    let wish = ListenerWish {
        network: route.network_id,
        port: route.listen_port,
        kind: RouteState::listener_kind(route),
        hostname: route.hostname.as_ref(),
    };
    let Some(holder) = unit.take_listener(id, route.environment_id, wish).await? else {
        return Ok(());
    };
    let ListenerHolder { route_id, environment_id, org_id, same_name } = holder;
    let port = route.listen_port;
    let refusal = match route.hostname.clone().filter(|_| same_name) {
        // The name is this environment's own, so the other route is too.
        Some(hostname) => {
            IngressRefusal::RouteExists { hostname, port, holder: route_id.to_string() }
        }
        None if scope == Scope::Platform || org_id == Some(route.org_id) => {
            let path = unit.environment_path(environment_id).await?;
            let holder = format!("route \"{route_id}\" of environment \"{path}\"");
            IngressRefusal::PortTaken { port, holder }
        }
        None => IngressRefusal::PortTaken { port, holder: "another org".into() },
    };
    Err(Refusal::from(refusal).into())
}

/// The route that an event made.
pub fn created(event: &EventBody) -> Result<&RouteCreated, ApiError> {
    match event {
        EventBody::RouteCreated(created) => Ok(created),
        _ => Err(ApiError::Internal("a route was created by another event".into())),
    }
}
