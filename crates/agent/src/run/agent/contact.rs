//! What the node keeps up with the control plane besides the stream: its certificate, and the
//! endpoint that peers are told.

use sextant_model::health::Kind;

use super::{Agent, ENDPOINT_RETRY, Stream};
use crate::{
    certificate::{RenewalError, Renewed},
    enrol,
    problem::{Owner, Problem},
    report::Reporter,
    run::{RunError, background::Answer, node_client, timers::Due},
};

impl Agent {
    pub(super) fn check_certificate(&mut self) {
        let now = self.clock.now();
        match self.validity {
            Some(validity) if !validity.is_due(now) => {
                self.timers.set(Due::Certificate, validity.pause(now));
            }
            // One that cannot be read is renewed as well, while it still works.
            _ => {
                let key = self.client_key.clone();
                self.background.renew(self.client.clone(), key, self.node.name.clone());
            }
        }
    }

    pub(super) fn take_answer(&mut self, answer: Answer) -> Result<(), RunError> {
        match answer {
            Answer::Certificate(Ok(renewed)) => self.use_certificate(renewed)?,
            Answer::Certificate(Err(error)) => self.retry_certificate(&error),
            Answer::Endpoint(Ok(())) => {
                self.problems.clear(Owner::Endpoint);
                tracing::info!("the control plane knows the new endpoint");
            }
            Answer::Endpoint(Err(error)) if enrol::is_final(&error) => {
                tracing::error!(%error, "the control plane refuses the endpoint; correct it and restart");
                let text = format!("endpoint: {error}");
                self.problems.set(Owner::Endpoint, Problem::new(Kind::EndpointRefused, text));
            }
            Answer::Endpoint(Err(error)) => {
                tracing::debug!(%error, "the endpoint could not be told");
                self.timers.set(Due::Endpoint, ENDPOINT_RETRY);
            }
        }
        Ok(())
    }

    /// Speaks with the new certificate from now on. The data plane does not notice.
    fn use_certificate(&mut self, renewed: Renewed) -> Result<(), RunError> {
        self.folder.save_certificate(&renewed.certificate, &renewed.ca)?;
        let certificate = renewed.certificate;
        self.client = node_client(&self.config, &self.folder, certificate, &self.client_key)?;
        self.reporter = Reporter::start(self.client.clone(), self.clock.clone());
        self.stream = Some(Stream::open(&self.client, self.view.cursor()));
        self.timers.clear(Due::Resume);
        self.validity = Some(renewed.validity);
        let (now, not_after) = (self.clock.now(), renewed.validity.not_after);
        self.timers.set(Due::Certificate, renewed.validity.pause(now));
        tracing::info!(%not_after, "the client certificate was renewed");
        self.report();
        Ok(())
    }

    fn retry_certificate(&mut self, error: &RenewalError) {
        let now = self.clock.now();
        let pause = self.validity.map_or(ENDPOINT_RETRY, |validity| validity.retry_pause(now));
        self.timers.set(Due::Certificate, pause);
        let retry_in_s = pause.as_secs();
        if self.validity.is_none_or(|validity| validity.is_over(now)) {
            tracing::error!(
                %error, retry_in_s,
                "the client certificate is over and cannot be renewed; the interface stays as it \
                 is; remove the node, empty its state folder and enrol it with a new token"
            );
        } else {
            tracing::warn!(%error, retry_in_s, "the client certificate could not be renewed yet");
        }
    }

    /// Peers should reach the node where its operator says. Without a word in the configuration,
    /// what the control plane knows stands: it may be the outside of a port forwarding.
    pub(super) fn check_endpoint(&mut self) {
        let members = self.view.current().map(|state| &state.membership.members);
        let Some(own) = members.and_then(|members| members.get(&self.node.node_id)) else {
            self.timers.set(Due::Endpoint, ENDPOINT_RETRY);
            return;
        };
        let listen_port = self.config.wireguard.listen_port;
        match self.config.endpoint {
            Some(wanted) if wanted != own.endpoint => {
                tracing::warn!(
                    configured = %wanted, control_plane = %own.endpoint,
                    "the control plane knows another endpoint than the configuration, which wins; \
                     take endpoint out of the configuration for `sextant node set-endpoint` to last"
                );
                self.background.move_to(self.client.clone(), wanted);
            }
            None if own.endpoint.port() != listen_port => {
                let told = own.endpoint;
                tracing::warn!(%told, listen_port, "peers use another port; if that is wrong, set endpoint");
            }
            Some(_) | None => {}
        }
    }
}
