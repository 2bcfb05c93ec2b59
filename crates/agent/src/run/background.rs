//! Requests that must not hold up the loop, and their answers.

use std::net::SocketAddr;

use sextant_api::{Client, ClientError, resource::node::NodePatch};
use sextant_model::DnsLabel;
use tokio::sync::mpsc;

use crate::certificate::{self, RenewalError, Renewed};

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// To a renewal of the certificate.
    Certificate(Result<Renewed, RenewalError>),
    /// To the news of another endpoint.
    Endpoint(Result<(), ClientError>),
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

    /// Asks for a new certificate.
    pub fn renew(&self, client: Client, key: String, name: DnsLabel) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let answer = Answer::Certificate(certificate::renew(&client, &key, &name).await);
            // Nobody waits for it when the agent is on its way down.
            let _ = sender.send(answer).await;
        });
    }

    /// Tells the control plane where peers should reach this node.
    pub fn move_to(&self, client: Client, endpoint: SocketAddr) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let answer = client.patch_own_node(&NodePatch { endpoint }).await.map(drop);
            let _ = sender.send(Answer::Endpoint(answer)).await;
        });
    }
}
