//! What the node does about its certificate and about a clock that is wrong (ADR 0015).
//!
//! ```text
//! renewal due, or a certificate refused for the time
//!   -> ask for the standing: signed by the CA, so it needs no clock
//!        left     -> leave
//!        revoked  -> wait for an operator
//!        active   -> now the control plane's time is known: renew if it is due by that
//! ```
//! Whether a renewal is due is decided by the control plane's time alone. A loop that ended by the
//! node's own clock would never end where that is wrong.

use std::time::Duration;

use sextant_api::{
    ClientError,
    client::{TIME_CODES, is_about_time, standing::StandingClient},
    follow::Item,
};
use sextant_model::{Timestamp, standing::Standing};

use super::{Agent, Stream, resume_after};
use crate::{
    certificate::{RenewalError, Renewed},
    report::Reporter,
    run::{RunError, node_client, timers::Due},
    state::published::publish,
};

/// Clocks that differ by less do no harm: certificates begin so long before they are made.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);
const SHORTEST_RETRY: Duration = Duration::from_secs(1);
/// Between two attempts that fail, or that the control plane puts off, at most.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// After a renewal, and after a look that found nothing to renew, until the next.
const CALM: Duration = Duration::from_hours(1);

/// What the node knows of its standing.
#[derive(Debug)]
pub(super) struct Affairs {
    /// A question or a renewal is under way.
    busy: bool,
    retry: Duration,
    /// What is wrong with the clock.
    pub clock_problem: Option<String>,
    /// What is wrong with the certificate.
    pub certificate_problem: Option<String>,
    /// What is wrong with the edge's copy of it.
    pub edge_problem: Option<String>,
}

impl Default for Affairs {
    fn default() -> Self {
        Self {
            busy: false,
            retry: SHORTEST_RETRY,
            clock_problem: None,
            certificate_problem: None,
            edge_problem: None,
        }
    }
}

/// Whether the stream says that a certificate is not valid at this time.
pub(super) fn is_untimely(item: &Item) -> bool {
    match item {
        Item::Refused { code, .. } => TIME_CODES.contains(&code.as_str()),
        Item::Disconnected { reason } => is_about_time(reason),
        _ => false,
    }
}

/// How far `clock` is from the control plane's time, where that is worth a word.
fn clock_problem(clock: Timestamp, theirs: Timestamp) -> Option<String> {
    let (by, way) = if clock > theirs {
        (clock.since(theirs), "ahead of")
    } else {
        (theirs.since(clock), "behind")
    };
    (by > CLOCK_TOLERANCE).then(|| {
        let minutes = (by.as_secs() + 30) / 60;
        let by = match (minutes / 1440, minutes / 60) {
            (0, 0) => format!("{minutes} minutes"),
            (0, hours) => format!("{hours} hours"),
            (days, _) => format!("{days} days"),
        };
        format!("this machine's clock is {by} {way} the control plane's; set it right (NTP)")
    })
}

impl Agent {
    /// Looks whether the certificate must be renewed, or the clock be looked at again.
    pub(super) fn check_certificate(&mut self) {
        let named = self.time.now();
        let now = named.unwrap_or_else(|| self.clock.now());
        match self.validity {
            Some(validity) if !validity.is_due(now) && named.is_none() => {
                self.timers.set(Due::Certificate, validity.pause(now));
            }
            // One that cannot be read is renewed as well.
            _ => self.ask_standing(),
        }
    }

    /// The certificate, of this node or of a server, was refused for the time.
    pub(super) fn suspect_time(&mut self) {
        self.timers.set_once(Due::Standing, self.affairs.retry);
        self.affairs.retry = (self.affairs.retry * 2).min(LONGEST_RETRY);
    }

    /// The stream is up: both certificates are good.
    pub(super) fn trust_time(&mut self) {
        self.affairs.retry = SHORTEST_RETRY;
        self.timers.clear(Due::Standing);
    }

    pub(super) fn ask_standing(&mut self) {
        self.timers.clear(Due::Standing);
        if std::mem::replace(&mut self.affairs.busy, true) {
            return;
        }
        let client = self.folder.ca().map_err(RunError::from);
        let client = client.and_then(|ca| Ok(StandingClient::new(&self.client, ca)?));
        match client {
            Ok(client) => {
                let nonce = self.entropy.bytes();
                self.background.ask_standing(client, self.node.node_id, nonce);
            }
            Err(error) => {
                self.affairs.busy = false;
                self.put_off(&error);
            }
        }
    }

    /// `Some` if the node must leave.
    pub(super) fn take_standing(
        &mut self,
        answer: Result<(Standing, Timestamp), ClientError>,
    ) -> Option<String> {
        self.affairs.busy = false;
        match answer {
            Ok((Standing::Left, _)) => {
                return Some("the control plane says that it was removed from its network".into());
            }
            Ok((Standing::Revoked, at)) => {
                self.learn_time(at);
                let problem = "an operator revoked this node's certificates; it keeps its interface \
                               and learns of no change until `sextant node readmit`, or its removal";
                if self.affairs.certificate_problem.as_deref() != Some(problem) {
                    tracing::error!("{problem}");
                }
                self.affairs.certificate_problem = Some(problem.into());
                self.timers.set(Due::Certificate, LONGEST_RETRY);
            }
            Ok((Standing::Active, at)) => {
                self.learn_time(at);
                match self.validity {
                    Some(validity) if !validity.is_due(at) && at >= validity.not_before => {
                        self.settle_affairs();
                        self.reopen_soon();
                    }
                    _ => {
                        self.affairs.busy = true;
                        let key = self.client_key.clone();
                        self.background.renew(self.client.clone(), key, self.node.name.clone());
                    }
                }
            }
            Err(error) => self.put_off(&error),
        }
        None
    }

    pub(super) fn take_certificate(
        &mut self,
        answer: Result<Renewed, RenewalError>,
    ) -> Result<(), RunError> {
        self.affairs.busy = false;
        match answer {
            Ok(renewed) => self.use_certificate(renewed)?,
            Err(error) if error.code() == "too-often" => {
                tracing::warn!(%error, "the control plane renews this certificate no further for now");
                self.affairs.certificate_problem = Some(error.to_string());
                self.timers.set(Due::Certificate, CALM);
            }
            Err(error) => self.put_off(&error),
        }
        Ok(())
    }

    /// Speaks with the new certificate from now on. The data plane does not notice.
    fn use_certificate(&mut self, renewed: Renewed) -> Result<(), RunError> {
        self.folder.save_certificate(&renewed.certificate, &renewed.ca)?;
        self.publish_identity(&renewed.certificate);
        let certificate = renewed.certificate;
        let (config, folder, key) = (&self.config, &self.folder, &self.client_key);
        self.client = node_client(config, folder, certificate, key, &self.time, self.instance)?;
        self.reporter = Reporter::start(self.client.clone(), self.clock.clone());
        self.stream = Some(Stream::open(&self.client, resume_after(&self.view)));
        self.timers.clear(Due::Resume);
        self.validity = Some(renewed.validity);
        self.settle_affairs();
        let not_after = renewed.validity.not_after;
        tracing::info!(%not_after, "the client certificate was renewed");
        self.report();
        Ok(())
    }

    /// The edge of this machine, if it runs as another user, reads its own copy.
    pub(super) fn publish_identity(&mut self, certificate: &str) {
        let Some(place) = &self.config.edge_identity else { return };
        let published = self.folder.ca().map_err(|error| error.to_string()).and_then(|ca| {
            let key = self.client_key.as_str();
            publish(place, &ca, certificate, key).map_err(|error| error.to_string())
        });
        self.affairs.edge_problem = match published {
            Ok(()) => None,
            Err(error) => {
                let problem = format!("the edge's copy of the identity is not up to date: {error}");
                tracing::error!("{problem}");
                Some(problem)
            }
        };
    }

    /// Nothing is wrong any more. However the clocks are, the next look is not soon.
    fn settle_affairs(&mut self) {
        self.affairs.certificate_problem = None;
        self.timers.set(Due::Certificate, CALM);
    }

    /// Opens a stream that was refused again; one that only failed tries by itself.
    fn reopen_soon(&mut self) {
        if self.stream.is_none() {
            self.timers.set(Due::Resume, Duration::ZERO);
        }
    }

    /// Takes the time that the control plane has named and its CA signed.
    fn learn_time(&mut self, at: Timestamp) {
        let problem = clock_problem(self.clock.now(), at);
        match &problem {
            Some(problem) => {
                self.time.set(at);
                if self.affairs.clock_problem.is_none() {
                    tracing::warn!("{problem}; the control plane's time is used for certificates");
                }
            }
            None => self.time.clear(),
        }
        self.affairs.clock_problem = problem;
    }

    /// The machine's clock may have been set right.
    pub(super) fn watch_clock(&mut self) {
        if let Some(named) = self.time.now() {
            self.affairs.clock_problem = clock_problem(self.clock.now(), named);
            if self.affairs.clock_problem.is_none() {
                tracing::info!("this machine's clock agrees with the control plane's again");
                self.time.clear();
            }
        }
    }

    fn put_off(&mut self, error: &dyn std::fmt::Display) {
        let pause = self.affairs.retry;
        self.affairs.retry = (pause * 2).min(LONGEST_RETRY);
        self.timers.set(Due::Certificate, pause);
        let retry_in_s = pause.as_secs();
        let now = self.time.now().unwrap_or_else(|| self.clock.now());
        let over = self.validity.is_none_or(|validity| validity.is_over(now));
        if self.affairs.certificate_problem.is_none() && over {
            let problem = "the client certificate has expired and is not renewed yet";
            tracing::error!(%error, retry_in_s, "{problem}; the interface stays as it is");
            self.affairs.certificate_problem = Some(format!("{problem}: {error}"));
        } else {
            tracing::debug!(%error, retry_in_s, "the client certificate could not be renewed yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_named_with_its_way_and_a_small_difference_is_not() {
        let at = |seconds| Timestamp::from_unix_seconds(seconds).expect("time");
        let day = 86_400;
        assert_eq!(clock_problem(at(100), at(200)), None);
        let ahead = clock_problem(at(30 * day), at(0)).expect("wrong");
        assert!(ahead.contains("30 days ahead"), "{ahead}");
        let behind = clock_problem(at(0), at(7200)).expect("wrong");
        assert!(behind.contains("2 hours behind"), "{behind}");
    }
}
