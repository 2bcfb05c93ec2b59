//! What the edge tells the control plane: up to where it serves, and what it cannot. One report is
//! under way, the newest one waits, older ones are forgotten.

use std::time::Duration;

use sextant_api::{
    Client, ClientError,
    resource::edge::{EdgeListener, EdgeReport, ListenerState, RefusedRoute},
};
use sextant_model::Cursor;
use tokio::{sync::watch, task::JoinHandle};

use crate::publish::Publisher;

/// Most refused routes in one report. With the two limits below, a report fits into the body that
/// the API takes, whatever its texts: one that does not would never be acknowledged.
const REFUSED_LIMIT: usize = 50;
/// Most listeners in one report.
const LISTENER_LIMIT: usize = 100;
/// Longest reason, in bytes.
const REASON_LIMIT: usize = 160;
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Puts a report together. Each route listens on so many `addresses`.
pub fn build(revision: Cursor, publisher: &Publisher, addresses: usize) -> EdgeReport {
    let routes = publisher.routes().served().size().div_ceil(addresses.max(1));
    let refused = publisher.routes().refused().values().filter_map(|refused| {
        let route_id = route_id(&refused.route.key.0).parse().ok()?;
        Some(RefusedRoute { route_id, reason: shortened(&refused.conflict.to_string()) })
    });
    let open = publisher.open_sockets().map(|(socket, _)| EdgeListener {
        listen: socket.address,
        state: ListenerState::Listening,
        error: None,
    });
    let failed = publisher.failed_sockets().map(|(socket, reason)| EdgeListener {
        listen: socket.address,
        state: ListenerState::Failed,
        error: Some(shortened(reason)),
    });
    EdgeReport {
        revision,
        version: sextant_daemon::VERSION.into(),
        routes: routes as u64,
        refused: refused.take(REFUSED_LIMIT).collect(),
        // What does not work is worth more room than what does.
        listeners: failed.chain(open).take(LISTENER_LIMIT).collect(),
    }
}

/// A key may end in the address that the route listens on.
fn route_id(key: &str) -> &str {
    key.split_once('@').map_or(key, |(id, _)| id)
}

fn shortened(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_LIMIT)].to_owned()
}

/// Sends reports until it is dropped.
#[derive(Debug)]
pub struct Reporter {
    newest: watch::Sender<Option<EdgeReport>>,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Starts the task. Must be called inside a tokio runtime.
    pub fn start(client: Client) -> Self {
        let (newest, waiting) = watch::channel(None);
        Self { newest, task: tokio::spawn(send(client, waiting)) }
    }

    /// Sends `report` instead of any that still waits.
    pub fn report(&self, report: EdgeReport) {
        self.newest.send_replace(Some(report));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(client: Client, mut waiting: watch::Receiver<Option<EdgeReport>>) {
    let mut failures = 0u32;
    while waiting.changed().await.is_ok() {
        loop {
            let Some(report) = waiting.borrow_and_update().clone() else { break };
            let Err(error) = client.report_edge(&report).await else {
                failures = 0;
                break;
            };
            log(&error, failures);
            failures = failures.saturating_add(1);
            if matches!(error, ClientError::Problem(_)) {
                // It was heard and refused: the same again is no use.
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(pause(failures)) => {}
                // A newer report often means that the control plane is back.
                changed = waiting.changed() => if changed.is_err() { return },
            }
        }
    }
}

fn log(error: &ClientError, failures: u32) {
    // A kept-alive connection that the server has just closed costs one attempt.
    if failures == 1 {
        tracing::warn!(%error, "a report could not be delivered; trying again with the newest one");
    } else {
        tracing::debug!(%error, failures, "a report could not be delivered");
    }
}

fn pause(failures: u32) -> Duration {
    SHORTEST_PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_report_fits_into_the_body_that_the_api_takes() {
        let reason = shortened(&"\"é".repeat(1000));
        let listener = EdgeListener {
            listen: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().expect("address"),
            state: ListenerState::Failed,
            error: Some(reason.clone()),
        };
        let route_id = "00000000-0000-0000-0000-000000000000".parse().expect("id");
        let report = EdgeReport {
            revision: "00000000-0000-0000-0000-000000000000:9223372036854775807"
                .parse()
                .expect("cursor"),
            version: "x".repeat(64),
            routes: u64::MAX,
            refused: vec![RefusedRoute { route_id, reason }; REFUSED_LIMIT],
            listeners: vec![listener; LISTENER_LIMIT],
        };
        let body = serde_json::to_vec(&report).expect("json");
        assert!(body.len() < sextant_api::BODY_LIMIT, "{} bytes", body.len());
    }
}
