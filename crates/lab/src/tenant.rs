//! What a tenant asks of the control plane: an environment, a deploy, routes.

use std::{ops::ControlFlow, time::Duration};

use sextant_api::resource::{
    app::{App, NewApp},
    environment::{Environment, NewEnvironment},
    org::NewOrg,
    release::{NewRelease, Release, ReleaseStatus},
    route::{NewRoute, Route},
    workload::{NewWorkload, Workload},
};
use sextant_model::{
    DnsLabel, EnvironmentId, HostPattern, ReleaseId,
    event::ProcessSpec,
    routing::{Endpoint, HealthSource, ProtocolHint},
};

use crate::{
    error::{LabError, Result},
    interrupt::Interrupt,
    operator::Operator,
    wait::until,
};

impl Operator {
    /// Makes an org, an app and an environment, named `ORG/APP/ENVIRONMENT`. All three must be new.
    pub fn create_environment(&self, path: &str) -> Result<Environment> {
        let names: Vec<&str> = path.split('/').collect();
        let [org, app, environment] = names[..] else {
            return Err(unusable(path, "it is not ORG/APP/ENVIRONMENT".to_owned()));
        };
        let client = self.client();
        let org = NewOrg { name: label(org)? };
        let org = self.ask("create an org", client.create_org(&org, None))?.value;
        let app = NewApp { org_id: Some(org.id), name: label(app)? };
        let app = self.ask("create an app", client.create_app(&app, None))?.value;
        self.add_environment(&app, environment)
    }

    /// Makes one more environment beside `sibling`: of the same app.
    pub fn create_sibling(&self, sibling: &Environment, name: &str) -> Result<Environment> {
        let app = self.ask("read an app", self.client().app(sibling.app_id))?.value;
        self.add_environment(&app, name)
    }

    fn add_environment(&self, app: &App, name: &str) -> Result<Environment> {
        let new = NewEnvironment { app_id: app.id, name: label(name)?, network_id: None };
        let made = self.client().create_environment(&new, None);
        Ok(self.ask("create an environment", made)?.value)
    }

    /// Deploys so many instances of each process type.
    pub fn deploy(&self, environment: EnvironmentId, processes: &[(&str, u16)]) -> Result<Release> {
        let process = |&(name, instances): &(&str, u16)| {
            Ok(ProcessSpec { process_type: label(name)?, instances })
        };
        let processes = processes.iter().map(process).collect::<Result<_>>()?;
        let new = NewRelease { processes };
        self.ask("deploy", self.client().deploy(environment, &new, None))
    }

    /// Places one workload by itself, outside any release.
    pub fn register_workload(
        &self,
        environment: EnvironmentId,
        process_type: &str,
    ) -> Result<Workload> {
        let new = NewWorkload { process_type: label(process_type)?, node_id: None };
        let made = self.client().register_workload(environment, &new, None);
        Ok(self.ask("register a workload", made)?.value)
    }

    /// Waits until every workload of a release is healthy.
    pub fn await_live(
        &self,
        id: ReleaseId,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<Release> {
        until("the release to be live", limit, interrupt, || {
            let release = self.ask("read a release", self.client().release(id))?;
            Ok(match release.status {
                ReleaseStatus::Live => ControlFlow::Break(release),
                _ => ControlFlow::Continue(format!("{} workloads are healthy", release.healthy)),
            })
        })
    }

    /// Makes a route.
    pub fn create_route(&self, environment: EnvironmentId, new: &NewRoute) -> Result<Route> {
        let action = format!("create a route for {}", name_of(new));
        Ok(self.ask(action, self.client().create_route(environment, new, None))?.value)
    }

    /// Takes a route away.
    pub fn delete_route(&self, route: &Route) -> Result<()> {
        self.ask("delete a route", self.client().delete_route(route.id, None))
    }
}

/// A route by name for TLS at port 443, to this port of the process type `web`.
pub fn tls_route(hostname: &str, backend_port: u16) -> Result<NewRoute> {
    let hostname: HostPattern =
        hostname.parse().map_err(|error| unusable(hostname, format!("{error}")))?;
    Ok(NewRoute {
        hostname: Some(hostname),
        listen_port: 443,
        protocol_hint: ProtocolHint::TlsPassthrough,
        match_host: false,
        backend_process_type: label("web")?,
        backend_port,
        proxy_protocol: false,
        ipv4_required: false,
        health_source: HealthSource::None,
        endpoint: Endpoint::Ipv6Only,
    })
}

fn name_of(route: &NewRoute) -> String {
    let port = route.listen_port;
    match &route.hostname {
        Some(hostname) => format!("\"{hostname}\" at port {port}"),
        None => format!("port {port}"),
    }
}

fn label(name: &str) -> Result<DnsLabel> {
    name.parse().map_err(|error| unusable(name, format!("{error}")))
}

fn unusable(name: &str, reason: String) -> LabError {
    LabError::UnusableName { name: name.to_owned(), reason }
}
