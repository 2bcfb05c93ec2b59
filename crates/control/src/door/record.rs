//! What becomes of refusals: lines in the log, rows in the database.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::refusals::Line;
use crate::app::App;

/// Refusals are kept in batches.
const INTERVAL: Duration = Duration::from_secs(2);

/// Says it once.
pub(super) fn say(line: &Line) {
    let Line { address, code, subject, .. } = line;
    let subject = subject.map(tracing::field::display);
    tracing::warn!(%address, code, subject, "refused");
}

/// Says what a minute had beyond what was said at once.
pub(super) fn sum_up(lines: &[Line], untold: u64) {
    for Line { address, code, subject, count } in lines {
        let subject = subject.map(tracing::field::display);
        tracing::warn!(%address, code, subject, count, "refused more of the same within a minute");
    }
    if untold > 0 {
        tracing::warn!(count = untold, "refused more from other sources within a minute");
    }
}

/// Keeps refusals in the database until `stop`, and once more then.
pub async fn run(app: App, stop: CancellationToken) {
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(INTERVAL) => false,
        };
        let (lines, untold) = app.door.refusals().turn(app.now());
        sum_up(&lines, untold);
        let rows = app.door.refusals().take_pending();
        if !rows.is_empty()
            && let Err(error) = app.store.own().keep_refusals(&rows).await
        {
            tracing::debug!(%error, "refusals could not be kept");
        }
        if stopped {
            return;
        }
    }
}
