//! Answers to what was asked in the background, and the endpoint that peers are told.

use std::time::Duration;

use sextant_model::health::Kind;

use super::Agent;
use crate::{
    endpoint::Verdict,
    problem::Problem,
    run::{
        RunError,
        background::{Answer, FoundEndpoint},
        timers::Due,
    },
};

/// Between two looks at the endpoint.
const ENDPOINT_INTERVAL: Duration = Duration::from_secs(30);
/// After the control plane has heard of too many.
const ENDPOINT_CALM: Duration = Duration::from_hours(1);

impl Agent {
    /// `Some` if the node must leave.
    pub(super) fn take_answer(&mut self, answer: Answer) -> Result<Option<String>, RunError> {
        match answer {
            Answer::Standing(standing) => return Ok(self.take_standing(standing)),
            Answer::Certificate(renewed) => self.take_certificate(renewed)?,
            Answer::FoundEndpoint(found) => self.take_found_endpoint(found),
            Answer::Endpoint(endpoint, Ok(())) => {
                tracing::info!(%endpoint, "the control plane knows the new endpoint");
                self.endpoint_problem = None;
                if self.config.endpoint.is_none() {
                    self.folder.save_endpoint(endpoint)?;
                }
            }
            Answer::Endpoint(endpoint, Err(error)) => {
                let text = format!("the endpoint {endpoint} is refused: {error}");
                let problem = Problem::new(Kind::EndpointRefused, text);
                if error.problem().is_none() {
                    tracing::debug!(%error, "the endpoint could not be told");
                } else if self.endpoint_problem.as_ref() != Some(&problem) {
                    tracing::error!("{problem}");
                    self.endpoint_problem = Some(problem);
                }
                if error.code() == "too-often" {
                    self.timers.set(Due::Endpoint, ENDPOINT_CALM);
                }
            }
        }
        Ok(None)
    }

    /// Peers should reach the node where its operator says. Without a word in the configuration, the
    /// machine follows its own addresses; what an operator set otherwise stands: it may be the outside
    /// of a port forwarding.
    pub(super) fn check_endpoint(&mut self) {
        self.timers.set(Due::Endpoint, ENDPOINT_INTERVAL);
        let members = self.view.current().map(|state| &state.membership.members);
        let own = members.and_then(|members| members.get(&self.node.node_id));
        let Some(registered) = own.map(|own| own.endpoint).filter(|_| !self.silenced) else {
            return;
        };
        match self.config.endpoint {
            Some(wanted) if wanted != registered => {
                tracing::warn!(
                    configured = %wanted, control_plane = %registered,
                    "the control plane knows another endpoint than the configuration, which wins; \
                     take endpoint out of the configuration for `sextant node set-endpoint` to last"
                );
                self.background.move_to(self.client.clone(), wanted);
            }
            Some(_) => {}
            None => {
                let (urls, port) = (&self.config.api_urls, self.config.wireguard.listen_port);
                self.background.find_endpoint(
                    urls.clone(),
                    port,
                    registered,
                    self.folder.endpoint(),
                );
            }
        }
    }

    fn take_found_endpoint(&mut self, found: FoundEndpoint) {
        let FoundEndpoint { registered, verdict, found } = found;
        match (verdict, found) {
            (Verdict::Good, _) => {
                self.endpoint_problem = None;
                // From now on it is known to be this machine's, and is followed when it goes.
                if self.folder.endpoint() != Some(registered)
                    && let Err(error) = self.folder.save_endpoint(registered)
                {
                    tracing::debug!(%error, "the endpoint could not be kept");
                }
            }
            (Verdict::Foreign, _) => {
                let listen_port = self.config.wireguard.listen_port;
                if registered.port() != listen_port {
                    tracing::debug!(%registered, listen_port, "peers use another port");
                }
            }
            (Verdict::Follow, Ok(endpoint)) if endpoint != registered => {
                tracing::warn!(
                    was = %registered, now = %endpoint,
                    "the registered endpoint is no lasting address of this machine any more; peers are \
                     told another one"
                );
                self.background.move_to(self.client.clone(), endpoint);
            }
            (Verdict::Follow, Ok(_)) => {}
            (Verdict::Follow, Err(reason)) => {
                let text = format!(
                    "the registered endpoint {registered} is no lasting address of this machine, and \
                     there is no other: {reason}"
                );
                let problem = Problem::new(Kind::EndpointGone, text);
                if self.endpoint_problem.as_ref() != Some(&problem) {
                    tracing::warn!("{problem}");
                }
                self.endpoint_problem = Some(problem);
            }
        }
    }
}
