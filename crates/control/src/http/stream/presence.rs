//! The process behind a node's stream, and what its stream does about others that speak as the same
//! node (see `sextant_model::instance`).

use axum::body::Bytes;
use sextant_model::{
    NodeId,
    instance::{Duty, InstanceRole, duty},
};
use sextant_store::StoreError;
use uuid::Uuid;

use crate::{app::App, error::ApiError};

/// One process that speaks as a node.
#[derive(Debug)]
pub struct Presence {
    node: NodeId,
    instance: Uuid,
    address: String,
    /// What was asked last, and who is refused when the answer comes.
    question: Option<(Bytes, Vec<Uuid>)>,
    asked: u64,
}

impl Presence {
    /// The process opens a stream; refused where another one is alive that came before it.
    pub async fn arrive(
        app: &App,
        node: NodeId,
        instance: Uuid,
        address: String,
    ) -> Result<Self, ApiError> {
        let presence = Self { node, instance, address, question: None, asked: 0 };
        match app.store.instance_arrives(node, instance, &presence.address).await? {
            InstanceRole::Holder | InstanceRole::Rival => Ok(presence),
            InstanceRole::Refused => Err(presence.refusal(app).await),
        }
    }

    /// What is due now: a question that the process has to answer, or the end of its stream.
    pub async fn beat(&mut self, app: &App) -> Result<Option<Bytes>, ApiError> {
        match duty(&app.store.instances(self.node).await?, self.instance) {
            Duty::Nothing => Ok(None),
            Duty::End => Err(self.refusal(app).await),
            Duty::TakeOver => {
                app.store.instance_takes_over(self.node, self.instance).await?;
                Ok(None)
            }
            Duty::Arrive => {
                let (node, instance, address) = (self.node, self.instance, self.address.clone());
                *self = Self::arrive(app, node, instance, address).await?;
                Ok(None)
            }
            Duty::Prove(others) => {
                self.asked += 1;
                let payload = Bytes::copy_from_slice(&self.asked.to_be_bytes());
                self.question = Some((payload.clone(), others));
                Ok(Some(payload))
            }
        }
    }

    /// An answer came. It proves that the process is alive if the last question is what it answers.
    pub async fn answered(&mut self, app: &App, payload: &[u8]) -> Result<(), StoreError> {
        let Some((_, others)) = self.question.take_if(|(asked, _)| asked == payload) else {
            return Ok(());
        };
        let refused = app.store.instance_proved(self.node, self.instance, &others).await?;
        if refused > 0 {
            let all = app.store.instances(self.node).await?;
            let others = all.iter().filter(|other| other.role == InstanceRole::Refused);
            let others: Vec<&str> = others.map(|other| other.address.as_str()).collect();
            tracing::warn!(
                node_id = %self.node, first = self.address, refused = others.join(", "),
                "two machines run as one node; the one that came later is refused"
            );
        }
        Ok(())
    }

    async fn refusal(&self, app: &App) -> ApiError {
        let all = app.store.instances(self.node).await.unwrap_or_default();
        let holder = all.into_iter().find(|other| other.role == InstanceRole::Holder);
        let holder = holder.map_or_else(|| "elsewhere".to_owned(), |holder| holder.address);
        ApiError::NodeDuplicate { holder, own: self.address.clone() }
    }
}
