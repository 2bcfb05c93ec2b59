//! Hostnames, ports, routes and edges.

mod bad_input;
mod edges;
mod explain;
mod hostnames;
mod ports;
mod proof;
mod routes;

use std::sync::atomic::{AtomicU16, Ordering};

use sextant_api::{
    Client,
    client::ClientError,
    resource::{
        api_token::NewApiToken,
        app::NewApp,
        environment::{Environment, NewEnvironment},
        hostname::NewHostname,
        network::Network,
        org::NewOrg,
        port::{NewPortPolicy, PortPolicy},
        route::NewRoute,
        workload::{HealthReport, NewWorkload, ReportedHealth, Workload},
    },
};
use sextant_control::config::HostnameConfig;
use sextant_model::{
    EnvironmentId, HostPattern, NetworkId, NodeRole, OperatorRole, OrgId,
    routing::{Endpoint, HealthSource, ProtocolHint},
};

use crate::{Machine, Platform, Running, label, network, new_network};

/// A platform with a mesh, one worker, and hostnames that need no proof unless a test says so.
#[derive(Debug)]
pub struct Ingress {
    pub platform: Platform,
    pub replica: Running,
    pub admin: Client,
    pub mesh: Network,
    nodes: AtomicU16,
}

impl Ingress {
    pub async fn new() -> Self {
        Self::with(|hostnames| hostnames.verify = false).await
    }

    pub async fn with(edit: impl FnOnce(&mut HostnameConfig)) -> Self {
        let mut platform = Platform::new().await;
        edit(&mut platform.config.hostnames);
        let replica = platform.replica().await;
        let admin = platform.admin(&[&replica]);
        let mesh = network(&admin).await;
        let ingress = Self { platform, replica, admin, mesh, nodes: AtomicU16::new(1) };
        ingress.node(NodeRole::Worker).await;
        ingress
    }

    /// Enrols a node; a client that is that node.
    pub async fn node(&self, role: NodeRole) -> Client {
        self.node_in(self.mesh.id, role).await
    }

    async fn node_in(&self, network_id: NetworkId, role: NodeRole) -> Client {
        let n = self.nodes.fetch_add(1, Ordering::Relaxed);
        let new = sextant_api::resource::enrolment::NewEnrolmentToken {
            network_id,
            node_name: label(&format!("n{n}")),
            roles: vec![role],
            expires_in: 3600,
        };
        let token = self.admin.create_enrolment_token(&new, None).await.expect("token");
        let machine = Machine::new(n, token.token.expect("shown"));
        let nobody = self.platform.client(&[&self.replica], sextant_api::Auth::Nobody);
        let enrolment = nobody.enrol(&machine.request).await.expect("enrolled");
        self.platform.client(&[&self.replica], machine.auth(&enrolment))
    }

    pub async fn org(&self, name: &str) -> OrgId {
        let new = NewOrg { name: label(name) };
        self.admin.create_org(&new, None).await.expect("org").value.id
    }

    /// A client that may change what the org owns.
    pub async fn org_admin(&self, org: OrgId) -> Client {
        let new = NewApiToken {
            name: label("org-admin"),
            role: OperatorRole::Admin,
            org_id: Some(org),
            expires_in: Some(3600),
        };
        let token = self.admin.create_api_token(&new, None).await.expect("token");
        let auth = sextant_api::Auth::Token(token.token.expect("shown"));
        self.platform.client(&[&self.replica], auth)
    }

    /// Environment `name` of app `name` of the org, running one healthy `web`.
    pub async fn environment(&self, org: OrgId, name: &str) -> Environment {
        let environment = self.empty_environment(org, name).await;
        self.workload(environment.id, "web").await;
        environment
    }

    pub async fn empty_environment(&self, org: OrgId, name: &str) -> Environment {
        let app = NewApp { org_id: Some(org), name: label(name) };
        let app = self.admin.create_app(&app, None).await.expect("app").value;
        let new = NewEnvironment { app_id: app.id, name: label(name), network_id: None };
        self.admin.create_environment(&new, None).await.expect("environment").value
    }

    /// The same in a new network of that name, with a worker of its own.
    pub async fn environment_in_another_network(&self, org: OrgId, name: &str) -> Environment {
        let network = self.admin.create_network(&new_network(name), None).await;
        let network = network.expect("network").value;
        self.node_in(network.id, NodeRole::Worker).await;
        let app = NewApp { org_id: Some(org), name: label(name) };
        let app = self.admin.create_app(&app, None).await.expect("app").value;
        let network_id = Some(network.id);
        let new = NewEnvironment { app_id: app.id, name: label(name), network_id };
        let environment = self.admin.create_environment(&new, None).await.expect("made").value;
        self.workload(environment.id, "web").await;
        environment
    }

    pub async fn workload(&self, environment: EnvironmentId, process_type: &str) -> Workload {
        let new = NewWorkload { process_type: label(process_type), node_id: None };
        let workload = self.admin.register_workload(environment, &new, None).await;
        let workload = workload.expect("registered").value;
        let report = HealthReport { health: ReportedHealth::Healthy };
        self.admin.set_workload_health(workload.id, report).await.expect("healthy")
    }

    /// How many events there are.
    pub async fn events(&self) -> usize {
        let mut count = 0;
        let mut after = None;
        loop {
            let page = self.admin.events(after, Some(1000)).await.expect("events");
            count += page.frames.len();
            after = Some(page.next_after);
            if !page.has_more {
                return count;
            }
        }
    }

    /// The types of the events of one aggregate, in order.
    pub async fn history(&self, id: uuid::Uuid) -> Vec<String> {
        let mut history = vec![];
        let mut after = None;
        loop {
            let page = self.admin.events(after, Some(1000)).await.expect("events");
            for frame in page.frames {
                if let sextant_api::Frame::Event { event, .. } = frame
                    && event.aggregate_id == id
                {
                    history.push(event.body.to_columns().expect("columns").0);
                }
            }
            after = Some(page.next_after);
            if !page.has_more {
                return history;
            }
        }
    }
}

pub fn pattern(text: &str) -> HostPattern {
    HostPattern::new(text).expect(text)
}

pub fn hostname(text: &str) -> NewHostname {
    NewHostname { hostname: pattern(text) }
}

/// A route for a name on 443.
pub fn tls(name: &str) -> NewRoute {
    NewRoute {
        hostname: Some(pattern(name)),
        listen_port: 443,
        protocol_hint: ProtocolHint::TlsPassthrough,
        match_host: false,
        backend_process_type: label("web"),
        backend_port: 8443,
        proxy_protocol: false,
        ipv4_required: false,
        health_source: HealthSource::None,
        endpoint: Endpoint::Ipv6Only,
    }
}

/// A raw route on a port of its own.
pub fn raw(port: u16) -> NewRoute {
    NewRoute {
        hostname: None,
        listen_port: port,
        protocol_hint: ProtocolHint::TcpRaw,
        ..tls("unused.example.com")
    }
}

/// Opens these ports to all, and denies those.
pub async fn set_ports(admin: &Client, allow: &[&str], deny: &[&str]) -> PortPolicy {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("range")).collect();
    let etag = admin.port_policy().await.expect("policy").etag;
    let new = NewPortPolicy { allow: ranges(allow), deny: ranges(deny) };
    admin.set_port_policy(&new, etag.as_deref()).await.expect("set").value
}

/// The code and the text of a refusal.
pub fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (String, String) {
    let error = result.expect_err("refused");
    let problem = error.problem().expect("a problem");
    (problem.code.clone(), problem.detail.clone())
}

pub fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    refused(result).0
}

/// What becomes of a connection that asks for `host` on 443.
pub async fn explain_of(
    ingress: &Ingress,
    host: &str,
) -> sextant_api::resource::route::RouteExplanation {
    let query = sextant_api::client::ExplainQuery { host: Some(host.into()), ..Default::default() };
    ingress.admin.explain_route(&query).await.expect("explained")
}
