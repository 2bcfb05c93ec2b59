//! What `-o name` prints: the words by which other commands take a thing.

use sextant_api::resource::{
    api_token::ApiToken, app::App, edge::Edge, enrolment::EnrolmentToken, environment::Environment,
    hostname::EnvironmentHostname, network::Network, node::Node, org::Org, port::PortGrant,
    release::Release, route::Route, status::NodeStatus, workload::Workload,
};
use sextant_model::DnsLabel;

/// Something that has a name or an id.
pub trait Named {
    /// What other commands take it by.
    fn name(&self) -> String;
}

/// One of the contexts, which are stored by name.
impl<V> Named for (&DnsLabel, V) {
    fn name(&self) -> String {
        self.0.to_string()
    }
}

impl Named for Network {
    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Named for Node {
    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Named for NodeStatus {
    fn name(&self) -> String {
        self.node.name.to_string()
    }
}

impl Named for EnrolmentToken {
    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Named for ApiToken {
    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Named for Org {
    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Named for App {
    fn name(&self) -> String {
        format!("{}/{}", self.org_name, self.name)
    }
}

impl Named for Environment {
    fn name(&self) -> String {
        self.path()
    }
}

impl Named for Release {
    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Named for Workload {
    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Named for EnvironmentHostname {
    fn name(&self) -> String {
        self.hostname.to_string()
    }
}

impl Named for Route {
    fn name(&self) -> String {
        let host = self.hostname.as_ref().map_or_else(String::new, ToString::to_string);
        format!("{host}:{}", self.listen_port)
    }
}

impl Named for PortGrant {
    fn name(&self) -> String {
        self.port.to_string()
    }
}

impl Named for Edge {
    fn name(&self) -> String {
        self.name.to_string()
    }
}
