//! What a lab asks of the control plane, as its first administrator.

use std::{fmt::Display, path::Path};

use sextant_api::{
    Auth, Client, ClientConfig, ClientError, Trust,
    resource::{
        enrolment::NewEnrolmentToken,
        network::NewNetwork,
        node::{Node, NodePhase},
        status::Status,
    },
};
use sextant_model::{DnsLabel, IpStackMode, NetworkId, NodeId, NodeRole, Topology};
use url::Url;

use crate::{
    description::LabDescription,
    error::{LabError, Result},
};

/// Long enough to bring up a large lab on a slow machine, in seconds.
const TOKEN_LIFETIME: u64 = 3600;

/// A client whose methods block. Not to be used inside an async runtime.
#[derive(Debug)]
pub struct Operator {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Operator {
    /// Prepares to talk to all replicas of a lab.
    pub fn of(lab: &LabDescription) -> Result<Self> {
        Self::new(lab.api_urls.clone(), &lab.ca_file, &lab.admin_token_file)
    }

    /// Prepares to talk to these replicas.
    pub fn new(api_urls: Vec<Url>, ca_file: &Path, token_file: &Path) -> Result<Self> {
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(LabError::file("read", path));
        let config = ClientConfig {
            api_urls,
            trust: Trust::Ca(read(ca_file)?),
            auth: Auth::Token(read(token_file)?.trim().to_owned()),
        };
        let client = Client::new(config).map_err(failed("prepare a client"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(
            |source| LabError::Spawn { program: "the async runtime".to_owned(), source },
        )?;
        Ok(Self { client, runtime })
    }

    /// The client, for what this type does not wrap.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs one operation of the client to its end.
    pub fn ask<T>(
        &self,
        action: impl Display,
        operation: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T> {
        self.runtime.block_on(operation).map_err(failed(action))
    }

    /// Whether the control plane can serve.
    pub fn ready(&self) -> Result<()> {
        self.ask("ask whether the control plane is ready", self.client.ready()).map(drop)
    }

    /// How the platform is doing.
    pub fn status(&self) -> Result<Status> {
        self.ask("read the status", self.client.status())
    }

    /// Makes the network of that name. `key` makes a repeat harmless.
    pub fn create_network(&self, name: &DnsLabel, key: &str) -> Result<NetworkId> {
        let new = NewNetwork {
            name: name.clone(),
            ip_stack_mode: IpStackMode::Ipv6,
            topology: Topology::FullMesh,
            ipv6_prefix: None,
            ipv4_prefix: None,
        };
        let action = format!("create network \"{name}\"");
        Ok(self.ask(action, self.client.create_network(&new, Some(key)))?.value.id)
    }

    /// The node of that name that has not been released, if there is one.
    pub fn find_node(&self, name: &str) -> Result<Option<Node>> {
        let mut known = self.status()?.nodes.into_iter().map(|status| status.node);
        Ok(known.find(|node| node.name.as_str() == name))
    }

    /// The node of that name that has not been released.
    pub fn node(&self, name: &str) -> Result<Node> {
        self.find_node(name)?.ok_or_else(|| LabError::ControlPlane {
            action: format!("find node \"{name}\""),
            reason: "no node of that name is a member or leaving".to_owned(),
        })
    }

    /// Starts the leave of a node. Asking again changes nothing.
    pub fn withdraw_node(&self, id: NodeId) -> Result<Node> {
        self.ask(format!("remove node {id}"), self.client.remove_node(id, None))
    }

    /// How far a node has come.
    pub fn phase(&self, id: NodeId) -> Result<NodePhase> {
        Ok(self.ask(format!("read node {id}"), self.client.node(id))?.value.phase)
    }

    /// A token with which the machine `node_name` can enrol. It is a secret.
    pub fn enrolment_token(
        &self,
        network_id: NetworkId,
        node_name: &DnsLabel,
        roles: &[NodeRole],
    ) -> Result<String> {
        let new = NewEnrolmentToken {
            network_id,
            node_name: node_name.clone(),
            roles: roles.to_vec(),
            expires_in: TOKEN_LIFETIME,
        };
        let action = format!("create an enrolment token for \"{node_name}\"");
        let made = self.ask(&action, self.client.create_enrolment_token(&new, None))?;
        made.token.ok_or_else(|| LabError::ControlPlane {
            action,
            reason: "the answer has no token in it".to_owned(),
        })
    }
}

fn failed(action: impl Display) -> impl FnOnce(ClientError) -> LabError {
    move |error| LabError::ControlPlane { action: action.to_string(), reason: error.to_string() }
}
