//! Requests that must not hold up the loop, and their answers.

use std::net::SocketAddr;

use sextant_api::{
    Client, ClientError,
    client::standing::{StandingClient, nonce},
    resource::node::NodePatch,
};
use sextant_model::{DnsLabel, NodeId, Timestamp, standing::Standing};
use tokio::sync::mpsc;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    certificate::{self, RenewalError, Renewed},
    endpoint::{self, Verdict},
};

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// What the node is, and the control plane's time.
    Standing(Result<(Standing, Timestamp), ClientError>),
    /// To a renewal of the certificate.
    Certificate(Result<Renewed, RenewalError>),
    /// What this machine found of its own endpoint.
    FoundEndpoint(FoundEndpoint),
    /// To the news of another endpoint.
    Endpoint(SocketAddr, Result<(), ClientError>),
}

/// What the machine found when it looked at its endpoint.
#[derive(Debug)]
pub struct FoundEndpoint {
    /// The one that the control plane knows.
    pub registered: SocketAddr,
    /// What is to be done about it.
    pub verdict: Verdict,
    /// The one that it would tell now, or why it has none.
    pub found: Result<SocketAddr, String>,
}

/// Where requests are made and answers come out.
#[derive(Debug)]
pub struct Background {
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

impl Background {
    /// Nothing is under way.
    pub fn new() -> Self {
        let (sender, answers) = mpsc::channel(8);
        Self { sender, answers }
    }

    /// The next answer. Cancel safe.
    pub async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// Asks what the node is; `random` makes the answer fresh.
    pub fn ask_standing(&self, client: StandingClient, node: NodeId, random: [u8; 32]) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let _ = sender.send(Answer::Standing(client.ask(node, &nonce(random)).await)).await;
        });
    }

    /// Asks for a new certificate.
    pub fn renew(&self, client: Client, key: Zeroizing<String>, name: DnsLabel) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let answer = Answer::Certificate(certificate::renew(&client, &key, &name).await);
            // Nobody waits for it when the agent is on its way down.
            let _ = sender.send(answer).await;
        });
    }

    /// Looks whether `registered` is still where peers reach this machine, which last told `told`.
    pub fn find_endpoint(
        &self,
        urls: Vec<Url>,
        listen_port: u16,
        registered: SocketAddr,
        told: Option<SocketAddr>,
    ) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let Ok(held) = endpoint::of_this_machine().await else { return };
            let verdict = endpoint::judge(registered, told, &held);
            let found = match verdict {
                Verdict::Follow => endpoint::find(&urls, listen_port).await,
                Verdict::Good | Verdict::Foreign => Ok(registered),
            };
            let found = FoundEndpoint { registered, verdict, found };
            let _ = sender.send(Answer::FoundEndpoint(found)).await;
        });
    }

    /// Tells the control plane where peers should reach this node.
    pub fn move_to(&self, client: Client, endpoint: SocketAddr) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let answer = client.patch_own_node(&NodePatch { endpoint }).await.map(drop);
            let _ = sender.send(Answer::Endpoint(endpoint, answer)).await;
        });
    }
}
